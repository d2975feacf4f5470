"""Faults that a config of `gradcli train` can hold. Each is mended by an override."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from diagnosis_corpus.cases import ADAPTIVE, OPTIMIZERS, Answer, Kind, Setting, Training

#: With `init.*` and `model.dropout`: the Transformer of `configured` has its own ways there.
SHIPPED = ("mlp", "cnn", "rnn", "normalised", "residual")
MOMENTUM = ("momentum", "nesterov", "adam", "adamw", "nadam")

Overrides = list[str]
Both = tuple[Overrides, Overrides]
"""What the fault and the twin have beyond the sound config; later overrides win."""
Plant = Callable[[random.Random, Setting], Both]


def sound_config(drawn: random.Random, setting: Setting) -> Overrides:
    """Return the overrides of a training that learns in a second."""
    architecture, optimizer = setting
    return [
        "data=mnist5k",
        "batch_size=64",
        "threads=1",
        "device=cpu",
        "checkpoint.seconds=1e9",
        f"seed={drawn.randrange(1_000_000)}",
        "epochs=3",
        f"optimizer={optimizer}",
        f"schedule={drawn.choice(('cosine', 'constant', 'warmup_cosine'))}",
        *_model(architecture, drawn),
        f"optimizer.lr={rate_of(setting)}",
    ]


def _model(architecture: str, drawn: random.Random) -> Overrides:
    activation = f"activation={drawn.choice(('relu', 'tanh', 'gelu', 'elu', 'silu'))}"
    norm = f"model.norm={drawn.choice(('batch', 'layer'))}"
    depth = drawn.randint(2, 4)
    match architecture:
        case "cnn":
            small = ["model.channels=[4,8]", "model.kernel_size=3", "model.hidden=32"]
            return ["model=cnn", *small, activation]
        case "rnn":
            cell = drawn.choice(("gru", "lstm"))
            return ["model=rnn", "model.hidden=32", f"model.cell={cell}", activation]
        case "transformer":
            return ["model=transformer", f"model.blocks={drawn.randint(1, 2)}"]
        case "normalised":
            return [hidden(48, depth), norm, "data.drop_last=true", activation]
        case "residual":
            residual = "model.residual=true"
            return [hidden(48, depth + 1), residual, norm, "data.drop_last=true", activation]
    return [hidden(64, drawn.randint(1, 4)), activation]


def hidden(width: int, depth: int) -> str:
    """Return the override for so many layers of one width."""
    return "model.hidden=[" + ",".join([str(width)] * depth) + "]"


#: What the rates of the config are for other nets than its MLP; measured as in `loop`.
_RATES = {
    "sgd": {"rnn": 1.0, "": 0.1},
    "momentum": {"rnn": 0.2, "": 0.05},
    "nesterov": {"rnn": 0.2, "": 0.05},
    "adagrad": {"rnn": 0.05, "": 0.02},
    "rmsprop": {"rnn": 0.005, "": 0.002},
    "adam": {"rnn": 0.01, "": 0.002},
    "adamw": {"rnn": 0.01, "": 0.002},
    "nadam": {"rnn": 0.01, "": 0.002},
}


def rate_of(setting: Setting) -> float:
    """Return the learning rate of the sound config."""
    architecture, optimizer = setting
    rates = _RATES[optimizer]
    return rates.get(architecture, rates[""])


def _kind(name: str, codes: tuple[str, ...], plant: Plant, **of_kind: Any) -> Kind:
    """Return a kind whose case is the sound config and what `plant` adds."""

    def draw(drawn: random.Random, setting: Setting) -> Training:
        sound = sound_config(drawn, setting)
        fault, twin = plant(drawn, setting)
        return Training(Answer(codes), [*sound, *fault], [*sound, *twin])

    given = {"by_override": True, **of_kind}
    return Kind(name=name, way="train", draw=draw, codes=codes, **given)


def _number(drawn: random.Random, low: float, high: float) -> str:
    """Return a number whose logarithm to base ten is between these."""
    return f"{10 ** drawn.uniform(low, high):.3g}"


def _rate_too_high(drawn: random.Random, setting: Setting) -> Both:
    return [f"optimizer.lr={rate_of(setting) * 10 ** drawn.uniform(1.3, 2.5):.3g}"], []


def _rate_too_high_unclipped(drawn: random.Random, setting: Setting) -> Both:
    rate = rate_of(setting) * 10 ** drawn.uniform(0.8, 2.0)
    return [f"optimizer.lr={rate:.3g}", "clip=none"], ["clip=none"]


def _rate_too_low(drawn: random.Random, setting: Setting) -> Both:
    return [f"optimizer.lr={rate_of(setting) * 10 ** drawn.uniform(-4.5, -2.5):.3g}"], []


def _decay_too_strong(drawn: random.Random, setting: Setting) -> Both:
    rate = rate_of(setting)
    if setting[1] == "adamw":  # its decay is per step rate * decay
        decay = 10 ** drawn.uniform(-1.3, -0.5) / rate
    elif setting[1] in ADAPTIVE:
        decay = 10 ** drawn.uniform(-0.5, 1)
    else:
        decay = 10 ** drawn.uniform(-1.3, -0.3) / rate
    return [f"optimizer.weight_decay={decay:.3g}"], []


def _unscaled(drawn: random.Random, setting: Setting) -> Both:
    return ["data.normalize=none", f"clip={drawn.choice(('none', 'norm'))}"], []


def _huge_weights(drawn: random.Random, setting: Setting) -> Both:
    return ["init=normal", f"init.std={_number(drawn, 0, 1.3)}"], []


def _tiny_weights(drawn: random.Random, setting: Setting) -> Both:
    return ["init=normal", f"init.std={_number(drawn, -8, -3.5)}"], []


def _tiny_gain(drawn: random.Random, setting: Setting) -> Both:
    return ["init=orthogonal", f"init.gain={_number(drawn, -9, -4)}"], []


def _momentum(drawn: random.Random, setting: Setting) -> Both:
    value = drawn.choice(("0.999", "0.998", "0.9995"))
    if setting[1] in ("momentum", "nesterov"):
        return [f"optimizer.momentum={value}"], []
    return [f"optimizer.betas=[{value},0.999]"], []


def _epsilon(drawn: random.Random, setting: Setting) -> Both:
    return [f"optimizer.eps={_number(drawn, 0, 2)}"], []


def _clipped(drawn: random.Random, setting: Setting) -> Both:
    return [f"clip.max_norm={_number(drawn, -5, -3)}"], []


def _clipped_values(drawn: random.Random, setting: Setting) -> Both:
    return ["clip=value", f"clip.max_value={_number(drawn, -7, -5)}"], ["clip=none"]


def _dropout(drawn: random.Random, setting: Setting) -> Both:
    return [f"model.dropout={drawn.choice((0.9, 0.95, 0.97, 0.99))}"], []


def _deep_sigmoid(drawn: random.Random, setting: Setting) -> Both:
    deep = [hidden(32, drawn.randint(8, 16)), "model.residual=false", "model.norm=none"]
    rate = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.005}
    deep.append(f"optimizer.lr={rate.get(setting[1], 0.001)}")
    return [*deep, "activation=sigmoid"], [*deep, "activation=relu", "init=kaiming"]


def _deep_gain(drawn: random.Random, setting: Setting) -> Both:
    deep = [hidden(32, drawn.randint(6, 12)), "model.residual=false", "model.norm=none"]
    deep += ["activation=relu", "init=kaiming"]
    rate = {"sgd": 0.05, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.005}
    deep.append(f"optimizer.lr={rate.get(setting[1], 0.001)}")
    return [*deep, f"init.gain={drawn.uniform(4, 10):.3g}"], deep


def _negative_biases(drawn: random.Random, setting: Setting) -> Both:
    bias = f"init.bias=-{_number(drawn, 1, 2)}"
    return ["activation=relu", bias], ["activation=relu"]


def _saturated(drawn: random.Random, setting: Setting) -> Both:
    return ["activation=tanh", "init=normal", f"init.std={_number(drawn, 0.3, 1.3)}"], [
        "activation=tanh"
    ]


def _small_batches(drawn: random.Random, setting: Setting) -> Both:
    steps = drawn.randrange(150, 300)
    size = drawn.choice((1, 2))
    return [f"batch_size={size}", f"max_steps={steps}"], [f"max_steps={steps}"]


def _rate_jump(drawn: random.Random, setting: Setting) -> Both:
    jump = ["schedule=step", f"schedule.milestones=[{drawn.uniform(0.3, 0.6):.2f}]"]
    factor = drawn.choice((100, 300, 1000))
    return [*jump, f"schedule.gamma={factor}", "clip=none"], ["schedule=constant", "clip=none"]


def kinds() -> Iterator[Kind]:
    """Yield the kinds of fault."""
    sgd = ("sgd", "momentum", "nesterov")
    scale, tiny = "initial-scale", ("mlp", "cnn", "rnn")
    yield _kind("lr too high", ("lr-too-high",), _rate_too_high)
    yield _kind(
        "lr too high, unclipped",
        ("lr-too-high",),
        _rate_too_high_unclipped,
        architectures=("mlp", "cnn", "normalised", "residual"),
    )
    yield _kind("lr too low", ("lr-too-low",), _rate_too_low)
    yield _kind("weight decay", ("weight-decay-too-strong",), _decay_too_strong)
    yield _kind("inputs of 0 to 255", ("unscaled-inputs",), _unscaled, architectures=("mlp", "cnn"))
    yield _kind("huge weights", (scale,), _huge_weights, architectures=SHIPPED)
    yield _kind("tiny weights", (scale,), _tiny_weights, architectures=tiny)
    yield _kind("tiny gain", (scale,), _tiny_gain, architectures=tiny)
    yield _kind("momentum", ("momentum-too-high",), _momentum, optimizers=MOMENTUM)
    yield _kind(
        "epsilon",
        ("epsilon-too-large",),
        _epsilon,
        optimizers=tuple(one for one in OPTIMIZERS if one in ADAPTIVE),
    )
    yield _kind("clipping", ("always-clipped",), _clipped, optimizers=sgd)
    yield _kind("clipping of values", ("always-clipped",), _clipped_values, optimizers=sgd)
    yield _kind("dropout", ("dropout-too-high",), _dropout, architectures=SHIPPED)
    yield _kind("deep sigmoid", ("vanishing",), _deep_sigmoid, architectures=("mlp",))
    yield _kind("deep gain", (scale, "exploding"), _deep_gain, architectures=("mlp",))
    yield _kind(
        "negative biases", ("dead-units", scale), _negative_biases, architectures=("mlp", "cnn")
    )
    yield _kind("saturated", (scale, "saturated"), _saturated, architectures=("mlp", "cnn"))
    yield _kind(
        "batches of 1 or 2",
        ("noise-dominated", "lr-too-high"),
        _small_batches,
        architectures=("mlp", "cnn"),
    )
    yield _kind("jump of the rate", ("lr-too-high", "spike"), _rate_jump)
