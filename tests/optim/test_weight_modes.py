"""Weights to evaluate and weights to train: each is in the model when it should be."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.optim import (
    RuledGroup,
    build_optimizer,
    evaluated_state,
    evaluation_weights,
    has_two_sets,
)

CPU = torch.device("cpu")


def _schedule_free() -> type[torch.optim.Optimizer]:
    path = Path(__file__).with_name("schedule_free.py")
    spec = importlib.util.spec_from_file_location("schedule_free", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ScheduleFreeSGD


ScheduleFreeSGD = _schedule_free()


class Polyak(torch.optim.SGD):
    """SGD whose `eval` exchanges the weights for the mean of all iterates, by new storage."""

    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr)
        self._steps, self._trained = 0, None

    def step(self, closure=None):
        assert self._trained is None
        super().step(closure)
        self._steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.detach(), 1 / self._steps)

    def eval(self):
        held = [p for group in self.param_groups for p in group["params"]]
        self._trained = [(p, p.data) for p in held]
        for p in held:
            p.data = self.state[p]["mean"].clone() if "mean" in self.state[p] else p.data.clone()

    def train(self):
        for p, data in self._trained or ():
            p.data = data
        self._trained = None


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 200), nn.BatchNorm1d(200), nn.Linear(200, 3))


def build(model, optimizer_class, *groups, **kwargs):
    return build_optimizer(
        optimizer_class, kwargs, model, device=CPU, decay_biases_and_norms=True, groups=groups
    )


def make_steps(model, optimizer, count=5):
    """Make steps on fixed batches; return the weights after each, as flat float64 vectors."""
    generator = torch.Generator().manual_seed(1)
    path = []
    for _ in range(count):
        inputs = torch.randn(8, 6, generator=generator)
        optimizer.zero_grad()
        model(inputs).tanh().mean().backward()
        optimizer.step()
        path.append(flat(model).double())
    return path


def flat(model) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_the_mean_of_all_iterates_is_evaluated():
    model = network()
    optimizer = build(model, Polyak)
    path = make_steps(model, optimizer)
    with evaluation_weights(optimizer):
        evaluated = flat(model).double()
    torch.testing.assert_close(evaluated, torch.stack(path).mean(0), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(evaluated, path[-1], rtol=1e-3)


@pytest.mark.parametrize("optimizer_class", [ScheduleFreeSGD, Polyak])
def test_evaluating_leaves_the_trained_weights_as_they_were_to_the_bit(optimizer_class):
    plain, looked_at = network(), network()
    make_steps(plain, build(plain, optimizer_class, lr=1.0), 20)
    optimizer = build(looked_at, optimizer_class, lr=1.0)
    step = optimizer.step

    def look_and_step(closure=None):
        for _ in range(3):
            with evaluation_weights(optimizer):
                flat(looked_at)
        step(closure)

    optimizer.step = look_and_step
    make_steps(looked_at, optimizer, 20)
    assert torch.equal(flat(plain), flat(looked_at))


def test_going_to_the_evaluated_weights_and_back_by_itself_would_round():
    """Otherwise the test above could not fail."""
    model = network()
    optimizer = build(model, ScheduleFreeSGD, lr=1.0)
    make_steps(model, optimizer, 20)
    before = flat(model)
    optimizer.eval()
    optimizer.train()
    assert not torch.equal(flat(model), before)


def test_an_exception_in_an_evaluation_leaves_the_trained_weights():
    model = network()
    optimizer = build(model, ScheduleFreeSGD)
    before = make_steps(model, optimizer)[-1]
    with pytest.raises(ZeroDivisionError), evaluation_weights(optimizer):
        raise ZeroDivisionError
    assert torch.equal(flat(model).double(), before)
    make_steps(model, optimizer, 1)  # it would refuse in evaluation mode


def test_an_optimizer_without_modes_is_left_alone():
    model = network()
    optimizer = build(model, torch.optim.SGD, lr=0.1)
    versions = [p._version for p in model.parameters()]
    with evaluation_weights(optimizer):
        pass
    assert [p._version for p in model.parameters()] == versions
    assert not has_two_sets(optimizer)
    assert evaluated_state(model, optimizer) is None


def test_only_the_member_that_has_modes_is_switched():
    model = network()
    matrices = RuledGroup("matrices", {"dimensions": [2]}, {"lr": 0.1}, ScheduleFreeSGD)
    optimizer = build(model, torch.optim.SGD, matrices, RuledGroup("rest", {}, {}), lr=0.1)
    assert has_two_sets(optimizer)
    make_steps(model, optimizer)
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    evaluated = evaluated_state(model, optimizer)
    assert evaluated.keys() == model.state_dict().keys()
    for name, values in trained.items():
        assert torch.equal(values, evaluated[name]) == (values.ndim == 1), name
        assert torch.equal(values, model.get_parameter(name))


def test_modes_that_fail_are_refused_before_any_step():
    class Broken(Polyak):
        def eval(self):
            raise RuntimeError("no average yet")

    with pytest.raises(UserError, match=r"Broken cannot .*no average yet"):
        build(network(), Broken)
