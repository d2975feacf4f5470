"""Sets of runs: which one scores better, by seeds that they share or by runs that stand alone."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from gradcli.comparison.statistics.arm_scores import (
    DIVERGED,
    EVERYTHING,
    merit,
    rank_arms,
    summarise_finite,
)
from gradcli.comparison.statistics.crossed import DifferenceVariance
from gradcli.comparison.statistics.pair_tests import PairTest, verdicts_on, which_is_ahead
from gradcli.comparison.verdicts import ArmResult, ConfidenceInterval, PairEvidence, PairResult
from gradcli.records import Direction

Pairing = Literal["auto", "seed", "none"]


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a set of runs."""

    scores: tuple[float, ...]
    """`DIVERGED` of a run that diverged."""
    seeds: tuple[int | None, ...]
    """Of each; None if it is not known."""


@dataclass(frozen=True, slots=True)
class SetPair:
    """Two sets, and how they were compared."""

    result: PairResult
    """Its `seeds` are those that both have if `is_paired`, else the runs of the smaller set."""
    is_paired: bool
    runs: tuple[int, int]
    """With a score, of each set."""
    compared: tuple[int, int]
    """With a score or diverged, of each set; of a paired one, at the seeds that both have."""
    diverged: tuple[int, int]
    """Of those that were compared."""


def compare_sets(
    sets: Mapping[str, Scored],
    *,
    direction: Direction = "maximize",
    resolution: float = 0.0,
    bounds: ConfidenceInterval = EVERYTHING,
    pairing: Pairing = "auto",
) -> tuple[tuple[ArmResult, ...], tuple[SetPair, ...]]:
    """Rank sets of runs by their mean scores, and give a verdict on every pair.

    With `auto`, two sets whose runs have the same seeds, each once, are compared seed by seed
    (Student's paired t-test), and others as independent samples (Welch's t-test). `seed` compares
    all at the seeds that both have, `none` none. The p-values are corrected by `holm`.

    A set of which all runs diverged is worse than one of which none did, if that is more than
    chance: if runs of both diverge with the same probability q, n and m runs show it with
    probability qⁿ (1 - q)ᵐ + qᵐ (1 - q)ⁿ, whose maximum over q is the p-value (Barnard 1947, as for
    arms). Otherwise the runs that diverged are left out.

    Args:
        sets: by name.
        direction: whether higher or lower scores are better.
        resolution: the distance of neighbouring scores; no smaller variance than that of rounding
            is assumed, as in `compare_arms`.
        bounds: the lowest and the highest score there can be.
        pairing: how pairs are compared.

    Returns:
        The sets, best first, and every pair of them in that order.
    """
    ranked = rank_arms(
        {name: np.array(one.scores) for name, one in sets.items()}, direction, bounds
    )
    made = [
        _test(a.name, b.name, sets, direction, resolution, pairing)
        for a, b in itertools.combinations(ranked, 2)
    ]
    results = verdicts_on([test for test, _ in made])
    pairs = [
        SetPair(result, basis.is_paired, basis.runs, basis.compared, basis.diverged)
        for result, (_, basis) in zip(results, made, strict=True)
    ]
    return ranked, tuple(pairs)


@dataclass(frozen=True, slots=True)
class WelchVariance:
    """The variance of a difference of two means of independent runs, whose deviations may differ.

    Welch 1947, "The generalization of Student's problem when several different population
    variances are involved", Biometrika 34; with Satterthwaite's degrees of freedom.
    """

    counts: tuple[int, int]
    variances: tuple[float, float]
    """Of the scores of each set."""
    from_examples: float = 0.0

    @property
    def error(self) -> float:
        """The standard error of the difference."""
        return math.sqrt(sum(self._parts))

    @property
    def freedom(self) -> float:
        """The degrees of freedom of its t distribution."""
        below = sum(
            part**2 / (count - 1) for part, count in zip(self._parts, self.counts, strict=True)
        )
        return sum(self._parts) ** 2 / below if below else math.inf

    def critical(self, level: float) -> float:
        """Return the value that |difference| / error of equal sets exceeds so often."""
        return float(special.stdtrit(self.freedom, 1 - level / 2))

    def p_value(self, mean: float) -> float:
        """Return the two-sided p-value of a true difference of 0; 0 or 1 if nothing varies."""
        if mean == 0 or self.error == 0:
            return float(mean == 0)
        return 2 * float(special.stdtr(self.freedom, -abs(mean) / self.error))

    def with_seeds(self, seeds: int) -> WelchVariance:
        """Return the variance that so many runs in each set would have."""
        return WelchVariance((seeds, seeds), self.variances)

    def power(self, mean: float, level: float) -> float:
        """Return about the chance that a true difference is detected, in its direction."""
        if self.error == 0:
            return 1.0
        ratio = abs(mean) / self.error
        return 1 - float(special.nctdtr(self.freedom, ratio, self.critical(level)))

    @property
    def _parts(self) -> tuple[float, float]:
        one, other = (
            variance / count for variance, count in zip(self.variances, self.counts, strict=True)
        )
        return one, other


def are_paired(a: Scored, b: Scored) -> bool:
    """Whether two sets have the same seeds, each once."""
    known = [one.seeds for one in (a, b)]
    return all(_once_each(seeds) for seeds in known) and set(known[0]) == set(known[1])


def _once_each(seeds: Sequence[int | None]) -> bool:
    return None not in seeds and max(Counter(seeds).values(), default=0) == 1


class _Basis(NamedTuple):
    """What a pair was compared by, as in `SetPair`."""

    is_paired: bool
    runs: tuple[int, int]
    compared: tuple[int, int]
    diverged: tuple[int, int]


def _test(
    a: str,
    b: str,
    sets: Mapping[str, Scored],
    direction: Direction,
    resolution: float,
    pairing: Pairing,
) -> tuple[PairTest, _Basis]:
    """Test whether two sets are equal, and say by which runs."""
    ours, theirs = sets[a], sets[b]
    paired = pairing == "seed" or (pairing == "auto" and are_paired(ours, theirs))
    if paired:
        shared = [seed for seed in ours.seeds if seed in theirs.seeds and seed is not None]
        a_scores, b_scores = (
            np.array([one.scores[one.seeds.index(seed)] for seed in shared], dtype=np.float64)
            for one in (ours, theirs)
        )
    else:
        a_scores, b_scores = (np.array(one.scores, dtype=np.float64) for one in (ours, theirs))
    diverged = a_scores == DIVERGED, b_scores == DIVERGED
    if paired:
        kept = ~(diverged[0] | diverged[1])
        a_left, b_left = a_scores[kept], b_scores[kept]
    else:
        a_left, b_left = a_scores[~diverged[0]], b_scores[~diverged[1]]
    runs = (len(a_left), len(b_left))
    least = resolution / math.sqrt(12)  # the deviation that rounding alone gives a score
    if paired:
        differences = summarise_finite(a_left - b_left, least_std=math.sqrt(2) * least)
    else:
        mean = float(a_left.mean() - b_left.mean()) if min(runs) else math.nan
        differences = summarise_finite(np.full(min(runs), mean))
    variance: DifferenceVariance | WelchVariance | None = None
    evidence: PairEvidence = "none"
    ahead, p = which_is_ahead(0.0), 1.0
    if min(runs) >= 2:
        evidence = "scores"
        variance = (
            DifferenceVariance(runs[0], differences.std**2 / runs[0], 0.0)
            if paired
            else WelchVariance(runs, (_variance(a_left, least), _variance(b_left, least)))
        )
        ahead = which_is_ahead(merit(differences.mean, direction))
        p = variance.p_value(differences.mean)
    elif min(len(a_scores), len(b_scores)) and abs(diverged[0].mean() - diverged[1].mean()) == 1:
        evidence = "divergence"
        ahead = "b" if diverged[0].all() else "a"
        p = _chance_of_parting(len(a_scores), len(b_scores))
    test = PairTest(a, b, differences, variance, 0, ahead, p, evidence, min(map(len, diverged)))
    of_each = int(diverged[0].sum()), int(diverged[1].sum())
    return test, _Basis(paired, runs, (len(a_scores), len(b_scores)), of_each)


def _variance(scores: NDArray[np.float64], least_std: float) -> float:
    return max(float(np.var(scores, ddof=1)), least_std**2)


def _chance_of_parting(n: int, m: int) -> float:
    """Return the greatest chance that all of one set diverge and none of another equal one."""
    q = np.linspace(0, 1, 1001)
    return float(np.max(q**n * (1 - q) ** m + q**m * (1 - q) ** n))
