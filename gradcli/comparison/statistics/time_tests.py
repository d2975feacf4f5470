"""Arms by how soon they reach a target: places, and verdicts by a test for censored times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradcli.comparison.groups import places_of
from gradcli.comparison.statistics.arm_scores import LEVEL
from gradcli.comparison.statistics.pair_tests import holm
from gradcli.comparison.statistics.target_times import median_interval, median_time
from gradcli.comparison.verdicts import ArmTimes, TimeComparison, TimePair, Verdict

_Times = NDArray[np.float64]


def compare_times(times: Mapping[str, ArrayLike], budgets: Mapping[str, float]) -> TimeComparison:
    """Rank the arms by the time to a target, and give a verdict on every pair.

    A trial that ends without reaching the target is censored: its time is longer than its budget,
    and nobody knows by how much. All trials of a pair are censored at the same step: an arm with
    a larger budget is looked at up to the smaller one only. So any censored time is longer than
    any other, and the ranks are all that a test can use; Gehan's generalisation of Wilcoxon's test
    (1965) is then the rank-sum test with the censored times tied as the latest. Its p-value is
    exact, over all ways in which the ranks could have fallen to the two arms (`rank_sum_p`).

    The arms share their seeds, and the test does not use that. A test that exchanges the arms
    within pairs cannot be below 2 / 2ⁿ, so 5 seeds would never give a verdict at 5%; this one can
    be as low as 2 / C(2n, n), 0.008 for 5 seeds. What seeds have in common makes the arms' times
    more alike than the test assumes, so it is right at least as often as it says.

    The p-values of all pairs are adjusted by `holm`. A pair's verdict is for the sooner arm if
    the adjusted one is below `LEVEL`, else a tie.

    Args:
        times: each arm's times (n,); infinite if the target was not reached, NaN without a result.
        budgets: the time after which each arm's trials end.
    """
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in times.items()}
    known = {name: values[~np.isnan(values)] for name, values in checked.items()}
    order = sorted(known, key=lambda name: _soonness(name, known))
    names = list(itertools.combinations(order, 2))
    sooner, p_values = [], []
    for a, b in names:
        budget = min(budgets[a], budgets[b])
        p, ahead = _test(*(np.where(one > budget, np.inf, one) for one in (known[a], known[b])))
        p_values.append(p)
        sooner.append(ahead)
    pairs = tuple(
        TimePair(a, b, float(p), ahead if p < LEVEL else "tie")
        for (a, b), p, ahead in zip(names, holm(p_values), sooner, strict=True)
    )
    timed = [name for name in order if len(known[name])]
    places = places_of(timed, pairs)
    return TimeComparison(
        arms=tuple(_summarised(name, known[name], places.get(name)) for name in order),
        pairs=pairs,
        seeds_needed=_seeds_needed([len(known[name]) for name in timed]),
    )


#: Up to so many times of two arms together, all ways in which their ranks can fall are counted.
_COUNTED = 200


def rank_sum_p(a: ArrayLike, b: ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's rank-sum test of times a (n,) and b (m,), exactly.

    It is the share of the C(n + m, n) ways to choose the n ranks of `a` among all with which their
    sum is as far from its mean as observed, or farther. Ties, infinite times among them, have the
    mean of their ranks. The sums are counted one rank after the other, as in Streitberg and
    Roehmel 1986, "Exact distributions for permutations and rank tests".

    That takes the fourth power of n, in memory the third. With more than 200 times in all, the sum
    counts as normal, with its variance for these ties and corrected for continuity (Lehmann 1975,
    "Nonparametrics", section 1.4).
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    count, total = len(first), len(first) + len(second)
    # Twice the mean ranks, which are whole numbers.
    _, places, sizes = np.unique(
        np.concatenate([first, second]), return_inverse=True, return_counts=True
    )
    ends = np.cumsum(sizes)
    ranks = (2 * ends - sizes + 1)[places]
    if total > _COUNTED:
        return _normal_p(ranks, count)
    largest = int(ranks.sum())
    ways = np.zeros((count + 1, largest + 1))
    ways[0, 0] = 1
    for rank in map(int, ranks):
        ways[1:, rank:] += ways[:-1, : largest + 1 - rank].copy()
    mean = count * (total + 1)
    away = np.abs(np.arange(largest + 1) - mean)
    observed = abs(int(ranks[:count].sum()) - mean)
    return float(ways[count, away >= observed].sum() / special.comb(total, count))


def _normal_p(ranks: NDArray[np.integer], count: int) -> float:
    """Return the p-value of twice the ranks, of which the first `count` are of one arm."""
    total, mean = len(ranks), len(ranks) + 1.0
    among_all = float(np.mean((ranks - mean) ** 2))
    if not among_all:
        return 1.0
    deviation = math.sqrt(count * (total - count) / (total - 1) * among_all)
    distance = max(abs(float(ranks[:count].sum()) - count * mean) - 1, 0.0)
    return min(1.0, 2 * float(special.ndtr(-distance / deviation)))


def _test(a: _Times, b: _Times) -> tuple[float, Verdict]:
    """Return the p-value of a pair, and which arm is sooner; 1 and a tie with too few times."""
    if not len(a) or not len(b):
        return 1.0, "tie"
    wins = int((a[:, None] < b[None, :]).sum()) - int((a[:, None] > b[None, :]).sum())
    return rank_sum_p(a, b), "a" if wins > 0 else "b" if wins < 0 else "tie"


def _soonness(name: str, times: Mapping[str, _Times]) -> tuple[float, float]:
    """Return what arms are sorted by: the median, and the share of other trials that are sooner."""
    own = times[name]
    others = np.concatenate([one for other, one in times.items() if other != name] or [own])
    if not len(own):
        return math.inf, math.inf
    sooner = np.mean(others[None, :] < own[:, None]) if len(others) else 0.0
    return median_time(own), float(sooner)


def _summarised(name: str, times: _Times, places: tuple[int, int] | None) -> ArmTimes:
    interval, coverage = median_interval(times)
    return ArmTimes(
        name=name,
        places=places,
        seeds=len(times),
        reached=int(np.isfinite(times).sum()),
        median=median_time(times),
        interval=interval,
        coverage=coverage,
    )


def _seeds_needed(seeds: Sequence[int]) -> int | None:
    """Return with how many seeds a verdict on the clearest pair is possible; None if it is now."""
    pairs = math.comb(len(seeds), 2)
    needed = next(n for n in itertools.count(2) if 2 / math.comb(2 * n, n) * max(pairs, 1) < LEVEL)
    return needed if pairs and max(seeds) < needed else None
