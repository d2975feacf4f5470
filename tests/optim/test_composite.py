"""Several optimizers under one: the update, the hooks, the state and the flag are theirs."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.fast.update import HeldUpdate, Update
from gradcli.gradients.set_up import parameter_groups
from gradcli.optim import Cosine, LearningRate, RuledGroup, build_optimizer, load_optimizer_state
from gradcli.optim.composite import CompositeOptimizer

CPU = torch.device("cpu")
MATRICES = {"dimensions": [2]}
GROUPS = (
    RuledGroup("matrices", MATRICES, {"lr": 0.05}),
    RuledGroup("rest", {}, {"lr": 0.01, "weight_decay": 0.1}, torch.optim.AdamW),
)


def network(dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def build(model, groups=GROUPS, optimizer_class=torch.optim.SGD, *, decay=True, **kwargs):
    return build_optimizer(
        optimizer_class,
        kwargs or {"lr": 0.1, "momentum": 0.9},
        model,
        device=CPU,
        decay_biases_and_norms=decay,
        groups=groups,
    )


def backward(model, seed):
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    inputs = torch.randn(8, 6, generator=generator).to(dtype)
    model.zero_grad()
    F.cross_entropy(model(inputs), torch.arange(8) % 3).backward()


def train(model, update, steps):
    for seed in range(steps):
        backward(model, seed)
        update()


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def split(model):
    """The matrices of a model, and its other parameters."""
    parameters = list(model.parameters())
    return [p for p in parameters if p.ndim == 2], [p for p in parameters if p.ndim != 2]


def test_the_update_is_that_of_each_group_by_its_formula():
    """SGD with momentum and AdamW written out in float64, from the papers' algorithms."""
    model, by_hand = network(torch.float64), network(torch.float64)
    optimizer = build(model)
    assert isinstance(optimizer, CompositeOptimizer)
    train(model, optimizer.step, 5)
    matrices, rest = split(by_hand)
    velocity = [torch.zeros_like(p) for p in matrices]
    means, squares = [[torch.zeros_like(p) for p in rest] for _ in range(2)]
    for step in range(5):
        backward(by_hand, step)
        with torch.no_grad():
            for p, v in zip(matrices, velocity, strict=True):
                v.mul_(0.9).add_(p.grad)
                p -= 0.05 * v
            for p, m, s in zip(rest, means, squares, strict=True):
                m.mul_(0.9).add_(0.1 * p.grad)
                s.mul_(0.999).add_(0.001 * p.grad**2)
                unbiased = m / (1 - 0.9 ** (step + 1)), s / (1 - 0.999 ** (step + 1))
                p -= 0.01 * 0.1 * p + 0.01 * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    torch.testing.assert_close(weights(model), weights(by_hand), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [1.0, 0.25, torch.tensor(0.25)])
def test_the_shortcuts_end_with_the_bits_of_the_members_alone(factor):
    """A factor of clipping scales all gradients alike."""
    model, apart = network(), network()
    update = Update(build(model))
    train(model, lambda: update(factor), 6)
    matrices, rest = split(apart)
    alone = [
        torch.optim.SGD(matrices, lr=0.05, momentum=0.9, fused=True),
        torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1, fused=True),
    ]

    def step():
        for parameter in apart.parameters():
            parameter.grad.mul_(factor)
        for one in alone:
            one.step()

    train(apart, step, 6)
    assert torch.equal(weights(model), weights(apart))


def test_groups_of_one_class_are_groups_of_a_plain_optimizer():
    groups = (GROUPS[0], RuledGroup("rest", {}, {"momentum": 0.5}))
    optimizer = build(network(), groups)
    assert type(optimizer) is torch.optim.SGD
    settings = [(group["lr"], group["momentum"]) for group in optimizer.param_groups]
    assert settings == [(0.05, 0.9), (0.1, 0.5)]
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]


def test_a_class_of_its_own_takes_no_setting_from_the_optimizer_around_it():
    groups = (RuledGroup("matrices", MATRICES, {}), RuledGroup("rest", {}, {}, torch.optim.SGD))
    _, rest = build(network(), groups).param_groups
    assert (rest["lr"], rest["momentum"]) == (0.001, 0)  # torch's defaults, not 0.1 and 0.9


def test_decay_spares_biases_and_norms_within_each_group():
    spread = RuledGroup("hidden", {"names": ["0.*"]}, {"weight_decay": 0.2})
    groups = (spread, RuledGroup("rest", {}, {"lr": 0.01}, torch.optim.AdamW))
    model = network()
    optimizer = build(model, groups, decay=False)
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    found = {name: decays[id(p)] for name, p in model.named_parameters()}
    assert found == {
        **{"0.weight": 0.2, "0.bias": 0, "1.weight": 0, "1.bias": 0},
        **{"3.weight": 0.01, "3.bias": 0},
    }


def test_a_schedule_multiplies_the_rate_of_each_group():
    optimizer = build(network())
    schedule = Cosine(final=0.1)
    rates = LearningRate(optimizer, schedule, 10)
    for step in (0, 4, 9):
        rates.set(step)
        factor = schedule.factor(step, 10)
        for member, rate in zip(optimizer.members, (0.05, 0.01), strict=True):
            assert member.param_groups[0]["lr"] == rate * factor


def test_hooks_see_one_step():
    model, seen = network(), []
    optimizer = build(model)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    train(model, Update(optimizer), 2)
    assert seen == ["before", "after"] * 2


def test_a_closure_is_called_once():
    model, calls = network(), []
    optimizer = build(model)

    def closure():
        assert torch.is_grad_enabled()
        calls.append(1)
        backward(model, 0)
        return 0.5

    assert optimizer.step(closure) == 0.5
    assert len(calls) == 1


@pytest.mark.parametrize("way", ["a new one", "in place", "copied", "pickled"])
def test_a_restored_state_goes_on_with_the_same_bits(way):
    undisturbed, model = network(), network()
    train(undisturbed, Update(build(undisturbed)), 7)
    optimizer = build(model)
    train(model, Update(optimizer), 4)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    if way == "a new one":
        optimizer = build(model)
    elif way == "in place":
        before = weights(model)
        train(model, Update(optimizer), 2)
        nn.utils.vector_to_parameters(before, model.parameters())
    elif way == "copied":
        model, optimizer = copy.deepcopy((model, optimizer))
    else:
        model, optimizer = pickle.loads(pickle.dumps((model, optimizer)))
    load_optimizer_state(optimizer, state)
    update = Update(optimizer)
    for seed in range(4, 7):
        backward(model, seed)
        update()
    assert torch.equal(weights(model), weights(undisturbed))


def test_the_state_of_a_parameter_is_its_members():
    model = network()
    optimizer = build(model)
    first = model[0].weight
    assert first not in optimizer.state
    assert optimizer.state.get(first, {}) == {}
    train(model, optimizer.step, 1)
    assert set(optimizer.state) == set(model.parameters())
    assert len(optimizer.state) == 6
    assert torch.equal(optimizer.state[first]["momentum_buffer"], first.grad)
    assert "exp_avg" in optimizer.state[model[0].bias]


def test_the_state_of_other_members_is_refused():
    model = network()
    one = build(model)
    three = CompositeOptimizer([*one.members, torch.optim.SGD([nn.Parameter(torch.zeros(1))])])
    with pytest.raises(ValueError, match=r"zip|argument"):
        one.load_state_dict(three.state_dict())


def test_a_flag_on_the_device_holds_all_fused_members():
    model = network()
    optimizer = build(model)
    assert all(group["fused"] for group in optimizer.param_groups)
    optimizer.found_inf = torch.zeros(())
    update = Update(optimizer)
    train(model, update, 2)
    before = weights(model)
    optimizer.found_inf.fill_(1)
    train(model, update, 2)
    assert torch.equal(weights(model), before)
    optimizer.found_inf.zero_()
    train(model, update, 1)
    assert not torch.equal(weights(model), before)


def test_a_flag_holds_members_that_are_not_fused():
    model = network()
    groups = (GROUPS[0], RuledGroup("rest", {}, {"lr": 0.01}, torch.optim.NAdam))
    held = torch.ones(())
    before = weights(model)
    update = HeldUpdate(build(model, groups), held)
    train(model, update, 1)
    assert torch.equal(weights(model), before)
    held.zero_()
    train(model, update, 1)
    assert not torch.equal(weights(model), before)


def test_a_group_that_no_member_would_update_is_refused():
    optimizer = build(network())
    with pytest.raises(ValueError, match="one of the members"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


def test_the_record_of_the_groups_knows_whose_decay_is_decoupled():
    model = network()
    optimizer = build(model, lr=0.1, weight_decay=0.5)
    found = parameter_groups(optimizer, list(model.parameters()))
    assert [group.decoupled for group in found] == [False, True]
    assert [group.weight_decay for group in found] == [0.5, 0.1]
    assert [group.learning_rate for group in found] == [0.05, 0.01]


def test_a_refusal_names_the_group():
    groups = (GROUPS[0], RuledGroup("rest", {}, {"lr": 0.1, "nesterov": True}, torch.optim.SGD))
    with pytest.raises(UserError, match="SGD refuses its settings: Nesterov") as caught:
        build(network(), groups)
    assert caught.value.where == "optimizer.groups.rest"
    groups = (RuledGroup("matrices", MATRICES, {"momentum": -1.0}), RuledGroup("rest", {}, {}))
    with pytest.raises(UserError, match="Invalid momentum") as caught:
        build(network(), groups)
    assert caught.value.where == "optimizer.groups.matrices"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 has it")
def test_a_class_for_matrices_gets_only_these():
    model = network()
    optimizer = build(model, optimizer_class=torch.optim.Muon, lr=0.02)
    assert [type(one).__name__ for one in optimizer.members] == ["Muon", "AdamW"]
    every = (RuledGroup("all", {}, {}),)
    with pytest.raises(UserError, match="2D") as caught:
        build(model, every, optimizer_class=torch.optim.Muon, lr=0.02)
    assert caught.value.where == "optimizer.groups.all"


class Patient(torch.optim.SGD):
    """A class that keeps a setting for all its parameters."""

    def __init__(self, params, lr=0.1, patience=3):
        super().__init__(params, lr)
        self.patience = patience


def test_a_setting_that_a_class_does_not_keep_by_group_is_refused():
    groups = (RuledGroup("matrices", MATRICES, {"patience": 1}), RuledGroup("rest", {}, {}))
    with pytest.raises(UserError, match="one 'patience' for all its parameters") as caught:
        build(network(), groups, Patient, lr=0.1)
    assert caught.value.where == "optimizer.groups.matrices.patience"
    assert "`_target_`" in caught.value.hint
    own = (RuledGroup("matrices", MATRICES, {"patience": 1}, Patient), RuledGroup("rest", {}, {}))
    assert [one.patience for one in build(network(), own, Patient, lr=0.1).members] == [1, 3]
