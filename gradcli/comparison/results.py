"""What a comparison says: its plan, its progress, each trial, and its result.

Plain values, read from the run directories of the trials, from which screens, JSON and pictures are
drawn. Nothing here computes, and importing it is light: neither torch nor SciPy. An *arm* is one
way to train, such as an optimizer; a *trial* is one training of an arm with one learning rate and
one seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gradcli.comparison.search import Range, Setting
from gradcli.comparison.verdicts import (
    BudgetResult,
    ComparisonWarning,
    LearningRateSensitivity,
    PairResult,
    SearchSensitivity,
    Selection,
    Summary,
    TimeComparison,
)
from gradcli.records import (
    ACCURACY,
    DataInfo,
    EvalRecord,
    ExampleScores,
    Metric,
    MetricScores,
    RunInfo,
    StepRecords,
)

#: What a trial is for: to choose a learning rate or the setting of a search, to measure the chosen
#: one, or to measure what a search would have chosen with a smaller budget.
Stage = Literal["tuning", "measuring", "budget"]
#: What an arm is doing: `widening` is tuning beyond the first grid, `waiting` is for other arms.
ArmStage = Literal["waiting", "tuning", "widening", "measuring", "done"]
#: The status of a trial. `stopped`: by successive halving. `failed`: it has no result.
TrialStatus = Literal["waiting", "running", "finished", "diverged", "stopped", "failed"]


# The start ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProtocolInfo:
    """How the comparison is run: an option of `configs/protocol/`, and its numbers."""

    name: str
    tune: bool
    """Whether trials choose the learning rates; else the configs do."""
    tuning_seeds: tuple[int, ...]
    """The seeds of the trials that choose a learning rate; none without tuning."""
    seeds: tuple[int, ...]
    """The fresh seeds of the trials that measure."""
    per_decade: int
    """Learning rates per decade of the grid."""
    widenings: int
    """How often the grids may be widened if a best learning rate is at an edge."""
    widen_by: int
    """The trials per arm and tuning seed that a widening adds."""
    halving: bool
    """Whether hopeless tuning trials are stopped early."""


@dataclass(frozen=True, slots=True)
class ArmInfo:
    """One way to train, and the learning rates that are tried with it."""

    name: str
    """Unique, such as `adam`, `adam#2` or `adam clip=none`."""
    optimizer: str
    """The option of `configs/optimizer/`."""
    overrides: tuple[str, ...]
    """What distinguishes the arm apart from its optimizer, such as `clip=none`."""
    learning_rates: tuple[float, ...]
    """The grid before any widening, rising; one learning rate without tuning, and in a search the
    configured one."""
    ranges: tuple[Range, ...] = ()
    """Those of the keys that a search varies; empty without a search."""


@dataclass(frozen=True, slots=True)
class SearchInfo:
    """How each arm's settings are searched."""

    method: str
    """The option of `configs/search/`."""
    keys: tuple[str, ...]
    """The keys searched, as the user typed them; an arm need not have all of them."""
    settings: int
    """How many settings each arm tries."""
    budgets: tuple[int, ...]
    """The numbers of settings at which the result is given, rising; the last is all of them."""


@dataclass(frozen=True, slots=True)
class ComparisonInfo:
    """What is known when a comparison starts: the heading of every screen."""

    path: str
    """The comparison's directory, as the user would type it."""
    name: str
    """The name of the directory."""
    data: DataInfo
    model: str
    model_size: int
    """The number of trained parameters of the first arm's model."""
    activation: str
    schedule: str
    clip: str
    batch_size: int
    epochs: int
    steps: int
    """The updates of a whole trial."""
    protocol: ProtocolInfo
    target_score: float
    """The validation score that is timed; NaN for none."""
    arms: tuple[ArmInfo, ...]
    engine: str
    """That of the latest call of the comparison, as are `jobs` and `already_done`."""
    jobs: int
    """Trials that run at the same time."""
    device: str
    threads: int
    """CPU threads of each trial."""
    already_done: int
    """Trials that had ended before this call of the comparison began."""
    metric: Metric = ACCURACY
    """What the arms are scored by."""
    augment: str = ""
    """The option of the first arm that changes training images at random; empty without any."""
    search: SearchInfo | None = None
    """None if only learning rates are tried, on a grid."""


# The trials ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A trial that has ended. A number that it does not have is NaN."""

    id: str
    """A hash of its config; arms with equal configs share their trials."""
    arm: str
    optimizer: str
    learning_rate: float
    seed: int
    stage: Stage
    status: TrialStatus
    run: str
    """Its run directory, as the user would type it."""
    steps: int
    val_score: float
    """After the last step; of a stopped trial, when it was stopped."""
    test_score: float
    """NaN for a tuning trial: choices are made on validation, and the test split is not read."""
    measured: Mapping[str, float]
    """The number of every column of `comparison.columns`, by key."""
    seconds: float
    """From the run's beginning to its end."""
    error: str
    """What went wrong with a failed trial; else empty."""
    example_scores: ExampleScores | None = field(default=None, compare=False, repr=False)
    """What each test example adds to the score of a finished measuring trial; None if not
    recorded."""
    further: tuple[MetricScores, ...] = ()
    """Its scores by the further metrics, under the same rules as `val_score` and `test_score`."""
    setting: Setting = ()
    """The values of the searched keys; empty without a search."""
    timed_on: int = 0
    """The validation examples on whose scores the target is timed; 0 if there are none."""


# The end ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GridResult:
    """What was tried with an arm: the mean over its tuning trials."""

    arm: str
    optimizer: str
    learning_rate: float
    val_score: float
    """The mean over the tuning seeds; NaN if a trial diverged or has no result."""
    status: TrialStatus
    diverged: int
    """Its trials that diverged."""
    chosen: bool
    setting: Setting = ()
    """The values of the searched keys; empty without a search."""


@dataclass(frozen=True, slots=True)
class FurtherSummary:
    """What an arm's measuring trials scored by one of the further metrics."""

    metric: Metric
    val: Summary
    test: Summary


@dataclass(frozen=True, slots=True)
class RankedArm:
    """An arm at the end: its place, its scores on the fresh seeds, and how it was tuned."""

    rank: int | None
    """By the mean alone; None without any score."""
    places: tuple[int, int] | None
    """The best and the worst place that the verdicts leave open; None without any score."""
    name: str
    optimizer: str
    learning_rate: float
    """NaN if none was chosen."""
    seeds: tuple[int, ...]
    test_score: Summary
    val_score: Summary
    measured: Mapping[str, float]
    """The number of every column of `comparison.columns` over the measuring trials, by key."""
    diverged: int
    missing: int
    learning_rate_at_edge: bool
    """The best learning rate is an end of the grid, even after widening."""
    selection: Selection | None
    """The score that chose the learning rate, and those of fresh seeds, both on validation; None
    without tuning."""
    sensitivity: LearningRateSensitivity | None
    """None without tuning."""
    further: tuple[FurtherSummary, ...] = ()
    """By the further metrics, which decide nothing; empty without any, or before any trial."""
    setting: Setting = ()
    """The chosen values of the searched keys; empty without a search, or if none was chosen."""
    setting_at_edge: tuple[str, ...] = ()
    """The searched keys that decide something and did best near an end of their range."""
    search_sensitivity: SearchSensitivity | None = None
    """What each searched key decides; None without a search, or before it has ended."""
    by_budget: tuple[BudgetResult, ...] = ()
    """What the arm scores with smaller budgets, rising, and with the whole one; empty without a
    search."""


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """How soon the arms reach the target of `ComparisonInfo`: a ranking of its own."""

    origin: str
    """What set the target: `tuning`, `protocol`, `problem`, `data`; empty if not known."""
    steps: TimeComparison
    """By the steps of the measuring trials."""
    examples: int
    """How many of the validation examples were scored each time; 0 if not known."""


@dataclass(frozen=True, slots=True)
class Halving:
    """What successive halving did: tuning trials that were stopped before their end."""

    stopped: int
    trials: int
    """All tuning trials."""
    steps_spent: int
    """Steps that the stopped trials had made."""
    steps_saved: int
    """Steps that they would have made."""
    steps_without: int
    """Steps of all tuning trials without halving."""


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """The result of a comparison: what `--json`, the closing screen and pictures draw from."""

    info: ComparisonInfo
    status: Literal["finished", "interrupted", "failed"]
    """`failed`: some trials have no result after a second try, or all trials of an arm diverged."""
    ranking: tuple[RankedArm, ...]
    """The best first; every arm of `info.arms`."""
    pairs: tuple[PairResult, ...]
    warnings: tuple[ComparisonWarning, ...]
    tuning: tuple[GridResult, ...]
    """By arm, learning rates rising; empty without tuning."""
    trials: tuple[TrialResult, ...]
    """Those that have ended, in the order of arms, stages, learning rates and seeds."""
    failed: int
    """Trials that have no result."""
    halving: Halving | None
    seconds: float
    """The wall-clock time of all calls of this comparison together."""
    winner_command: str
    """Trains the best-ranked arm with the first fresh seed, on the same machine to the same bits;
    empty if no arm has a score."""
    extend_command: str
    """Compares again with learning rates beyond the end at which the best-ranked arm did best;
    empty if it did not."""
    retry_command: str
    """Compares the same arms at lower learning rates; empty unless every trial diverged."""
    resume_command: str
    """Runs what is missing; empty if nothing is."""
    kept_trial: str = ""
    """The directory of the best-ranked arm's best trial by validation score, if it still has its
    checkpoint; empty if not, and before the comparison is over."""
    notes: tuple[str, ...] = ()
    """What the user must know about how it runs."""
    target: TargetSummary | None = None
    """None without a target, or before any trial was measured."""
    tags: tuple[str, ...] = ()
    """What the user calls it."""
    note: str = ""

    @property
    def winner_at_edge(self) -> bool:
        """Whether the best-ranked arm did best at an end of what was tried."""
        best = self.ranking[0]
        return bool(self.winner_command) and bool(
            best.learning_rate_at_edge or best.setting_at_edge
        )

    @property
    def all_diverged(self) -> bool:
        """Whether every trial ended by divergence."""
        return bool(self.trials) and all(trial.status == "diverged" for trial in self.trials)


@dataclass(frozen=True, slots=True)
class TrialRecords:
    """Everything recorded of a trial: what curves are drawn from."""

    trial: TrialResult
    info: RunInfo
    steps: StepRecords
    evals: tuple[EvalRecord, ...]
