"""Models before any training, as `inspect-gradients KEY=VALUE` looks at them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from diagnosis_corpus.cases import ARCHITECTURES, Answer, Kind, Setting, Training
from diagnosis_corpus.train_faults import hidden, sound_config

Change = Callable[[random.Random], list[str]]


def _kind(
    name: str, codes: tuple[str, ...], change: Change, checked: bool = False, **of_kind: Any
) -> Kind:
    def draw(drawn: random.Random, setting: Setting) -> Training:
        overrides = change(drawn)
        if not any(one.startswith("model=") for one in overrides):
            overrides = [*sound_config(drawn, setting), *overrides]
        return Training(Answer(codes), (overrides, {"check": checked}))

    given = {"architectures": ("mlp", "cnn"), "structural": True, **of_kind}
    return Kind(name=name, way="fresh", draw=draw, codes=codes, **given)


def _number(drawn: random.Random, low: float, high: float) -> str:
    return f"{10 ** drawn.uniform(low, high):.3g}"


def _deep(drawn: random.Random, low: int, high: int) -> str:
    return hidden(32, drawn.randint(low, high))


def kinds() -> Iterator[Kind]:
    """Yield faults, then what is sound."""
    scale, deep = "initial-scale", {"architectures": ("mlp",)}
    yield _kind(
        "deep sigmoid", ("vanishing",), lambda r: [_deep(r, 8, 20), "activation=sigmoid"], **deep
    )
    yield _kind(
        "deep gain",
        (scale, "exploding"),
        lambda r: [_deep(r, 8, 20), "init=kaiming", f"init.gain={r.uniform(4, 10):.3g}"],
        **deep,
    )
    yield _kind(
        "huge weights",
        (scale, "exploding"),
        lambda r: ["init=normal", f"init.std={_number(r, 0.3, 1.3)}", "activation=relu"],
    )
    yield _kind(
        "tiny weights",
        (scale, "vanishing"),
        lambda r: ["init=normal", f"init.std={_number(r, -8, -4)}"],
    )
    yield _kind(
        "tiny gain",
        (scale, "vanishing"),
        lambda r: ["init=orthogonal", f"init.gain={_number(r, -12, -6)}"],
    )
    yield _kind(
        "negative biases",
        ("dead-units", scale),
        lambda r: ["activation=relu", f"init.bias=-{_number(r, 1, 2)}"],
    )
    yield _kind(
        "saturated",
        ("saturated", scale),
        lambda r: ["activation=tanh", "init=normal", f"init.std={_number(r, 0.3, 1.3)}"],
    )
    yield _kind("inputs of 0 to 255", ("unscaled-inputs",), lambda r: ["data.normalize=none"])
    yield _kind(
        "wrong derivative",
        ("wrong-gradient",),
        lambda r: [
            "data=mnist5k",
            "model=wrong_backward",
            f"model.factor={r.choice((-1, 0.5, 0.9, 1.1, 2))}",
        ],
        checked=True,
        **deep,
    )
    yield _kind("sound, checked", (), lambda r: [], checked=True, **deep)
    yield _kind("sound", (), lambda r: [], architectures=ARCHITECTURES)
    yield _kind("sound, kaiming", (), lambda r: ["activation=relu", "init=kaiming"])
    yield _kind("sound, xavier", (), lambda r: ["activation=tanh", "init=xavier"])
    yield _kind(
        "sound, deep",
        (),
        lambda r: [_deep(r, 6, 16), "activation=relu", "init=kaiming"],
        **deep,
    )
