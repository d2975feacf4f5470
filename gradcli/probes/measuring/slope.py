"""How a positive quantity changes along a chain: decades per link, by a straight line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LogSlope:
    """The line of least squares through (position, log10 value)."""

    decades: float
    """The slope: powers of ten from one position to the next. Along the depth of a network, with
    the input at 0, it is positive for a gradient that vanishes on its way back."""
    r_squared: float
    """The share of the variance of log10 that the line explains."""
    points: int
    """How many values were positive and finite; the others are left out."""


def log_slope(values: Sequence[float]) -> LogSlope:
    """Fit log10(value) = intercept + decades * position, position 0, 1, ... by least squares.

    The slope is NaN unless two values are usable; R^2 is NaN if all values are equal.
    """
    array = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(array) & (array > 0)
    points = int(usable.sum())
    if points < 2:
        return LogSlope(math.nan, math.nan, points)
    position, height = np.flatnonzero(usable).astype(np.float64), np.log10(array[usable])
    position -= position.mean()
    height -= height.mean()
    slope = float(position @ height / (position @ position))
    residual = height - slope * position
    variation = float(height @ height)
    explained = 1.0 - float(residual @ residual) / variation if variation > 0 else math.nan
    return LogSlope(slope, explained, points)
