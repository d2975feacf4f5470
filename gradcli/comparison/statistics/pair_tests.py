"""Two arms: which one the scores of the same seeds prefer, and how surely, among all pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradcli.comparison.statistics.arm_scores import (
    DIVERGED,
    EVERYTHING,
    LEVEL,
    merit,
    rank_arms,
    summarise_finite,
)
from gradcli.comparison.statistics.crossed import DifferenceVariance, variance_from_examples
from gradcli.comparison.statistics.seeds_needed import least_seeds
from gradcli.comparison.verdicts import (
    ArmResult,
    ConfidenceInterval,
    PairEvidence,
    PairResult,
    Summary,
    Verdict,
)
from gradcli.records import Direction, ExampleScores


@dataclass(frozen=True, slots=True)
class ScoreComparison:
    """Arms, best first, and every pair of them in that order."""

    arms: tuple[ArmResult, ...]
    pairs: tuple[PairResult, ...]


#: For each seed of an arm: its score at each test example (N,), such as whether it was right; None
#: if not recorded.
ScoresByExample: TypeAlias = "Sequence[ExampleScores | None]"


def compare_arms(
    scores: Mapping[str, ArrayLike],
    *,
    direction: Direction = "maximize",
    resolution: float = 0.0,
    bounds: ConfidenceInterval = EVERYTHING,
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
        bounds: the lowest and the highest score there can be: an arm's interval ends there.
        by_example: for each arm and seed, the scores of the examples of the same test set.

    Raises:
        ValueError: the arms have different numbers of scores.
    """
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    arms = rank_arms(checked, direction, bounds)
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
    return ScoreComparison(arms, verdicts_on(tests))


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
_Arm: TypeAlias = "tuple[str, NDArray[np.float64], ScoresByExample | None]"


class MeanVariance(Protocol):
    """The variance of a mean difference, and what follows for its test."""

    @property
    def from_examples(self) -> float:
        """The part that does not fall with the number of seeds; 0 if only seeds are tested."""

    @property
    def error(self) -> float:
        """The standard error of the mean difference."""

    def critical(self, level: float) -> float:
        """Return the value that |mean| / error of equal arms exceeds with probability `level`."""

    def with_seeds(self, seeds: int) -> MeanVariance:
        """Return the variance that another number of seeds would have."""

    def power(self, mean: float, level: float) -> float:
        """Return about the chance that a true mean is detected, in its direction."""


@dataclass(frozen=True, slots=True)
class PairTest:
    """A pair before the correction for the others."""

    a: str
    b: str
    differences: Summary
    variance: MeanVariance | None
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
) -> PairTest:
    """Test whether two arms are equal; see `compare_arms`."""
    (a, a_scores, a_examples), (b, b_scores, b_examples) = first, second
    ended = ~(np.isnan(a_scores) | np.isnan(b_scores))
    a_ended, b_ended = a_scores[ended], b_scores[ended]
    a_diverged, b_diverged = a_ended == DIVERGED, b_ended == DIVERGED
    scored = ~(a_diverged | b_diverged)
    differences = summarise_finite(
        a_ended[scored] - b_ended[scored], least_std=resolution / math.sqrt(6)
    )
    evidence: PairEvidence = "none"
    ahead: Verdict = "tie"
    p = 1.0
    variance, examples = None, 0
    if differences.count >= 2:
        evidence = "scores"
        ahead = which_is_ahead(merit(differences.mean, direction))
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
    return PairTest(a, b, differences, variance, examples, ahead, p, evidence, len(a_ended))


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


def verdicts_on(tests: Sequence[PairTest]) -> tuple[PairResult, ...]:
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


def _verdict(test: PairTest, p_adjusted: float, level: float) -> PairResult:
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


def _interval(test: PairTest, level: float) -> ConfidenceInterval:
    """Return the interval that misses the true mean difference with probability `level`."""
    if test.variance is None:
        return EVERYTHING
    half_width = test.variance.critical(level) * test.variance.error
    return test.differences.mean - half_width, test.differences.mean + half_width


def _seeds_needed(tie: PairTest, level: float) -> int | None:
    """Return how many seeds would turn the observed tie into a verdict."""
    if tie.evidence == "divergence":
        return math.floor(math.log(2 / level, 4)) + 1  # the least n with 2 / 4ⁿ < level
    if tie.ahead == "tie" or tie.variance is None:
        return None
    variance, mean = tie.variance, tie.differences.mean
    return least_seeds(lambda seeds: variance.with_seeds(seeds).power(mean, level))


def which_is_ahead(gain: float) -> Verdict:
    """Return the arm that a gain of the first over the second puts ahead."""
    return "a" if gain > 0 else "b" if gain < 0 else "tie"
