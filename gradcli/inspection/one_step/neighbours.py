"""How a step compares with those before it in its run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradcli.diagnosis.limits import BATCH_LOSS_BEFORE, SPIKE
from gradcli.diagnosis.loss_trend import find_spikes
from gradcli.records import LayerInfo, StepRecords

#: The steps before it that a step is compared with, and how many it takes at least.
STEPS_BEFORE, FEWEST_BEFORE = 50, 10

#: `spike`: the norm is more than ten times the median of the steps before it, or not finite.
#: `high`: the norm or the loss is more than three times that median.
Standing = Literal["spike", "high", "usual", "unknown"]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A step's loss and gradient norm, and the medians of up to 50 steps before it."""

    loss: float
    """As the run recorded it; NaN if it did not. So is the norm."""
    grad_norm: float
    """Before clipping."""
    steps: int
    """How many steps before it there are on record, at most 50."""
    median_loss: float
    median_norm: float
    largest_spike: int | None
    """The step of the run's largest spike; None if it has none."""
    is_recorded: bool = True
    """Whether the run's log has the step."""

    @property
    def loss_factor(self) -> float:
        """The loss as a multiple of the median; NaN if that is not positive."""
        return _factor(self.loss, self.median_loss)

    @property
    def norm_factor(self) -> float:
        """The gradient norm as a multiple of the median."""
        return _factor(self.grad_norm, self.median_norm)

    @property
    def standing(self) -> Standing:
        """Whether the step stands out among those before it."""
        if self.is_recorded and not math.isfinite(self.grad_norm + self.loss):
            return "spike"
        if self.steps < FEWEST_BEFORE or math.isnan(self.norm_factor):
            return "unknown"
        if self.norm_factor > SPIKE.value:
            return "spike"
        factors = (self.norm_factor, self.loss_factor)
        return "high" if any(one > BATCH_LOSS_BEFORE.value for one in factors) else "usual"


def neighbours(steps: StepRecords, layers: tuple[LayerInfo, ...], number: int) -> Neighbours:
    """Compare step `number` with the finite ones of up to 50 recorded steps before it."""
    at = int(np.searchsorted(steps.step, number))
    is_recorded = at < len(steps) and int(steps.step[at]) == number
    rows = slice(max(0, at - STEPS_BEFORE), at)
    losses = np.asarray(steps.loss[rows], dtype=np.float64)
    norms = np.asarray(steps.grad_norm_before_clip[rows], dtype=np.float64)
    finite = np.isfinite(losses) & np.isfinite(norms)
    losses, norms = losses[finite], norms[finite]
    spikes = find_spikes(steps, layers) if len(steps) and layers else ()
    largest = max(spikes, key=lambda one: one.factor, default=None)
    return Neighbours(
        loss=float(steps.loss[at]) if is_recorded else math.nan,
        grad_norm=float(steps.grad_norm_before_clip[at]) if is_recorded else math.nan,
        steps=len(losses),
        median_loss=float(np.median(losses)) if len(losses) else math.nan,
        median_norm=float(np.median(norms)) if len(norms) else math.nan,
        largest_spike=None if largest is None else largest.step,
        is_recorded=is_recorded,
    )


def _factor(value: float, usual: float) -> float:
    return value / usual if usual > 0 else math.nan
