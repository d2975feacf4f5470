"""What the scores of a comparison say, as plain values: means, places, verdicts, cautions.

`statistics` computes them; screens, JSON and pictures are drawn from them. Importing this is light:
neither torch nor SciPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gradcli.comparison.search import Setting
from gradcli.records import Direction

ConfidenceInterval = tuple[float, float]
Verdict = Literal["a", "b", "tie"]
PairEvidence = Literal["scores", "divergence", "none"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The scores of one arm over the seeds that have one."""

    count: int
    mean: float
    """NaN without any score."""
    std: float
    """The sample deviation (n - 1 in the denominator); NaN with fewer than two scores."""
    ci95: ConfidenceInterval
    """mean ± t(n-1) · std / √n, cut where scores end; unbounded with fewer than two scores, and
    if all agree exactly."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm's place in the ranking. The pairs say whether a place is more than luck."""

    rank: int | None
    """One more than the number of arms with a better mean; None without any score."""
    name: str
    score: Summary
    diverged: int
    """Trials that diverged."""
    missing: int
    """Trials that have no result."""


@dataclass(frozen=True, slots=True)
class PairResult:
    """Two arms, a ranked no lower than b, over the seeds at which both have a score."""

    a: str
    b: str
    seeds: int
    difference: float
    """The mean of a - b; NaN if no seed has both scores."""
    deviation: float
    """The deviation of a - b between seeds; NaN with fewer than two."""
    ci95: ConfidenceInterval
    """The interval of the difference, for this pair alone, over what `tested_on` says."""
    holm_interval: ConfidenceInterval
    """The same, widened by Holm's correction: if scores were tested, it excludes 0 exactly if the
    verdict is not a tie."""
    p_adjusted: float
    """After Holm's correction for all pairs; 1 if nothing could be tested."""
    verdict: Verdict
    evidence: PairEvidence
    """What was tested."""
    seeds_needed: int | None
    """For a tie: the seeds that would separate the arms if the observed difference is the true one.
    None for a verdict, and if `MOST_SEEDS` are too few: perhaps the test set is too small."""
    tested_on: Literal["seeds", "seeds-and-examples"] = "seeds"
    """What the verdict holds for: new seeds alone, or also new test examples."""
    examples: int = 0
    """The test examples that both arms were scored on; 0 if only seeds were tested."""
    example_deviation: float = math.nan
    """How far the mean difference varies between test sets of this size; NaN if not tested."""


@dataclass(frozen=True, slots=True)
class ArmTimes:
    """How soon the trials of one arm reach the target, and the places that leaves it."""

    name: str
    places: tuple[int, int] | None
    """The best and the worst place that the verdicts leave open; None without any trial."""
    seeds: int
    """The trials that ended, those that diverged included."""
    reached: int
    """Those of them that reached the target."""
    median: float
    """In steps, with those that never reach it as the latest; infinite if most do not."""
    interval: ConfidenceInterval
    """Of the median, between two of the trials; infinite above if a trial that is none bounds
    it."""
    coverage: float
    """The probability, at least, with which the interval holds the median."""


@dataclass(frozen=True, slots=True)
class TimePair:
    """Two arms, and which one reaches the target sooner, if that is more than luck."""

    a: str
    b: str
    p_adjusted: float
    """After Holm's correction for all pairs; 1 if nothing could be tested."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class TimeComparison:
    """Arms by the steps to the target, soonest first, and every pair of them in that order."""

    arms: tuple[ArmTimes, ...]
    pairs: tuple[TimePair, ...]
    seeds_needed: int | None
    """With fewer seeds in each arm than these, no times whatever would give a verdict; None if
    there are enough."""


@dataclass(frozen=True, slots=True)
class ComparisonWarning:
    """A reason to read a result with caution."""

    code: Literal[
        "few-seeds",
        "special-case",
        "diverged",
        "missing",
        "no-result",
        "validation-disagrees",
        "seeds-only",
    ]
    arms: tuple[str, ...]
    """The arms concerned."""
    message: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The score that chose an arm's settings, and the scores of fresh seeds.

    The best of several noisy scores is lucky (the winner's curse), so it drops when measured again.
    Both must be scores on the same split, or the splits are compared, too.
    """

    arm: str
    selected_score: float
    """The best score while tuning."""
    fresh: Summary
    """The scores of the chosen settings with seeds that the choice did not use."""
    direction: Direction = "maximize"

    @property
    def optimism(self) -> float:
        """How much better the selected score is than the fresh mean."""
        return self._better_than(self.fresh.mean)

    @property
    def ci95(self) -> ConfidenceInterval:
        """The interval of the optimism over fresh seeds, given the selected score."""
        low, high = sorted(map(self._better_than, self.fresh.ci95))
        return low, high

    def _better_than(self, score: float) -> float:
        difference = self.selected_score - score
        return difference if self.direction == "maximize" else -difference


@dataclass(frozen=True, slots=True)
class LearningRateSensitivity:
    """The learning rates around the best one with which an optimizer does nearly as well."""

    best: float
    """The learning rate with the best score, the lowest if several tie; NaN without a score."""
    low: float
    high: float
    best_at_edge: bool
    """The best is an end of the grid: the true best may be beyond it."""
    open_ended: bool
    """The range reaches an end of the grid, so it may be wider."""

    @property
    def decades(self) -> float:
        """The width of the range, log10(high / low): 0 if it is the best alone."""
        return math.log10(self.high / self.low)


@dataclass(frozen=True, slots=True)
class KeySensitivity:
    """What one searched key of an arm decides."""

    key: str
    share: float
    """Of the variance of the settings' ranks; about 0, also slightly below, if the key decides
    nothing. NaN if it cannot be said."""
    p_adjusted: float
    """After Holm's correction for the arm's keys; NaN if it cannot be said."""
    good: tuple[float, float]
    """The lowest and the highest value among the settings nearly as good as the best; NaN without a
    score."""
    best: float
    """The value in the best setting; NaN without a score."""
    best_position: float
    """Where that is in the key's range, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class SearchSensitivity:
    """What the searched keys of an arm decide."""

    settings: int
    """How many were tried."""
    keys: tuple[KeySensitivity, ...]
    """In the order of the search."""
    unknown: Literal["", "few-settings", "all-failed", "all-alike"]
    """Why no share can be said; empty if it can."""

    @property
    def rest(self) -> float:
        """The share that no key decides alone: noise, and the interplay of keys; NaN as theirs."""
        return 1 - math.fsum(one.share for one in self.keys)


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """What a search finds for an arm with a number of settings."""

    settings: int
    setting: Setting
    """The chosen one; empty if none of those tried has a score."""
    test_score: Summary
    val_score: Summary
    places: tuple[int, int] | None
    """As those of a `RankedArm`, among the arms at the same budget."""
