"""`build_optimizer`: the shipped optimizers, hand-written updates, and what is refused."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from gradcli.data import load_dataset
from gradcli.errors import UserError
from gradcli.fast.update import Update
from gradcli.optim import RuledGroup, build_optimizer, evaluates_loss

CPU = torch.device("cpu")
SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "optimizer").glob("*.yaml"))


def shipped(name):
    """The class and keyword arguments of an option of the optimizer group."""
    config = yaml.safe_load((SHIPPED[0].parent / f"{name}.yaml").read_text())
    config.pop("search", None)  # the ranges of a search
    module, _, optimizer_class = config.pop("_target_").rpartition(".")
    library = pytest.importorskip(module, reason="it is in the extra `optimizers`")
    return getattr(library, optimizer_class), config


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(20, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 4))


def batch(seed=1):
    """Four noisy patterns to tell apart."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(4, 20, generator=generator)
    labels = torch.randint(4, (64,), generator=generator)
    return patterns[labels] + 0.3 * torch.randn(64, 20, generator=generator), labels


def build(optimizer_class, model, *, decay_biases_and_norms=True, **kwargs):
    return build_optimizer(
        optimizer_class, kwargs, model, device=CPU, decay_biases_and_norms=decay_biases_and_norms
    )


def make_step(model, optimizer, inputs, labels):
    """Make a step, by a closure if the class needs one, and return the loss before."""

    def loss_with_gradients():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        losses.append(loss.item())
        return loss

    losses = []
    if evaluates_loss(type(optimizer)):
        optimizer.step(loss_with_gradients)
    else:
        loss_with_gradients()
        optimizer.step()
    return losses[0]


def train(model, optimizer, steps):
    """Make full-batch steps and return the losses before each."""
    inputs, labels = batch()
    losses = []
    for _ in range(steps):
        losses.append(make_step(model, optimizer, inputs, labels))
    return losses


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """2,560 of the bundled digits, normalised (n, 784), and their labels."""
    sample = load_dataset("mnist5k", cache_dir=tmp_path_factory.mktemp("cache"))
    images = sample.train.inputs[:2560].flatten(1) / 255
    return (images - sample.mean) / sample.std, sample.train.targets[:2560]


#: For hidden layers, which the model below has not: tests/optim/test_muon.py.
OF_HIDDEN_LAYERS = "muon"


@pytest.mark.parametrize(
    "path", [one for one in SHIPPED if one.stem != OF_HIDDEN_LAYERS], ids=lambda path: path.stem
)
@pytest.mark.parametrize("decay", [True, False])
def test_every_shipped_optimizer_learns_real_digits(path, decay, digits):
    images, labels = digits
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(784, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))
    optimizer_class, kwargs = shipped(path.stem)
    optimizer = build(optimizer_class, model, decay_biases_and_norms=decay, **kwargs)
    before = F.cross_entropy(model(images), labels).item()
    for inputs, classes in zip(images.split(128), labels.split(128), strict=True):
        optimizer.zero_grad()
        make_step(model, optimizer, inputs, classes)
    assert F.cross_entropy(model(images), labels).item() < 0.6 * before


def test_the_group_ships_what_is_promised():
    promised = (
        "adadelta adafactor adagrad adam adamax adamw ademamix lbfgs lion momentum muon nadam "
        "nesterov prodigy radam rmsprop schedule_free_adamw schedule_free_sgd sgd soap"
    )
    assert " ".join(path.stem for path in SHIPPED) == promised


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_momentum_equals_the_update_by_hand(name):
    optimizer_class, kwargs = shipped(name)
    model, by_hand = network(), network()
    train(model, build(optimizer_class, model, **kwargs), 5)
    inputs, labels = batch()
    parameters = list(by_hand.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    for _ in range(5):
        gradients = torch.autograd.grad(F.cross_entropy(by_hand(inputs), labels), parameters)
        with torch.no_grad():
            for p, v, g in zip(parameters, velocities, gradients, strict=True):
                v.mul_(kwargs["momentum"]).add_(g)
                p -= kwargs["lr"] * (g + kwargs["momentum"] * v if name == "nesterov" else v)
    torch.testing.assert_close(weights(model), weights(by_hand))


@pytest.mark.parametrize(
    ("optimizer_class", "kwargs"),
    [
        (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
        (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
        (torch.optim.AdamW, {"lr": 0.01}),
        (torch.optim.Adagrad, {"lr": 0.05, "lr_decay": 0.1}),
    ],
)
def test_fused_equals_the_plain_implementation(optimizer_class, kwargs):
    fused_model, plain_model = network(), network()
    fused = build(optimizer_class, fused_model, **kwargs)
    plain = build(optimizer_class, plain_model, fused=False, foreach=False, **kwargs)
    assert fused.defaults["fused"] is True
    assert plain.defaults["fused"] is False
    train(fused_model, fused, 10)
    train(plain_model, plain, 10)
    torch.testing.assert_close(weights(fused_model), weights(plain_model), rtol=1e-4, atol=1e-6)


class View(nn.Module):
    """Multiplies by a matrix that is laid out as `lay_out` says, within `memory`."""

    def __init__(self, lay_out):
        super().__init__()
        self.memory = torch.arange(60.0).view(6, 10) / 60
        self.weight = nn.Parameter(lay_out(self.memory))

    def forward(self, inputs):
        return inputs @ self.weight


@pytest.mark.parametrize(
    ("lay_out", "fused"),
    [
        (lambda memory: memory, True),
        (lambda memory: memory.t(), True),
        (lambda memory: memory[:, :1], None),
        (lambda memory: memory[:, 2:7], None),
        (lambda memory: memory[::2], None),
        (lambda memory: memory[:3], True),
    ],
)
@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.AdamW])
def test_a_view_is_updated_and_nothing_beside_it(lay_out, fused, optimizer_class):
    model = View(lay_out)
    before = model.memory.clone()
    optimizer = build(optimizer_class, model, lr=0.1, weight_decay=0.0)
    assert bool(optimizer.defaults["fused"]) is bool(fused)
    rows, _ = model.weight.shape
    model(torch.ones(2, rows)).sum().backward()
    optimizer.step()
    # Adam's first step is the learning rate, for gradients of whatever size.
    expected = before.clone()
    lay_out(expected).sub_(0.1)
    torch.testing.assert_close(model.memory, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("choice", [{"fused": False}, {"foreach": True}, {"foreach": False}])
def test_the_users_choice_of_implementation_stands(choice):
    optimizer = build(torch.optim.Adam, network(), **choice)
    assert not optimizer.defaults["fused"]
    assert choice.items() <= optimizer.defaults.items()


class FusedElsewhere(torch.optim.SGD):
    """Has `fused` in its signature and no fused implementation on this device."""

    def __init__(self, params, lr: float = 0.1, fused: bool | None = None) -> None:
        super().__init__(params, lr=lr)
        self.fused = fused

    def step(self, closure=None):
        if self.fused:
            raise RuntimeError("not on this device")
        return super().step(closure)


def test_if_fused_does_not_work_the_plain_implementation_is_used():
    assert build(FusedElsewhere, network()).fused is None
    with pytest.raises(UserError, match="not on this device"):
        build(FusedElsewhere, network(), fused=True)


def test_complex_parameters_fall_back():
    model = nn.Linear(3, 2, dtype=torch.complex64)
    assert not build(torch.optim.Adam, model).defaults["fused"]


def test_parameters_are_named_and_frozen_ones_left_out():
    model = network()
    model[0].weight.requires_grad_(False)
    (group,) = build(torch.optim.SGD, model).param_groups
    assert group["param_names"] == ["0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    assert [id(p) for p in group["params"]] == [id(p) for p in list(model.parameters())[1:]]


@pytest.mark.parametrize(
    ("optimizer_class", "kwargs", "decay"),
    [(torch.optim.Adam, {"weight_decay": 0.1}, 0.1), (torch.optim.AdamW, {}, 0.01)],
)
def test_weight_decay_can_spare_biases_and_norms(optimizer_class, kwargs, decay):
    decayed, spared = build(
        optimizer_class, network(), decay_biases_and_norms=False, **kwargs
    ).param_groups
    assert decayed["param_names"] == ["0.weight", "3.weight"]
    assert decayed["weight_decay"] == decay
    assert spared["param_names"] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert spared["weight_decay"] == 0.0
    assert spared["lr"] == decayed["lr"]


def test_spared_parameters_do_not_shrink():
    model = network()
    optimizer = build(
        torch.optim.SGD, model, decay_biases_and_norms=False, lr=0.5, weight_decay=0.1
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.95 if p.ndim == 2 else 1.0
        torch.testing.assert_close(p.detach(), factor * before[name])


@pytest.mark.parametrize(
    ("optimizer_class", "kwargs", "decay_all"),
    [
        (torch.optim.Adam, {"weight_decay": 0.0}, False),
        (torch.optim.AdamW, {"weight_decay": 0.1}, True),
        (torch.optim.Rprop, {}, False),
    ],
)
def test_one_group_if_there_is_no_weight_decay(optimizer_class, kwargs, decay_all):
    optimizer = build(optimizer_class, network(), decay_biases_and_norms=decay_all, **kwargs)
    assert len(optimizer.param_groups) == 1


def test_a_model_of_biases_alone_has_one_spared_group():
    model = nn.LayerNorm(4)
    (group,) = build(torch.optim.AdamW, model, decay_biases_and_norms=False).param_groups
    assert group["weight_decay"] == 0.0


class SignDescent(torch.optim.Optimizer):
    """A user's own optimizer, with its own noise."""

    def __init__(self, params, rate: float = 0.01) -> None:
        super().__init__(params, {"lr": rate})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign() * torch.rand(1)


def test_a_users_own_optimizer_and_a_rehearsal_that_leaves_no_trace():
    model = network()
    before = weights(model)
    state = torch.get_rng_state()
    optimizer = build(SignDescent, model, rate=0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(model), before)
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 0.1
    losses = train(model, optimizer, 20)
    assert losses[-1] < losses[0]


def test_a_class_that_evaluates_the_loss_takes_all_parameters_or_none():
    assert evaluates_loss(torch.optim.LBFGS)
    assert not evaluates_loss(torch.optim.Adam)
    assert not evaluates_loss(Demanding)
    groups = [
        RuledGroup("matrices", {"dimensions": [2]}, {}, torch.optim.LBFGS),
        RuledGroup("rest", {}, {}),
    ]
    with pytest.raises(UserError, match="evaluates the loss several times") as caught:
        build_optimizer(
            torch.optim.SGD,
            {"lr": 0.1},
            network(),
            device=CPU,
            decay_biases_and_norms=True,
            groups=groups,
        )
    assert caught.value.where == "optimizer.groups.matrices"


class Demanding(torch.optim.SGD):
    """Says only when it runs that the closure is not optional."""

    def step(self, closure=None):
        assert closure is not None, "a closure is needed"


@pytest.mark.parametrize(
    ("optimizer_class", "kwargs", "words"),
    [
        (torch.optim.SparseAdam, {}, "SparseAdam cannot make a plain step.*dense gradients"),
        (Demanding, {}, "Demanding cannot make a plain step.*a closure is needed"),
        (torch.optim.SGD, {"differentiable": True}, "SGD cannot make a plain step"),
        (torch.optim.SGD, {"lr": -1.0}, "SGD refuses its settings: .*learning rate: -1.0"),
        (torch.optim.Adam, {"betas": [0.9, 1.5]}, "Adam refuses .*beta parameter at index 1: 1.5"),
        (torch.optim.SGD, {"nesterov": True}, "Nesterov momentum requires"),
        (torch.optim.Adam, {"rho": 0.9}, "rho"),
        (torch.optim.Adam, {"fused": True, "foreach": True}, "cannot be `True` together"),
    ],
)
def test_what_cannot_work_is_refused_with_a_message(optimizer_class, kwargs, words):
    with pytest.raises(UserError, match=words) as caught:
        build(optimizer_class, network(), **kwargs)
    assert caught.value.where == "optimizer"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_takes_matrices_only():
    with pytest.raises(UserError, match=r"Muon refuses .*2D"):
        build(torch.optim.Muon, network())
    build(torch.optim.Muon, nn.Linear(4, 4, bias=False))


def test_a_model_with_nothing_to_train():
    with pytest.raises(UserError, match="no parameter to train"):
        build(torch.optim.SGD, nn.Flatten())
    with pytest.raises(UserError, match="no parameter to train"):
        build(torch.optim.SGD, network().requires_grad_(False))


class OwnStep(torch.optim.SGD):
    """A step of its own on a class that has a fused implementation."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad


def test_clipping_reaches_a_step_that_a_subclass_wrote():
    """A fused optimizer is told the factor of clipping, which such a step would ignore."""
    model = network()
    update = Update(build(OwnStep, model, lr=0.5))
    inputs, labels = batch()
    before = weights(model).clone()
    F.cross_entropy(model(inputs), labels).backward()
    gradient = nn.utils.parameters_to_vector(p.grad for p in model.parameters())
    expected = before - 0.5 * 0.01 * gradient
    update(0.01)
    torch.testing.assert_close(weights(model), expected)
