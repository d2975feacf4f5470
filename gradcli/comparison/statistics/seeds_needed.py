"""The power of the test of a pair: which difference so many seeds find, and how many it takes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

from scipy import special

from gradcli.comparison.statistics.arm_scores import LEVEL, critical_t

#: The chance of a verdict that `seeds_to_separate` and `separable_effect` ask for.
POWER = 0.8
#: No more seeds than this are ever proposed.
MOST_SEEDS = 1000


def power(effect: float, seeds: int, level: float = LEVEL) -> float:
    """Return the chance that the paired t-test detects a true difference, in its direction.

    With n seeds, t has the non-central t distribution with n - 1 degrees of freedom and the
    non-centrality effect · √n (Cohen 1988, "Statistical power analysis for the behavioral
    sciences", chapter 2).

    Args:
        effect: the true difference over the deviation of the differences between seeds, >= 0.
        seeds: n, at least 2.
        level: the two-sided level of the test; `LEVEL` / m for the strictest of m pairs.
    """
    critical = critical_t(seeds, level)
    return 1 - float(special.nctdtr(seeds - 1, effect * math.sqrt(seeds), critical))


def seeds_to_separate(effect: float, level: float = LEVEL) -> int | None:
    """Return the least number of seeds with which `power` reaches `POWER`.

    None if `MOST_SEEDS` are too few, as for an effect of 0. The arguments are those of `power`. If
    the effect was estimated, the answer is as rough as the estimate.
    """
    return least_seeds(lambda seeds: power(effect, seeds, level))


def least_seeds(power_with: Callable[[int], float]) -> int | None:
    """Return the least number of seeds with enough power; None if `MOST_SEEDS` have too little."""
    counts = range(2, MOST_SEEDS + 1)
    index = bisect_left(counts, POWER, key=power_with)
    return counts[index] if index < len(counts) else None


def separable_effect(seeds: int, level: float = LEVEL) -> float:
    """Return the least effect that is detected with the chance `POWER`; infinite for 1 seed."""
    if seeds < 2:
        return math.inf
    critical = critical_t(seeds, level)
    return float(special.nctdtrinc(seeds - 1, 1 - POWER, critical)) / math.sqrt(seeds)
