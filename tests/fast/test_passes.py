"""The written-out passes against autograd: the same bits, and only for the models they cover."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.fast import gate, passes
from gradcli.fast.passes import Autograd, written_out
from gradcli.models import CNN, MLP, LogisticRegression
from gradcli.objectives.shipped import cross_entropy
from gradcli.records import FaultRecord, StepRecords
from gradcli.training import differentiation
from gradcli.workflows.building import build_trainer

pytestmark = pytest.mark.skipif(
    not gate.is_open(), reason="the gate is closed: PyTorch goes its own way"
)

ACTIVATIONS = [
    nn.ELU,
    lambda: nn.ELU(alpha=0.5),
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
    nn.Identity,
    nn.LeakyReLU,
    lambda: nn.LeakyReLU(negative_slope=0.3),
    nn.ReLU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    lambda: nn.Softplus(beta=2.0, threshold=1.0),
    nn.Tanh,
]


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist5k")


@pytest.fixture(params=[1, 2], ids=["one_thread", "two_threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def mlp(activation=nn.ReLU, hidden=(256, 128), **choices):
    torch.manual_seed(0)
    return MLP(input_shape=(1, 28, 28), classes=10, activation=activation, hidden=hidden, **choices)


def stands_in(model):
    """Whether the written-out passes are taken for a model as it is now."""
    passes = written_out(model)
    return passes is not None and passes.may_stand_in()


def batch(dataset, size=128):
    return dataset.train.inputs[:size].float() / 255, dataset.train.targets[:size]


def gradients_of(passes, model, inputs, labels):
    """The logits, the loss and the gradients that passes give."""
    model.zero_grad()
    with passes.context:
        outputs = passes.forward(inputs)
        loss = passes.loss(outputs, labels)
        passes.backward(loss)
    gradients = [parameter.grad for parameter in model.parameters()]
    return outputs.detach(), loss.detach(), *gradients


def assert_as_autograd(model, inputs, labels):
    ours = gradients_of(written_out(model), model, inputs, labels)
    autograd = Autograd(model, cross_entropy, inputs.device.type, autocast=None)
    theirs = gradients_of(autograd, model, inputs, labels)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autograds_to_the_last_bit(dataset, threads, activation):
    assert_as_autograd(mlp(activation), *batch(dataset))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize(
    "model",
    [
        lambda: LogisticRegression(input_shape=(1, 28, 28), classes=10),
        lambda: mlp(hidden=()),
        lambda: mlp(hidden=(1, 64)),
        lambda: mlp(nn.Tanh, hidden=(64, 1, 1)),
        lambda: mlp(hidden=[32] * 20),
    ],
    ids=["logreg", "no_hidden", "one_unit", "one_unit_twice", "20_layers"],
)
def test_whatever_the_sizes(dataset, threads, model, size):
    assert_as_autograd(model(), *batch(dataset, size))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
@pytest.mark.skipif(not gate.is_open("cuda"), reason="not proven on CUDA devices")
def test_on_a_gpu(dataset):
    inputs, labels = batch(dataset)
    for activation in ACTIVATIONS:
        assert_as_autograd(mlp(activation).cuda(), inputs.cuda(), labels.cuda())


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_what_is_not_finite(dataset, value):
    inputs, labels = batch(dataset)
    model = mlp()
    with torch.no_grad():
        model.hidden2.weight[3, 5] = value
    ours = gradients_of(written_out(model), model, inputs, labels)
    theirs = gradients_of(
        Autograd(model, cross_entropy, "cpu", autocast=None), model, inputs, labels
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.isnan(), other.isnan())
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_against_the_formula(dataset):
    """Backpropagation of a net with one hidden layer of sigmoids, by hand, in float64."""
    inputs, labels = batch(dataset)
    model = mlp(nn.Sigmoid, hidden=[16])
    _, loss, *gradients = gradients_of(written_out(model), model, inputs, labels)
    x = inputs.flatten(1).double()
    w1, b1, w2, b2 = (parameter.detach().double() for parameter in model.parameters())
    h = 1 / (1 + torch.exp(-(x @ w1.T + b1)))
    z = h @ w2.T + b2
    p = z.exp() / z.exp().sum(1, keepdim=True)
    dz = (p - F.one_hot(labels, 10)) / len(x)
    dh = dz @ w2 * h * (1 - h)
    torch.testing.assert_close(loss.double(), -p[range(len(x)), labels].log().mean())
    expected = [dh.T @ x, dh.sum(0), dz.T @ h, dz.sum(0)]
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-7)


def train(dataset, *words):
    """Train for some steps, two of them probed; return the trainer, the steps and the fault."""
    overrides = ["data=mnist5k", "max_steps=40", "monitor.every=20", *words]
    trainer = build_trainer(compose_train(overrides), dataset)
    records = list(trainer.run())
    blocks = [record for record in records if isinstance(record, StepRecords)]
    steps = np.concatenate(
        [np.c_[block.loss, block.parameter_grad_norm_before_clip] for block in blocks]
    )
    return trainer, steps, next((one for one in records if isinstance(one, FaultRecord)), None)


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=adam"],
        ["optimizer=rmsprop", "clip=agc", "batch_size=100"],
        ["model=deep_mlp", "init=kaiming", "optimizer=momentum"],
        ["model=logreg", "data.drop_last=false", "batch_size=130"],
    ],
    ids=" ".join,
)
def test_training_has_the_same_bits(dataset, threads, monkeypatch, words):
    ours, our_steps, _ = train(dataset, *words)
    differentiate = ours._training_step.differentiate
    assert differentiate._choose_passes(None) is differentiate.written_out
    monkeypatch.setattr(differentiation, "written_out", lambda model: None)
    theirs, their_steps, _ = train(dataset, *words)
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert len(our_steps) > 2
    np.testing.assert_array_equal(our_steps, their_steps)


def test_a_fault_is_found_where_autograd_finds_it(dataset, monkeypatch):
    words = ["optimizer=sgd", "optimizer.lr=1e12", "clip=none", "monitor.every=0"]
    *_, fault = train(dataset, *words)
    monkeypatch.setattr(differentiation, "written_out", lambda model: None)
    *_, expected = train(dataset, *words)
    assert repr(fault) == repr(expected)  # since no NaN equals another
    assert fault is not None


def test_a_step_is_probed_by_autograd_and_the_next_is_written_out(dataset, monkeypatch):
    taken = []
    for kind in (Autograd, passes.WrittenOut):
        forward = kind.forward
        monkeypatch.setattr(
            kind,
            "forward",
            lambda self, inputs, f=forward: taken.append(type(self)) or f(self, inputs),
        )
    train(dataset, "max_steps=8", "monitor.every=7")
    # The first three updates are observed, and the fifth; then every seventh.
    observed = {1, 2, 3, 5, 8}
    assert taken == [
        Autograd if update in observed else passes.WrittenOut for update in range(1, 9)
    ]


def test_every_shipped_activation_is_written_out(dataset):
    files = sorted((Path(gradcli.__file__).parents[1] / "configs" / "activation").glob("*.yaml"))
    assert len(files) > 5
    for file in files:
        composed = compose_train(["data=mnist5k", f"activation={file.stem}"])
        assert stands_in(build_trainer(composed, dataset).model), file.stem


class OwnMLP(MLP):
    """A user's model, whose forward pass may do whatever it likes."""


def frozen(model):
    model.hidden1.weight.requires_grad_(False)
    return model


def with_tensor_hook(model):
    model.hidden1.weight.register_hook(lambda gradient: gradient * 2)
    return model


def with_accumulation_hook(model):
    model.hidden1.weight.register_post_accumulate_grad_hook(lambda parameter: None)
    return model


def stored_by_columns(model):
    model.hidden2.weight.data = model.hidden2.weight.data.t().contiguous().t()
    return model


def with_tied_weights(model):
    model.hidden2.weight = model.hidden1.weight
    return model


def with_a_module_used_twice(model):
    model.hidden2 = model.hidden1
    return model


def with_its_own_forward(model, *path):
    module = model.get_submodule(".".join(path))
    forward = module.forward
    module.forward = lambda x: 0.5 * forward(x)
    return model


def with_module_hook(model):
    model.activation1.register_forward_hook(lambda module, inputs, output: output * 2)
    return model


@pytest.mark.parametrize(
    "model",
    [
        lambda: mlp(nn.PReLU),
        lambda: mlp(norm="batch"),
        lambda: mlp(norm="layer"),
        lambda: mlp(dropout=0.5),
        lambda: mlp(hidden=[32, 32], residual=True),
        lambda: mlp().double(),
        lambda: CNN(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU),
        lambda: OwnMLP(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        lambda: frozen(mlp()),
        lambda: stored_by_columns(mlp()),
        lambda: with_tied_weights(mlp(hidden=[784, 784])),
        lambda: with_a_module_used_twice(mlp(hidden=[784, 784])),
        lambda: with_its_own_forward(mlp()),
        lambda: with_its_own_forward(mlp(), "hidden2"),
        lambda: with_its_own_forward(mlp(), "activation1"),
        lambda: mlp(lambda: nn.ELU(inplace=True)),
        lambda: with_tensor_hook(mlp()),
        lambda: with_accumulation_hook(mlp()),
        lambda: with_module_hook(mlp()),
    ],
)
def test_anything_else_is_left_to_autograd(model):
    assert stands_in(mlp())
    assert not stands_in(model())


def test_what_comes_later_is_heeded():
    """And what goes again is not missed."""
    model = mlp()
    passes = written_out(model)
    model.hidden1.bias.requires_grad_(False)
    assert not passes.may_stand_in()
    model.hidden1.bias.requires_grad_(True)
    assert passes.may_stand_in()
    for register in (
        model.hidden2.weight.register_hook,
        model.output.bias.register_post_accumulate_grad_hook,
    ):
        handle = register(lambda tensor: None)
        assert not passes.may_stand_in()
        handle.remove()
        assert passes.may_stand_in()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not passes.may_stand_in()
    assert passes.may_stand_in()
    stored_by_columns(model)
    assert not passes.may_stand_in()


def autocast_loses_gradients():
    """Whether PyTorch reuses weights cast under `no_grad`, which it cannot differentiate."""
    layer, inputs = nn.Linear(2, 2), torch.ones(1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            layer(inputs)
        return not layer(inputs).requires_grad


@pytest.mark.skipif(autocast_loses_gradients(), reason="this PyTorch fails by itself")
def test_training_under_the_callers_autocast(dataset):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, steps, fault = train(dataset, "max_steps=3")
    assert fault is None
    assert np.isfinite(steps).all()


def test_a_closed_gate_leaves_it_to_autograd(monkeypatch):
    monkeypatch.setenv(gate.SWITCH, "0")
    assert written_out(mlp()) is None


def test_bfloat16_is_left_to_autograd(dataset):
    trainer, *_ = train(dataset, "max_steps=2", "precision=bfloat16")
    assert isinstance(trainer._training_step.differentiate._choose_passes(None), Autograd)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize(
    "register",
    [
        lambda model, hook: model.hidden2.register_forward_hook(hook),
        lambda model, hook: model.hidden2.register_forward_pre_hook(hook),
        lambda model, hook: model.activation1.register_full_backward_hook(hook),
        lambda model, hook: model.register_full_backward_pre_hook(hook),
        lambda model, hook: nn.modules.module.register_module_forward_pre_hook(hook),
        lambda model, hook: nn.modules.module.register_module_forward_hook(hook),
        lambda model, hook: nn.modules.module.register_module_full_backward_pre_hook(hook),
        lambda model, hook: nn.modules.module.register_module_full_backward_hook(hook),
    ],
)
def test_a_hook_that_comes_later_is_called(dataset, register):
    composed = compose_train(["data=mnist5k", "max_steps=3", "monitor.every=0"])
    trainer = build_trainer(composed, dataset)
    make_step = trainer._training_step
    inputs, labels = batch(dataset)
    calls = []
    make_step(inputs, labels, None)
    handle = register(trainer.model, lambda *arguments: calls.append(1))
    try:
        make_step(inputs, labels, None)
    finally:
        handle.remove()
    assert calls
    assert isinstance(make_step.differentiate._choose_passes(None), passes.WrittenOut)


def test_a_module_that_takes_the_place_of_another_is_called(dataset):
    trainer = build_trainer(compose_train(["data=mnist5k", "max_steps=3"]), dataset)
    inputs, labels = batch(dataset)
    trainer._training_step(inputs, labels, None)
    trainer.model.activation1 = nn.Threshold(1e9, 0.0)
    assert isinstance(trainer._training_step.differentiate._choose_passes(None), Autograd)
    result = trainer._training_step(inputs, labels, None)
    assert result.norms_before[0] == 0.0


def test_nothing_of_a_batch_is_kept_after_the_backward_pass(dataset, monkeypatch):
    inputs, labels = batch(dataset)
    model = mlp()
    ours = written_out(model)
    made = []

    def watched(function):
        def call(*given):
            made.append(weakref.ref(result := function(*given)))
            return result

        return call

    monkeypatch.setattr(torch, "log_softmax", watched(torch.log_softmax))
    for link in ours._links:
        monkeypatch.setattr(link, "forward", watched(link.forward))
    gradients_of(ours, model, inputs, labels)
    gc.collect()
    assert len(made) == 6
    assert not any(reference() is not None for reference in made)
