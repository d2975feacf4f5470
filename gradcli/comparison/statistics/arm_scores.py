"""One arm: the mean, deviation and interval of its scores, and its rank among the others."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradcli.comparison.verdicts import ArmResult, ConfidenceInterval, Summary
from gradcli.records import Direction

#: The score of a trial that diverged, which no other trial has.
DIVERGED = -math.inf
#: The chance of any false verdict in a comparison of equal arms; intervals hold with 1 - LEVEL.
LEVEL = 0.05

#: The interval that misses nothing, of a mean that nothing is known about.
EVERYTHING: ConfidenceInterval = (-math.inf, math.inf)


def summarise_scores(scores: ArrayLike) -> Summary:
    """Return mean, deviation and 95% t interval of the finite ones among `scores` (n,).

    The interval has no bounds: that of an accuracy may reach above 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    return summarise_finite(values[np.isfinite(values)])


def rank_arms(
    scores: Mapping[str, NDArray[np.float64]], direction: Direction = "maximize"
) -> tuple[ArmResult, ...]:
    """Order the arms by their mean score, best first; equal arms keep their order and rank.

    Arms without any score come last, and have no rank.
    """
    summaries = {name: summarise_scores(values) for name, values in scores.items()}
    shortfall = {
        name: -merit(summary.mean, direction) if summary.count else math.inf
        for name, summary in summaries.items()
    }
    return tuple(
        ArmResult(
            rank=(
                1 + sum(other < shortfall[name] for other in shortfall.values())
                if summaries[name].count
                else None
            ),
            name=name,
            score=summaries[name],
            diverged=int(np.sum(scores[name] == DIVERGED)),
            missing=int(np.sum(np.isnan(scores[name]))),
        )
        for name in sorted(scores, key=shortfall.__getitem__)
    )


def summarise_finite(values: NDArray[np.float64], least_std: float = 0.0) -> Summary:
    """Summarise finite values, with a deviation of at least `least_std`."""
    count = len(values)
    mean = float(np.mean(values)) if count else math.nan
    std = max(float(np.std(values, ddof=1)), least_std) if count >= 2 else math.nan
    return Summary(count, mean, std, _t_interval(mean, std, count, LEVEL))


def _t_interval(mean: float, std: float, count: int, level: float) -> ConfidenceInterval:
    """Return the interval that misses the true mean with probability `level`."""
    if count < 2:
        return EVERYTHING
    half_width = critical_t(count, level) * std / math.sqrt(count)
    return mean - half_width, mean + half_width


def critical_t(count: int, level: float) -> float:
    """Return the value that |t| of `count` values with mean 0 exceeds with probability `level`."""
    return float(special.stdtrit(count - 1, 1 - level / 2))


def merit(score: float, direction: Direction) -> float:
    """Return the score, or its negative if lower ones are better: the higher, the better."""
    return score if direction == "maximize" else -score
