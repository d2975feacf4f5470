"""Series of bounded length, and small pictures of them as text.

A `BoundedSeries` keeps the course of a whole run in a fixed amount of memory; `sparklines` draws
its columns at a fixed width. The view that keeps a series knows what its columns mean.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gradcli.records import Doubles

LEVELS = "▁▂▃▄▅▆▇█"
ZERO = "_"
"""The symbol of an exact zero on a logarithmic scale."""
NOT_FINITE = "!"
"""The symbol of a NaN or an infinity on any scale: it must be seen."""

_GLYPHS = LEVELS + ZERO + NOT_FINITE + " "
_ZERO_LEVEL, _NOT_FINITE_LEVEL, _EMPTY_LEVEL = len(LEVELS), len(LEVELS) + 1, len(LEVELS) + 2


class BoundedSeries:
    """The course of some columns over a run of any length, as at most `capacity` points.

    Each point is the mean of equally many consecutive rows. When the capacity is reached,
    neighbours are merged, and each point stands for twice as many rows. A mean over a NaN or an
    infinity is not finite, so merging never hides one.

    Args:
        columns: the number of values per row.
        capacity: the largest number of points to keep; even.
    """

    def __init__(self, columns: int, capacity: int = 128) -> None:
        self.rows_per_point = 1
        self._points: Doubles = np.empty((capacity, columns))
        self._count = 0
        self._sum: Doubles = np.zeros(columns)
        self._pending = 0

    def append(self, rows: Doubles) -> None:
        """Append rows (n, columns), oldest first."""
        while len(rows):
            wanted = self.rows_per_point - self._pending
            part, rows = rows[:wanted], rows[wanted:]
            with np.errstate(invalid="ignore"):  # inf - inf is NaN
                self._sum += part.sum(axis=0)
            self._pending += len(part)
            if self._pending == self.rows_per_point:
                self._close_point()

    def points(self) -> Doubles:
        """Return the points so far (at most capacity, columns), the unfinished one last."""
        kept = self._points[: self._count]
        if not self._pending:
            return kept.copy()
        return np.vstack([kept, self._sum / self._pending])

    def _close_point(self) -> None:
        self._points[self._count] = self._sum / self._pending
        self._sum[:] = 0
        self._pending = 0
        self._count += 1
        # One place stays free for the unfinished point, which counts towards the capacity.
        if self._count == len(self._points):
            with np.errstate(invalid="ignore"):
                merged = (self._points[0::2] + self._points[1::2]) / 2
            self._count = len(merged)
            self._points[: self._count] = merged
            self.rows_per_point *= 2


def sparklines(points: Doubles, width: int, *, log: bool = False, least_span: float) -> list[str]:
    """Draw each column of the points (n, columns) as text of exactly `width` characters.

    Each column has its own scale, from its smallest to its largest finite value. If there are
    fewer points than characters, the rest stays blank; if there are more, they are averaged.

    Args:
        points: one row per point in time, oldest first.
        width: in characters.
        log: draw the logarithm; zeros are shown as `ZERO`.
        least_span: the smallest difference (on a log scale: ratio) that fills the height. It
            keeps the noise on a constant flat.
    """
    columns = points.shape[1]
    if len(points) == 0 or width <= 0:
        return [" " * max(width, 0)] * columns
    binned = _averaged(points, width)
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.log(binned) if log else binned
    levels = _levels(heights, math.log(least_span) if log else least_span)
    levels[~np.isfinite(binned)] = _NOT_FINITE_LEVEL
    if log:
        levels[binned == 0] = _ZERO_LEVEL
    padding = " " * (width - len(levels))
    return ["".join(map(_GLYPHS.__getitem__, column)) + padding for column in levels.T.tolist()]


def _averaged(points: Doubles, width: int) -> Doubles:
    """Average the points (n, columns) over at most `width` bins of nearly equal length."""
    if len(points) <= width:
        return points
    edges = np.linspace(0, len(points), width + 1).astype(np.intp)
    with np.errstate(invalid="ignore"):
        sums: Doubles = np.add.reduceat(points, edges[:-1], axis=0)
    return sums / np.diff(edges)[:, np.newaxis]


def _levels(heights: Doubles, least_span: float) -> NDArray[np.intp]:
    """Map the finite heights of each column to the levels 0..7, all others to 0."""
    finite = np.isfinite(heights)
    low = np.where(finite, heights, np.inf).min(axis=0)
    high = np.where(finite, heights, -np.inf).max(axis=0)
    known = finite.any(axis=0)
    low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
    span = np.maximum(high - low, least_span)
    bottom = (low + high - span) / 2
    fractions = np.where(finite, (np.where(finite, heights, 0.0) - bottom) / span, 0.0)
    levels: NDArray[np.intp] = (fractions * len(LEVELS)).astype(np.intp)
    return np.clip(levels, 0, len(LEVELS) - 1)
