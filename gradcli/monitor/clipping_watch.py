"""The gradient norms of a loop before and after what it does between `step` and its update.

Usually that is clipping. A loop that does nothing there is not measured twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import is_

import numpy as np
from torch import Tensor

from gradcli.gradients.norms import Gradients, Norms, accumulator_dtype, scaled
from gradcli.monitor.loss_scale import LossScale
from gradcli.records import StepRecords

# Version counters tell whether the loop changed gradients between `step` and the update, and save
# a second pass if it did not. But writes through `.data` or NumPy escape them, so the first steps,
# and one in this many later ones, are measured twice whatever the counters say. After the first
# change that they missed, all steps are measured twice.
_DISTRUSTED_STEPS = 100
_DISTRUST_EVERY = 64


@dataclass(slots=True)
class Measured:
    """What `LoopMonitor.step` measured, kept until the update or the next measurement."""

    loss: Tensor | float
    before: Norms
    gradients: list[Tensor | None] | None
    """Kept until the update, which then finds them again at a third of the cost; dropped at
    another forward pass of the model, which may need their memory."""
    versions: list[int]
    scale: Tensor | None
    after: Norms | None = None
    distrusted: bool = False
    """Whether `after` was measured although the version counters show no change."""


class ClippingWatch:
    """Measures gradient norms, and finds out whether the loop has changed the gradients since.

    Args:
        gradients: of the model.
        scale: of the loop's scaler, which the norms leave out.
    """

    def __init__(self, gradients: Gradients, scale: LossScale) -> None:
        self._gradients, self._scale = gradients, scale
        self._distrust = False
        self._rows: list[int] = []

    def norms(self, gradients: list[Tensor | None]) -> Norms:
        """Return the gradient norms of the parameters, without the scaler's scale."""
        norms = self._gradients.norms(gradients)
        scale = self._scale.of_gradients()
        if scale is None:
            return norms
        return scaled(norms, scale.to(accumulator_dtype(scale.device)).reciprocal())

    def norms_after(self, measured: Measured, updates: int) -> Norms:
        """Return the norms that the update sees: those before clipping if nothing has changed.

        Args:
            measured: the measurement before clipping.
            updates: the number of updates made before this one.
        """
        gradients = self._gradients.current()
        told = (
            measured.gradients is None
            or not all(map(is_, gradients, measured.gradients))
            or versions_of(gradients) != measured.versions
        )
        wary = updates < _DISTRUSTED_STEPS or updates % _DISTRUST_EVERY == 0
        if not (told or wary or self._distrust):
            return measured.before
        measured.distrusted = not told
        return self.norms(gradients)

    def check_trust(self, records: StepRecords) -> None:
        """Find out whether gradients changed without a change of the version counters."""
        before = records.parameter_grad_norm_before_clip[self._rows]
        after = records.parameter_grad_norm_after_clip[self._rows]
        self._distrust |= not np.array_equal(before, after, equal_nan=True)
        self._rows = []

    def note_row(self, row: int) -> None:
        """Note that a row of the next block of records was measured to check the counters."""
        self._rows.append(row)


def versions_of(gradients: list[Tensor | None]) -> list[int]:
    """Return the version counters, which grow when a gradient is written to."""
    return [one._version for one in gradients if one is not None]
