"""When trials reach a target, and the middle of such times."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from gradcli.comparison.statistics.arm_scores import LEVEL
from gradcli.comparison.verdicts import ConfidenceInterval
from gradcli.records import Direction


def time_to_target(
    times: ArrayLike, scores: ArrayLike, target: float, direction: Direction = "maximize"
) -> float:
    """Return the first of `times` (n,) at which the score is as good as `target`, or better.

    NaN without a target. Infinite if it never is, as in AlgoPerf (Dahl et al. 2023, arXiv
    2306.07179).

    Args:
        times: when a trial was evaluated, rising: steps or seconds.
        scores: what it scored then (n,).
        target: the score to reach; NaN for none.
        direction: whether higher or lower scores are better.
    """
    if math.isnan(target):
        return math.nan
    values = np.asarray(scores, dtype=np.float64)
    reached = np.flatnonzero(values >= target if direction == "maximize" else values <= target)
    return float(np.asarray(times)[reached[0]]) if len(reached) else math.inf


def median_time(times: ArrayLike) -> float:
    """Return the median of times to a target (n,), infinite ones included.

    A median needs no number for a trial that never reaches the target; a mean would leave it out
    and so reward it. It is infinite if more than half of the trials do not reach the target; if
    just half do, it is the time by which they have. NaN (no result) is left out; NaN if nothing
    else is there.
    """
    values = np.asarray(times, dtype=np.float64)
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return math.nan
    median = float(np.median(known))
    return float(known[(len(known) - 1) // 2]) if math.isinf(median) else median


def median_interval(times: ArrayLike) -> tuple[ConfidenceInterval, float]:
    """Return an interval of the median of times to a target (n,), and its coverage.

    The k-th soonest and the k-th latest of the times hold the median between them unless fewer than
    k of the n are on one side of it, which has the probability 2 P(B < k), B binomial with n and
    1/2, whatever the distribution of the times. The k is the largest with which that is at most
    5%, and 1 if there is none: the whole range of five seeds holds the median with 93.75%.

    Infinite times, which are the latest, make an end infinite; NaN (no result) is left out.
    Without any time the interval is unbounded, and its coverage 1.

    Reference: Conover 1999, "Practical Nonparametric Statistics", section 3.2.
    """
    values = np.asarray(times, dtype=np.float64)
    known = np.sort(values[~np.isnan(values)])
    count = len(known)
    if not count:
        return (0.0, math.inf), 1.0
    misses = [
        2 * sum(math.comb(count, below) for below in range(k)) / 2**count
        for k in range(1, (count + 1) // 2 + 1)
    ]
    k = max(sum(miss <= LEVEL for miss in misses), 1)
    return (float(known[k - 1]), float(known[count - k])), max(0.0, 1 - misses[k - 1])
