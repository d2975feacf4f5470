"""What scores over seeds say about the arms of a comparison, as pure functions on arrays.

An *arm* is one way to train (an optimizer with its settings), run once per seed; all arms use the
same seeds, so two arms are compared seed by seed. A *score* is a number such as an accuracy, better
if higher, or an error, better if lower. A trial that diverged has the score `DIVERGED`; one without
a result (it failed, or was not run) has NaN. Neither is averaged in: both are counted.

Estimates, intervals, tests and their power belong here, sentences about them in `warnings`. Files,
tables and torch do not. Distributions come from `scipy.special`: the functions behind
`scipy.stats`, at a fraction of its import time and cost per call.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradcli.comparison.crossed import DifferenceVariance, variance_from_examples
from gradcli.comparison.verdicts import (
    ArmResult,
    ConfidenceInterval,
    LearningRateSensitivity,
    PairEvidence,
    PairResult,
    Summary,
    Verdict,
)
from gradcli.records import Direction, ExampleScores

#: The score of a trial that diverged, which no other trial has.
DIVERGED = -math.inf
#: The chance of any false verdict in a comparison of equal arms; intervals hold with 1 - LEVEL.
LEVEL = 0.05
#: The chance of a verdict that `seeds_to_separate` and `separable_effect` ask for.
POWER = 0.8
#: No more seeds than this are ever proposed.
MOST_SEEDS = 1000

_EVERYTHING: ConfidenceInterval = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class ScoreComparison:
    """Arms, best first, and every pair of them in that order."""

    arms: tuple[ArmResult, ...]
    pairs: tuple[PairResult, ...]


#: For each seed of an arm: its score at each test example (N,), such as whether it was right; None
#: if not recorded.
ScoresByExample = Sequence[ExampleScores | None]


def compare_arms(
    scores: Mapping[str, ArrayLike],
    *,
    direction: Direction = "maximize",
    resolution: float = 0.0,
    by_example: Mapping[str, ScoresByExample] | None = None,
) -> ScoreComparison:
    """Rank the arms and give a verdict on every pair.

    A pair's null hypothesis is that its arms are equal, and one of two things is tested:

    * *scores*, if two or more seeds have both: the mean difference at those seeds, two-sided,
      against its variance over seeds and over test examples (`crossed`). If the scores of
      single examples are not recorded, against that over seeds alone: Student's paired t-test. Its
      verdict may then be the luck of these examples.
    * *divergence*, if every trial of one arm diverged and none of the other. If both arms
      diverge at a seed with the same chance q and independently, n seeds show that with
      probability 2 qⁿ (1 - q)ⁿ, which is at most 2 / 4ⁿ: the p-value (Barnard's exact
      unconditional test). Three seeds make a verdict on one pair, five on 25 pairs.

    The p-values of all pairs, 1 for those with nothing to test, are adjusted by `holm`; the
    verdict is for the better arm if the adjusted one is below `LEVEL`, else a tie. If no trial
    diverges, the chance of any false verdict is then at most `LEVEL`, whichever arms are equal.
    If some do, that of a pair may exceed its share by at most 2 / 4ⁿ, because its trials decide
    which test is made; the scores are then those of the surviving seeds.

    Args:
        scores: each arm's scores (n,), the same seeds in the same order for all.
        direction: whether higher or lower scores are better.
        resolution: the distance of neighbouring scores, 1 / examples for an accuracy. Rounding
            alone gives a difference of two scores the variance resolution² / 6 (Sheppard
            1898), and less is never assumed: a few seeds that happen to agree prove nothing.
        by_example: for each arm and seed, the scores of the examples of the same test set.

    Raises:
        ValueError: the arms have different numbers of scores.
    """
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    arms = rank_arms(checked, direction)
    known = by_example or {}
    tests = [
        _test_pair(
            (a.name, checked[a.name], known.get(a.name)),
            (b.name, checked[b.name], known.get(b.name)),
            direction,
            resolution,
        )
        for a, b in itertools.combinations(arms, 2)
    ]
    return ScoreComparison(arms, _verdicts(tests))


def summarise_scores(scores: ArrayLike) -> Summary:
    """Return mean, deviation and 95% t interval of the finite ones among `scores` (n,).

    The interval has no bounds: that of an accuracy may reach above 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    return _summarise_finite(values[np.isfinite(values)])


def rank_arms(
    scores: Mapping[str, NDArray[np.float64]], direction: Direction = "maximize"
) -> tuple[ArmResult, ...]:
    """Order the arms by their mean score, best first; equal arms keep their order and rank.

    Arms without any score come last, and have no rank.
    """
    summaries = {name: summarise_scores(values) for name, values in scores.items()}
    shortfall = {
        name: -_merit(summary.mean, direction) if summary.count else math.inf
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


# Pairs -------------------------------------------------------------------------------------


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values (m,) for being m, by Holm's step-down procedure.

    The k-th smallest (k from 0) is multiplied by m - k; then none may be below a smaller one's,
    nor above 1. Rejecting if the result is below a level keeps the chance of any false rejection
    at that level, however the tests depend on one another.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6(2).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


#: An arm's name, its scores (n,) and those of the examples.
_Arm = tuple[str, NDArray[np.float64], ScoresByExample | None]


@dataclass(frozen=True, slots=True)
class _PairTest:
    """A pair before the correction for the others."""

    a: str
    b: str
    differences: Summary
    variance: DifferenceVariance | None
    """Of the mean difference; None with fewer than two differences."""
    examples: int
    """The test examples that the variance is over; 0 if it is over seeds alone."""
    ahead: Verdict
    p: float
    evidence: PairEvidence
    outcomes: int
    """The seeds at which both trials ended, with a score or by divergence."""


def _test_pair(
    first: _Arm,
    second: _Arm,
    direction: Direction,
    resolution: float,
) -> _PairTest:
    """Test whether two arms are equal; see `compare_arms`."""
    (a, a_scores, a_examples), (b, b_scores, b_examples) = first, second
    ended = ~(np.isnan(a_scores) | np.isnan(b_scores))
    a_ended, b_ended = a_scores[ended], b_scores[ended]
    a_diverged, b_diverged = a_ended == DIVERGED, b_ended == DIVERGED
    scored = ~(a_diverged | b_diverged)
    differences = _summarise_finite(
        a_ended[scored] - b_ended[scored], least_std=resolution / math.sqrt(6)
    )
    evidence: PairEvidence = "none"
    ahead: Verdict = "tie"
    p = 1.0
    variance, examples = None, 0
    if differences.count >= 2:
        evidence = "scores"
        ahead = _ahead(_merit(differences.mean, direction))
        at = np.flatnonzero(ended)[scored]
        table = _difference_table(a_examples, b_examples, at)
        examples = 0 if table is None else table.shape[1]
        variance = DifferenceVariance(
            seeds=differences.count,
            from_seeds=differences.std**2 / differences.count,
            from_examples=0.0 if table is None else variance_from_examples(table),
        )
        p = variance.p_value(differences.mean)
    elif len(a_ended) and abs(np.mean(a_diverged) - np.mean(b_diverged)) == 1:
        evidence = "divergence"
        ahead = "b" if a_diverged.all() else "a"
        p = 2 * 0.25 ** len(a_ended)
    return _PairTest(a, b, differences, variance, examples, ahead, p, evidence, len(a_ended))


def _difference_table(
    a: ScoresByExample | None, b: ScoresByExample | None, seeds: NDArray[np.integer]
) -> NDArray[np.float32] | None:
    """Return a - b at some of the seeds and all examples; None unless all are known."""
    if a is None or b is None:
        return None
    ours, theirs = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
    known = [one for one in (*ours, *theirs) if one is not None]
    if len(known) < 2 * len(seeds) or len({len(one) for one in known}) > 1 or len(known[0]) < 2:
        return None
    table = np.array(known, dtype=np.float32)
    return table[: len(seeds)] - table[len(seeds) :]


def _verdicts(tests: Sequence[_PairTest]) -> tuple[PairResult, ...]:
    """Correct the tests for one another, and turn each into a verdict."""
    p_values = np.array([test.p for test in tests])
    adjusted = holm(p_values)
    # Holm compares the k-th smallest p-value with LEVEL / (m - k), and stops at the first that
    # fails; all from there on are ties, held to the level of that one.
    smaller = np.searchsorted(np.sort(p_values), p_values)
    divisors = len(tests) - np.minimum(smaller, np.sum(adjusted < LEVEL))
    return tuple(
        _verdict(test, float(p_adjusted), LEVEL / divisor)
        for test, p_adjusted, divisor in zip(tests, adjusted, divisors, strict=True)
    )


def _verdict(test: _PairTest, p_adjusted: float, level: float) -> PairResult:
    """Turn a test into a verdict; its own p-value had to be below `level`."""
    differences = test.differences
    verdict = test.ahead if p_adjusted < LEVEL else "tie"
    return PairResult(
        a=test.a,
        b=test.b,
        seeds=differences.count,
        difference=differences.mean,
        deviation=differences.std,
        ci95=_interval(test, LEVEL),
        holm_interval=_interval(test, level),
        p_adjusted=p_adjusted,
        verdict=verdict,
        evidence=test.evidence,
        seeds_needed=_seeds_needed(test, level) if verdict == "tie" else None,
        tested_on="seeds-and-examples" if test.examples else "seeds",
        examples=test.examples,
        example_deviation=(
            math.sqrt(test.variance.from_examples) if test.variance and test.examples else math.nan
        ),
    )


def _interval(test: _PairTest, level: float) -> ConfidenceInterval:
    """Return the interval that misses the true mean difference with probability `level`."""
    if test.variance is None:
        return _EVERYTHING
    half_width = test.variance.critical(level) * test.variance.error
    return test.differences.mean - half_width, test.differences.mean + half_width


def _seeds_needed(tie: _PairTest, level: float) -> int | None:
    """Return how many seeds would turn the observed tie into a verdict."""
    if tie.evidence == "divergence":
        return math.floor(math.log(2 / level, 4)) + 1  # the least n with 2 / 4ⁿ < level
    if tie.ahead == "tie" or tie.variance is None:
        return None
    variance, mean = tie.variance, tie.differences.mean
    return _least_seeds(lambda seeds: variance.with_seeds(seeds).power(mean, level))


def _summarise_finite(values: NDArray[np.float64], least_std: float = 0.0) -> Summary:
    """Summarise finite values, with a deviation of at least `least_std`."""
    count = len(values)
    mean = float(np.mean(values)) if count else math.nan
    std = max(float(np.std(values, ddof=1)), least_std) if count >= 2 else math.nan
    return Summary(count, mean, std, _t_interval(mean, std, count, LEVEL))


def _t_interval(mean: float, std: float, count: int, level: float) -> ConfidenceInterval:
    """Return the interval that misses the true mean with probability `level`."""
    if count < 2:
        return _EVERYTHING
    half_width = _critical_t(count, level) * std / math.sqrt(count)
    return mean - half_width, mean + half_width


def _critical_t(count: int, level: float) -> float:
    """Return the value that |t| of `count` values with mean 0 exceeds with probability `level`."""
    return float(special.stdtrit(count - 1, 1 - level / 2))


def _merit(score: float, direction: Direction) -> float:
    return score if direction == "maximize" else -score


def _ahead(gain: float) -> Verdict:
    return "a" if gain > 0 else "b" if gain < 0 else "tie"


# Power -------------------------------------------------------------------------------------


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
    critical = _critical_t(seeds, level)
    return 1 - float(special.nctdtr(seeds - 1, effect * math.sqrt(seeds), critical))


def seeds_to_separate(effect: float, level: float = LEVEL) -> int | None:
    """Return the least number of seeds with which `power` reaches `POWER`.

    None if `MOST_SEEDS` are too few, as for an effect of 0. The arguments are those of `power`. If
    the effect was estimated, the answer is as rough as the estimate.
    """
    return _least_seeds(lambda seeds: power(effect, seeds, level))


def _least_seeds(power_with: Callable[[int], float]) -> int | None:
    """Return the least number of seeds with enough power; None if `MOST_SEEDS` have too little."""
    counts = range(2, MOST_SEEDS + 1)
    index = bisect_left(counts, POWER, key=power_with)
    return counts[index] if index < len(counts) else None


def separable_effect(seeds: int, level: float = LEVEL) -> float:
    """Return the least effect that is detected with the chance `POWER`; infinite for 1 seed."""
    if seeds < 2:
        return math.inf
    critical = _critical_t(seeds, level)
    return float(special.nctdtrinc(seeds - 1, 1 - POWER, critical)) / math.sqrt(seeds)


# Tuning ------------------------------------------------------------------------------------


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


# Targets -----------------------------------------------------------------------------------


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
    and so reward it. The median is infinite if half of the trials or more do not reach it. NaN (no
    result) is left out; NaN if nothing else is there.
    """
    values = np.asarray(times, dtype=np.float64)
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan
