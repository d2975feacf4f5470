"""One arm: the mean, deviation and interval of its scores, and its rank among the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

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


def summarise_scores(scores: ArrayLike, bounds: ConfidenceInterval = EVERYTHING) -> Summary:
    """Return mean, deviation and 95% t interval of the finite ones among `scores` (n,).

    The interval is cut at the `bounds` that no score can pass, unless a score passes them. Scores
    that agree exactly have none: their deviation of 0 is luck, or the coarseness of the score.
    """
    values = np.asarray(scores, dtype=np.float64)
    found = values[np.isfinite(values)]
    summary = summarise_finite(found)
    if found.size < 2:
        return summary
    if np.ptp(found) == 0:
        return replace(summary, std=0.0, ci95=EVERYTHING)
    if found.min() < bounds[0] or found.max() > bounds[1]:
        return summary
    low, high = summary.ci95
    return replace(summary, ci95=(max(low, bounds[0]), min(high, bounds[1])))


def rank_arms(
    scores: Mapping[str, NDArray[np.float64]],
    direction: Direction = "maximize",
    bounds: ConfidenceInterval = EVERYTHING,
) -> tuple[ArmResult, ...]:
    """Order the arms by their mean score, best first; equal arms keep their order and rank.

    Arms without any score come last, and have no rank. Their intervals are cut at `bounds`.
    """
    summaries = {name: summarise_scores(values, bounds) for name, values in scores.items()}
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
