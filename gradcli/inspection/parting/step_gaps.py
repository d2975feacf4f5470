"""How far apart two runs are at each step that both have logged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcli.records import Doubles, Floats, Integers, LayerInfo, StepRecords, norm_by_layer

# A long run is read in blocks that stay in a processor's cache.
_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class StepGaps:
    """The steps that both runs have logged, n of them, and how far apart the runs are there.

    A distance is |a - b| / max(|a|, |b|): 0 if both are equal, 1 if one of them is 0. It is NaN
    where a number is not finite.
    """

    step: Integers
    """(n,), rising."""
    differs: NDArray[np.bool_]
    """Whether the loss or a gradient norm before clipping differs at all, (n,)."""
    clip_differs: NDArray[np.bool_]
    """Whether a gradient norm after clipping does, (n,)."""
    loss: Doubles
    """The distance of the losses, (n,)."""
    gradients: Doubles
    """||a - b|| / max(||a||, ||b||) of the parameters' gradient norms, (n,); all NaN if the runs do
    not have the same number of parameters."""
    norms_compared: bool
    """Whether the gradient norms were compared, too."""

    @property
    def first(self) -> int | None:
        """The first step that differs; None if all are equal."""
        return int(self.step[np.argmax(self.differs)]) if self.differs.any() else None

    def row_of(self, step: int) -> int | None:
        """Return the row of a step; None if not both have logged it."""
        row = int(np.searchsorted(self.step, step))
        return row if row < len(self.step) and self.step[row] == step else None


def step_gaps(a: StepRecords, b: StepRecords) -> StepGaps:
    """Compare the steps that both runs have logged; NaN equals NaN."""
    common, of_a, of_b = np.intersect1d(a.step, b.step, assume_unique=True, return_indices=True)
    widths = [one.parameter_grad_norm_before_clip.shape[1] for one in (a, b)]
    norms_compared = widths[0] == widths[1]
    differs, clipped = np.zeros((2, len(common)), dtype=bool)
    loss, gradients = np.full((2, len(common)), np.nan)
    for start in range(0, len(common), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        rows = of_a[block], of_b[block]
        losses = a.loss[rows[0]], b.loss[rows[1]]
        same, loss[block] = equal(*losses), relative_distance(*losses)
        if norms_compared:
            before = _pair(a, b, rows, "parameter_grad_norm_before_clip")
            same &= equal(*before).all(axis=1)
            gradients[block] = _distance_of_rows(*before)
            after = _pair(a, b, rows, "parameter_grad_norm_after_clip")
            clipped[block] = ~equal(*after).all(axis=1)
        differs[block] = ~same
    return StepGaps(common, differs, clipped, loss, gradients, norms_compared)


def layer_gaps(
    a: StepRecords, b: StepRecords, steps: Integers, layers: tuple[LayerInfo, ...]
) -> Doubles:
    """Return the distances of the layers' gradient norms before clipping, (n, L).

    Args:
        a: of a run with these layers.
        b: of another one.
        steps: n of them, rising; both have logged them.
        layers: L of them.
    """
    rows = np.searchsorted(a.step, steps), np.searchsorted(b.step, steps)
    distances = np.empty((len(steps), len(layers)))
    for start in range(0, len(steps), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        before = _pair(a, b, (rows[0][block], rows[1][block]), "parameter_grad_norm_before_clip")
        distances[block] = relative_distance(*(norm_by_layer(one, layers) for one in before))
    return distances


def equal(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Return where numbers are equal; NaN equals NaN."""
    same: NDArray[np.bool_] = np.equal(a, b) | (np.isnan(a) & np.isnan(b))
    return same


def relative_distance(a: Floats, b: Floats) -> Doubles:
    """Return |a - b| / max(|a|, |b|); 0 where both are 0, NaN where one is not finite."""
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return _ratio(np.abs(one - other), np.maximum(np.abs(one), np.abs(other)))


def _pair(
    a: StepRecords,
    b: StepRecords,
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
    name: str,
) -> tuple[Floats, Floats]:
    return getattr(a, name)[rows[0]], getattr(b, name)[rows[1]]


def _distance_of_rows(a: Floats, b: Floats) -> Doubles:
    """Return ||a - b|| / max(||a||, ||b||) of the rows (n, P)."""
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.maximum(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
        return _ratio(np.linalg.norm(one - other, axis=1), sizes)


def _ratio(distance: Doubles, size: Doubles) -> Doubles:
    known = np.isfinite(distance) & np.isfinite(size)
    ratio = np.full(distance.shape, np.nan)
    np.divide(distance, size, out=ratio, where=known & (size > 0))
    ratio[known & (size == 0)] = 0.0
    return ratio
