"""Faults in the numbers and modules of an own loop: rates, scales, initial weights, arithmetic.

As in `loop_faults`, a fault changes a sound loop and returns the layers that may be named.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from diagnosis_corpus.broken_modules import Broken
from diagnosis_corpus.cases import ADAPTIVE, OPTIMIZERS, Kind, Setting
from diagnosis_corpus.loop import Loop, digit_loop
from diagnosis_corpus.loop_faults import CHAINS, kind_of_fault, layers_under, some_block, up_to
from diagnosis_corpus.nets import WIDTH, Net, Recurrent, Rows
from diagnosis_corpus.tasks import CLASSES

Layers = tuple[str, ...]
SGD = ("sgd", "momentum", "nesterov")
WEIGHTED = (nn.Linear, nn.Conv2d)


# The optimizer's numbers.


def _rate_too_high(loop: Loop, drawn: random.Random) -> Layers:
    loop.rate *= 10 ** drawn.uniform(1.2, 2.5)
    loop.make_optimizer()
    return ()


def _rate_too_low(loop: Loop, drawn: random.Random) -> Layers:
    loop.rate *= 10 ** drawn.uniform(-4.5, -2.5)
    loop.make_optimizer()
    return ()


def _decay(loop: Loop, drawn: random.Random) -> Layers:
    if loop.optimizer_name in ADAPTIVE and loop.optimizer_name != "adamw":
        decay = 10 ** drawn.uniform(-0.5, 1)
    else:  # the weights shrink by rate * decay per step
        decay = 10 ** drawn.uniform(-1.3, -0.3) / loop.rate
    loop.make_optimizer(weight_decay=decay)
    return ()


def _momentum(loop: Loop, drawn: random.Random) -> Layers:
    value = drawn.choice((0.998, 0.999, 0.9995))
    if loop.optimizer_name in SGD:
        loop.make_optimizer(momentum=value)
    else:
        loop.make_optimizer(betas=(value, 0.999))
    return ()


def _epsilon(loop: Loop, drawn: random.Random) -> Layers:
    loop.make_optimizer(eps=10 ** drawn.uniform(0, 2))
    return ()


def _clipped(loop: Loop, drawn: random.Random) -> Layers:
    loop.max_norm = 10 ** drawn.uniform(-4, -2.7)
    return ()


def _rate_jump(loop: Loop, drawn: random.Random) -> Layers:
    """The schedule raises the rate in the middle, for good."""
    when, factor = int(loop.steps * drawn.uniform(0.3, 0.6)), drawn.choice((100, 300, 1000))

    def before_step(step: int) -> None:
        if step == when:
            for group in loop.optimizer.param_groups:
                group["lr"] *= factor

    loop.before_step = before_step
    return ()


def _huge_step(loop: Loop, drawn: random.Random) -> Layers:
    """One step has a rate that is far too high; the ones before and after are sound."""
    when, factor = int(loop.steps * drawn.uniform(0.2, 0.7)), drawn.choice((1000, 3000, 10000))
    rates = [group["lr"] for group in loop.optimizer.param_groups]

    def before_step(step: int) -> None:
        for group, rate in zip(loop.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (factor if step == when else 1)

    loop.before_step = before_step
    return ()


# Initial weights.


def _weighted(module: nn.Module, prefix: str) -> list[tuple[str, Any]]:
    inside = module.get_submodule(prefix)
    return [
        (f"{prefix}.{name}".rstrip("."), one)
        for name, one in inside.named_modules()
        if isinstance(one, WEIGHTED)
    ]


def _some_layer(loop: Loop, drawn: random.Random) -> tuple[str, Any]:
    places = ["stem", "head", *(f"blocks.{index}" for index in range(len(loop.model.blocks)))]
    return drawn.choice([found for place in places for found in _weighted(loop.model, place)])


@torch.no_grad()
def _scale_all(loop: Loop, factor: float) -> None:
    for module in loop.model.modules():
        if isinstance(module, WEIGHTED):
            module.weight.mul_(factor)
            module.bias.mul_(factor)
        if isinstance(module, nn.RNNBase):
            for one in module.parameters():
                one.mul_(factor)


def _huge_weights(loop: Loop, drawn: random.Random) -> Layers:
    _scale_all(loop, 10 ** drawn.uniform(1.3, 2.3))
    return ()


def _tiny_weights(loop: Loop, drawn: random.Random) -> Layers:
    _scale_all(loop, 10 ** drawn.uniform(-6, -2.5))
    return ()


@torch.no_grad()
def _huge_layer(loop: Loop, drawn: random.Random) -> Layers:
    name, layer = _some_layer(loop, drawn)
    layer.weight.mul_(10 ** drawn.uniform(2, 3.5))
    return (name,)


@torch.no_grad()
def _constant_layer(loop: Loop, drawn: random.Random) -> Layers:
    """All units of a hidden layer begin alike, and stay alike."""
    name, layer = drawn.choice(
        [found for place in ("stem", "blocks") for found in _weighted(loop.model, place)]
    )
    layer.weight.fill_(drawn.uniform(0.02, 0.1))
    layer.bias.zero_()
    return (name,)


@torch.no_grad()
def _all_zero(loop: Loop, drawn: random.Random) -> Layers:
    for one in loop.model.parameters():
        one.zero_()
    return ()


def _with_activation(activation: type[nn.Module]) -> Any:
    """Return a maker of loops whose nets have this activation."""

    def make(setting: Setting, drawn: random.Random) -> Loop:
        loop = digit_loop(setting, drawn)
        for parent in list(loop.model.modules()):
            for name, child in list(parent.named_children()):
                if type(child).__module__.endswith("activation") and not isinstance(
                    child, nn.Softmax | nn.MultiheadAttention
                ):
                    setattr(parent, name, activation())
        return loop

    return make


@torch.no_grad()
def _negative_biases(loop: Loop, drawn: random.Random) -> Layers:
    """No unit of one hidden layer is ever active."""
    place = drawn.choice(["stem", some_block(loop, drawn)])
    name, layer = _weighted(loop.model, place)[0]
    layer.bias.fill_(-(10 ** drawn.uniform(1.3, 2.5)))
    return (name,)


@torch.no_grad()
def _saturated(loop: Loop, drawn: random.Random) -> Layers:
    factor = 10 ** drawn.uniform(1.5, 2.5)
    for place in ("stem", "blocks"):
        for _, layer in _weighted(loop.model, place):
            layer.weight.mul_(factor)
    return ()


# Depth and time.


def _deep(activation: type[nn.Module], gain: float) -> Any:
    """Return a maker of loops whose nets are deep and, with this gain, sound."""

    def make(setting: Setting, drawn: random.Random) -> Loop:
        loop = digit_loop(setting, drawn)
        depth = drawn.randint(8, 14)
        blocks = [nn.Sequential(nn.Linear(WIDTH, WIDTH), activation()) for _ in range(depth)]
        loop.model.blocks = nn.Sequential(*blocks)
        for block in blocks:
            nn.init.normal_(block[0].weight, std=gain / WIDTH**0.5)
            nn.init.zeros_(block[0].bias)
        loop.rate /= 2
        loop.make_optimizer()
        return loop

    return make


def _sigmoids(loop: Loop, drawn: random.Random) -> Layers:
    """The activations are sigmoids, through each of which a gradient loses three quarters."""
    half = len(loop.model.blocks) // 2
    for block in loop.model.blocks:
        block[1] = nn.Sigmoid()
        nn.init.normal_(block[0].weight, std=1 / WIDTH**0.5)
    return up_to(loop, f"blocks.{half}")


@torch.no_grad()
def _gain(loop: Loop, drawn: random.Random) -> Layers:
    factor = drawn.uniform(2.5, 6)
    for block in loop.model.blocks:
        block[0].weight.mul_(factor)
    return ()


def _elman(setting: Setting, drawn: random.Random) -> Loop:
    """A loop with an Elman network of ReLUs that keeps its state (Le et al. 2015)."""
    loop = digit_loop(setting, drawn)
    cell = nn.RNN(14, WIDTH, batch_first=True, nonlinearity="relu")
    nn.init.eye_(cell.weight_hh_l0)
    stem = nn.Sequential(Rows(), Recurrent(cell, last=True))
    loop.model = Net(stem, [nn.Identity()], nn.Linear(WIDTH, CLASSES))
    loop.rate /= 4
    loop.max_norm = 1.0
    loop.make_optimizer()
    return loop


@torch.no_grad()
def _recurrence(loop: Loop, drawn: random.Random) -> Layers:
    """The state grows at each step of time."""
    loop.model.stem[1].cell.weight_hh_l0.mul_(drawn.uniform(2.5, 6))
    return layers_under(loop.model, "stem")


# Modules.


def _not_finite(loop: Loop, drawn: random.Random) -> Layers:
    name = drawn.choice(("log", "sqrt", "division", "exp"))
    index = drawn.randrange(len(loop.model.blocks))
    loop.model.blocks[index] = nn.Sequential(loop.model.blocks[index], Broken(name))
    module = f"blocks.{index}.1"
    # sqrt is finite at 0 and its derivative is not: the gradients of the layers before show it.
    return (module, *layers_under(loop.model, f"blocks.{index}")) if name == "sqrt" else (module,)


def _nan_in_data(loop: Loop, drawn: random.Random) -> Layers:
    value = drawn.choice((float("nan"), float("inf")))
    for _ in range(drawn.choice((10, 20, 60))):
        loop.task.inputs[drawn.randrange(len(loop.task.inputs)), 0, 3, 3] = value
    return ()


def _dropout(loop: Loop, drawn: random.Random) -> Layers:
    index, share = drawn.randrange(len(loop.model.blocks)), drawn.uniform(0.93, 0.99)
    loop.model.blocks[index] = nn.Sequential(loop.model.blocks[index], nn.Dropout(share))
    return ()


def kinds() -> Iterator[Kind]:
    """Yield the kinds of fault."""
    adaptive = tuple(one for one in OPTIMIZERS if one in ADAPTIVE)
    rate, down = ("rate", "lr"), ("lower", "smaller", "reduce", "divide", "at most", "less")
    up = ("higher", "larger", "raise", "increase", "multiply", "at least")
    yield kind_of_fault("lr too high", ("lr-too-high",), _rate_too_high, (rate, down))
    yield kind_of_fault("lr too low", ("lr-too-low",), _rate_too_low, (rate, up))
    yield kind_of_fault("weight decay", ("weight-decay-too-strong",), _decay, (("decay",), down))
    yield kind_of_fault(
        "momentum",
        ("momentum-too-high",),
        _momentum,
        (("momentum", "beta"),),
        optimizers=("momentum", "nesterov", "adam", "adamw", "nadam"),
    )
    yield kind_of_fault(
        "epsilon", ("epsilon-too-large",), _epsilon, (("eps",),), optimizers=adaptive
    )
    yield kind_of_fault(
        "clipping", ("always-clipped",), _clipped, (("clip", "max_norm"),), optimizers=SGD
    )
    jump = (("schedule", *rate),)
    yield kind_of_fault("jump of the rate", ("lr-too-high", "spike"), _rate_jump, jump)
    yield kind_of_fault("huge step", ("lr-too-high", "spike"), _huge_step, jump)
    start = (("initial", "init"),)
    scale = "initial-scale"
    plain = {"architectures": ("mlp", "cnn")}
    yield kind_of_fault(
        "huge weights", (scale,), _huge_weights, start, architectures=("mlp", "cnn", "rnn")
    )
    yield kind_of_fault(
        "tiny weights", (scale,), _tiny_weights, start, architectures=("mlp", "cnn")
    )
    yield kind_of_fault("zero weights", (scale,), _all_zero, start)
    yield kind_of_fault("huge layer", (scale,), _huge_layer, start, **plain)
    yield kind_of_fault("constant layer", (scale,), _constant_layer, start, **plain)
    yield kind_of_fault(
        "negative biases",
        ("dead-units", scale),
        _negative_biases,
        (("bias", "init", "leaky"),),
        _with_activation(nn.ReLU),
        **plain,
    )
    yield kind_of_fault(
        "saturated",
        (scale, "saturated"),
        _saturated,
        (("initial", "init", "scale"),),
        _with_activation(nn.Tanh),
        **plain,
    )
    yield kind_of_fault(
        "deep sigmoid",
        ("vanishing",),
        _sigmoids,
        (("activation", "relu", "norm", "residual", "sigmoid"),),
        _deep(nn.Tanh, 1.0),
        architectures=("mlp",),
    )
    yield kind_of_fault(
        "deep gain",
        (scale, "exploding"),
        _gain,
        start,
        _deep(nn.ReLU, 2**0.5),
        architectures=("mlp",),
    )
    yield kind_of_fault(
        "recurrence",
        ("exploding", scale),
        _recurrence,
        (("init", "orthogonal", "clip", "lstm", "gru", "recurrent"),),
        _elman,
        architectures=("rnn",),
        optimizers=("adam", "adamw", "rmsprop", "nadam"),
    )
    yield kind_of_fault(
        "not finite",
        ("non-finite",),
        _not_finite,
        (("eps", "clamp", "positive", "zero", "overflow", "0", "negative"),),
        architectures=CHAINS,
        structural=True,
    )
    yield kind_of_fault(
        "nan in the data",
        ("non-finite",),
        _nan_in_data,
        (("input", "data", "example"),),
        structural=True,
    )
    yield kind_of_fault(
        "dropout", ("dropout-too-high",), _dropout, (("dropout",),), architectures=CHAINS
    )
