"""One step of a run as plain values: what its screen, its picture and its JSON are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gradcli.inspection.one_step.neighbours import Neighbours
from gradcli.inspection.one_step.suspicion import NOT_SURE, Suspicion
from gradcli.records import Doubles, Floats

#: How many examples are shown, and judged.
MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class StepExample:
    """One example of the batch."""

    place: int
    """In the batch, from 0."""
    index: int | None
    """In the training split, from 0; None of a stream, whose examples have no numbers."""
    loss: float
    grad_norm: float
    """Of its own loss, before clipping."""
    share: float
    """How much of the batch's gradient it makes up; NaN if that is not finite."""
    row: int | None = None
    """The row of its file, from 0; None if that is not known."""
    file: str = ""
    """Its own file; empty if it has none."""
    label: str = ""
    """The target in words; empty if it is too long, as of a text."""
    prediction: str = ""
    """What the model makes of it: a class or a number; empty if it is too long."""
    probability: float = math.nan
    """What the model gives its prediction; NaN if it predicts no class."""
    content: str = ""
    """The text, or the values that stand out in a row; empty for an image."""
    suspicion: Suspicion = NOT_SURE
    picture: Floats | None = field(default=None, compare=False, repr=False)
    """(height, width, channels), 0 to 1; None if it is no image, or not among the first."""

    @property
    def is_finite(self) -> bool:
        """Whether its loss and its gradient are finite."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


@dataclass(frozen=True, slots=True)
class ReplayCheck:
    """How the weights before the step were made again, and whether the log says the same."""

    started_from: int
    """The step of the checkpoint; 0 for the start of the run."""
    steps: int
    """How many steps were made again, the inspected one included."""
    compared: int
    """How many of them the run's log has."""
    first_difference: int | None
    """The first step whose loss, gradient norm or learning rate is not the logged one, to the bit;
    None if all are."""
    largest_difference: float = 0.0
    """Of the losses and the norms, relative to the logged ones."""
    differs_in: str = ""
    """What differs first: `loss`, `gradient norm` or `learning rate`."""
    possible_cause: str = ""
    """What is not as it was, as a sentence; empty if nothing is known."""

    @property
    def is_exact(self) -> bool:
        """Whether there was something to compare, and all of it is the same."""
        return self.compared > 0 and self.first_difference is None


@dataclass(frozen=True, slots=True)
class Leading:
    """The first examples, as few as make up half of the gradient, at most ten.

    If the gradient is not finite, all examples whose own is not.
    """

    count: int
    share: float
    """What they make up together; NaN if the gradient is not finite."""
    norm_without: float
    """The norm of the batch's gradient without their losses; NaN if that was not computed."""

    @property
    def is_concentrated(self) -> bool:
        """Whether they make up half of the gradient."""
        return self.share >= HALF


#: What the leading examples are to make up.
HALF = 0.5


@dataclass(frozen=True, slots=True)
class StepInspection:
    """What was found of one step."""

    target: str
    """The run's directory, quoted for a shell."""
    run: str
    model: str
    data: str
    step: int
    epoch: int
    batch_in_epoch: int
    """From 1."""
    examples: tuple[StepExample, ...]
    """All of the batch: those that are not finite first, then by gradient norm."""
    loss: float
    """The batch's, computed again."""
    grad_norm: float
    """||g||, likewise, before clipping."""
    median_norm: float
    """The median of the examples' gradient norms."""
    leading: Leading
    neighbours: Neighbours
    replay: ReplayCheck
    measured: str = ""
    """What else a reader must know of how single examples were measured; empty if nothing."""
    notes: tuple[str, ...] = ()
    kind_of_data: str = "examples"
    """`images`, `texts`, `rows` or `examples`."""
    path_arguments: tuple[str, ...] = ()
    """The options that say where things are, for commands that continue from here."""

    @property
    def shown(self) -> tuple[StepExample, ...]:
        """The examples that screens and pictures show."""
        return self.examples[:MOST_SHOWN]


def ranking(losses: Doubles, grad_norms: Doubles) -> list[int]:
    """Return the places of the examples: not finite ones first, then by falling gradient norm."""
    finite = np.isfinite(losses) & np.isfinite(grad_norms)
    norms = np.where(finite, grad_norms, math.inf)
    order: list[int] = np.argsort(-norms, kind="stable").tolist()
    return order


def leading_count(shares: Sequence[float]) -> int:
    """Return how many of the first of at most ten make up half of the gradient; ten if none do."""
    total = np.cumsum(shares[:MOST_SHOWN])
    enough = np.flatnonzero(total >= HALF)
    return int(enough[0]) + 1 if len(enough) else len(total)
