"""What a case of the corpus is, and which cases belong to which part.

A case is drawn from its kind, its part and its index alone: the same three give the same training.
Rules may be tuned on the part `tuning`. The part `held` has other seeds, and also architectures
and optimizers that `tuning` never uses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

Part = Literal["tuning", "held"]
Way = Literal["train", "own", "fresh"]
Setting = tuple[str, str]
"""An architecture and an optimizer."""

ARCHITECTURES = ("mlp", "cnn", "rnn", "normalised", "residual", "transformer")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop", "nesterov", "nadam", "adagrad")
#: What the rules may never be tuned on.
HELD_ARCHITECTURES = frozenset({"residual", "transformer"})
HELD_OPTIMIZERS = frozenset({"nesterov", "nadam", "adagrad"})

#: Seeds of the two parts: `FIRST_SEED[part] + index`, with fewer than a million indices.
FIRST_SEED: dict[Part, int] = {"tuning": 0, "held": 5_000_000}

ADAPTIVE = frozenset({"adam", "adamw", "rmsprop", "nadam", "adagrad"})

#: The codes that a finding may have; `healthy` and `undetermined` are never planted.
CAUSES = frozenset(
    {
        "always-clipped",
        "bad-batch",
        "batch-norm-mode",
        "data-order",
        "dropout-too-high",
        "epsilon-too-large",
        "initial-scale",
        "labels",
        "loss-scale",
        "lr-too-high",
        "lr-too-low",
        "momentum-too-high",
        "no-gradient",
        "noise-dominated",
        "non-finite",
        "not-cleared",
        "not-updated",
        "softmax-before-loss",
        "spike",
        "unscaled-inputs",
        "weight-decay-too-strong",
        "wrong-gradient",
    }
)
SYMPTOMS = frozenset({"dead-units", "exploding", "plateau", "saturated", "vanishing"})
VOCABULARY = CAUSES | SYMPTOMS | {"frozen", "healthy", "undetermined"}


@dataclass(frozen=True)
class Answer:
    """What a right diagnosis says of a case; all empty if the case is healthy."""

    codes: tuple[str, ...] = ()
    """Any of them is right; the first is the usual one."""
    layers: tuple[str, ...] = ()
    """The layers that may be named, with what lies beneath them; empty: any, or none."""
    mend: tuple[tuple[str, ...], ...] = ()
    """Of an own loop: the message names the mend if it holds a word of each of these groups."""


@dataclass(frozen=True)
class Training:
    """One case, ready to run. `plan` is for the way that runs it."""

    answer: Answer
    plan: Any
    twin: Any = None
    """The plan of the same training without the fault; None: it needs no twin."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault, or of sound training (`codes` empty)."""

    name: str
    way: Way
    draw: Callable[[random.Random, Setting], Training]
    codes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ARCHITECTURES
    optimizers: tuple[str, ...] = OPTIMIZERS
    structural: bool = False
    """Whether the fault counts whatever it does to the accuracy: code that cannot be meant."""
    by_override: bool = False
    """Whether an override can mend it."""

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong in it."""
        return bool(self.codes)


@dataclass(frozen=True)
class Case:
    """A kind at one place of the corpus."""

    kind: Kind
    part: Part
    index: int
    setting: Setting = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "setting", draw_setting(self.kind, self.part, self.index))

    @property
    def seed(self) -> int:
        """Of weights, batches and the fault; no two parts share one."""
        return FIRST_SEED[self.part] + self.index

    @property
    def name(self) -> str:
        """With which it can be run alone."""
        return f"{self.kind.way}/{self.kind.name}/{self.part}/{self.index}"

    def training(self) -> Training:
        """Draw the training."""
        return self.kind.draw(_random(self.kind, self.seed, "training"), self.setting)


def draw_setting(kind: Kind, part: Part, index: int) -> Setting:
    """Return the architecture and optimizer of a case."""
    drawn = _random(kind, FIRST_SEED[part] + index, "setting")
    architectures = [one for one in kind.architectures if _allowed(one, part)]
    optimizers = [one for one in kind.optimizers if _allowed(one, part)]
    return drawn.choice(architectures), drawn.choice(optimizers)


def draw_cases(kinds: Sequence[Kind], part: Part, faults: int, healthy: int) -> Iterator[Case]:
    """Yield so many cases of each, one of every kind in turn."""
    for of_fault, wanted in ((True, faults), (False, healthy)):
        chosen = [kind for kind in kinds if kind.is_fault == of_fault]
        if not chosen:
            continue
        made = 0
        for index in count():
            for kind in chosen:
                if made == wanted:
                    break
                yield Case(kind, part, index)
                made += 1
            if made == wanted:
                break


def tunable(kind: Kind) -> bool:
    """Return whether the kind has cases outside the held part."""
    return any(_allowed(one, "tuning") for one in kind.architectures) and any(
        _allowed(one, "tuning") for one in kind.optimizers
    )


def _allowed(name: str, part: Part) -> bool:
    return part == "held" or name not in HELD_ARCHITECTURES | HELD_OPTIMIZERS


def _random(kind: Kind, seed: int, purpose: str) -> random.Random:
    # A string seeds alike in every process, unlike a hash.
    return random.Random(f"{kind.way}/{kind.name}/{seed}/{purpose}")
