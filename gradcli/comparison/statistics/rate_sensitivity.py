"""How wide the range of good learning rates is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from gradcli.comparison.statistics.arm_scores import DIVERGED
from gradcli.comparison.verdicts import LearningRateSensitivity


def learning_rate_sensitivity(
    learning_rates: ArrayLike, scores: ArrayLike, tolerance: float = 0.01
) -> LearningRateSensitivity:
    """Measure how wide the range of good learning rates is.

    The range is the longest run of neighbours in the grid, the best among them, whose scores are at
    most `tolerance` below the best. A trial that diverged or has no result ends it. It is as coarse
    as the grid: it reaches from one tried value to another.

    Args:
        learning_rates: the grid (n,), positive, in any order.
        scores: one per learning rate (n,), the higher the better.
        tolerance: in the unit of the scores; 0.01 is one point of accuracy.
    """
    rates = np.asarray(learning_rates, dtype=np.float64)
    order = np.argsort(rates)
    rates = rates[order]
    values = np.asarray(scores, dtype=np.float64)[order]
    values = np.where(np.isfinite(values), values, DIVERGED)
    best = int(np.argmax(values))
    if values[best] == DIVERGED:
        return LearningRateSensitivity(math.nan, math.nan, math.nan, False, False)
    bad = np.flatnonzero(values < values[best] - tolerance)
    first = int(np.max(bad[bad < best], initial=-1)) + 1
    last = int(np.min(bad[bad > best], initial=len(rates))) - 1
    end = len(rates) - 1
    return LearningRateSensitivity(
        best=float(rates[best]),
        low=float(rates[first]),
        high=float(rates[last]),
        best_at_edge=best in (0, end),
        open_ended=first == 0 or last == end,
    )
