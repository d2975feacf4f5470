"""From the states of the arms and the results of their trials to the summary of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from gradcli.comparison.columns import TIMED, mean, measured_of_arm
from gradcli.comparison.groups import places_of
from gradcli.comparison.protocol import ArmState
from gradcli.comparison.results import (
    ComparisonInfo,
    FurtherSummary,
    GridCell,
    GridResult,
    Halving,
    RankedArm,
    TargetSummary,
    TrialResult,
    TrialStatus,
)
from gradcli.comparison.statistics import (
    DIVERGED,
    ScoreComparison,
    compare_arms,
    compare_times,
    learning_rate_sensitivity,
    summarise_scores,
)
from gradcli.comparison.target import TargetPlan
from gradcli.comparison.verdicts import (
    ArmResult,
    ComparisonWarning,
    LearningRateSensitivity,
    Selection,
    Summary,
)
from gradcli.comparison.warnings import (
    find_warnings,
    warn_of_no_result,
    warn_of_seeds_alone,
    warn_where_validation_disagrees,
)
from gradcli.records import Metric, MetricScores

#: A learning rate is as good as the best one if it is worse by at most a point of accuracy,
_POINT = 0.01
#: or, by another metric, by this part of the best score.
_PART = 0.05


@dataclass(frozen=True)
class ArmTrials:
    """An arm's state, and its trials' results in the order of the state's trials."""

    state: ArmState
    tuning: tuple[TrialResult, ...]
    measuring: tuple[TrialResult, ...]

    @property
    def is_hopeless(self) -> bool:
        """Whether none of its learning rates has a score, so that none is measured."""
        return self.state.stage == "done" and self.state.chosen is None

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.state.arm.name

    def validation(self, metric: Metric) -> Summary:
        """Summarise the validation scores of its measuring trials, by `metric`."""
        scores = [_of_finished(one, one.val_score) for one in self.measuring]
        return summarise_scores(scores, metric.bounds)

    def test_scores(self, seeds: int) -> list[float]:
        """Return the test score for each of the seeds; NaN if there is none."""
        return [_score(trial) for trial in self.measuring] or [math.nan] * seeds


def compare_results(arms: Sequence[ArmTrials], info: ComparisonInfo) -> ScoreComparison:
    """Compare the arms by the test scores of the measuring trials."""
    seeds = len(info.protocol.seeds)
    return compare_arms(
        {arm.name: arm.test_scores(seeds) for arm in arms},
        direction=info.metric.direction,
        resolution=1 / max(1, info.data.test) if info.metric.is_accuracy else 0.0,
        bounds=info.metric.bounds,
        by_example={arm.name: [one.example_scores for one in arm.measuring] for arm in arms},
    )


def rank(
    arms: Sequence[ArmTrials], compared: ScoreComparison, metric: Metric
) -> tuple[RankedArm, ...]:
    """Return the arms in the order of their ranks, with everything known of each."""
    by_name = {arm.name: arm for arm in arms}
    places = possible_places(compared)
    return tuple(
        _ranked(by_name[result.name], result, places.get(result.name), metric)
        for result in compared.arms
    )


def possible_places(compared: ScoreComparison) -> dict[str, tuple[int, int]]:
    """Return for each arm with a score the best and the worst place that the verdicts allow it."""
    return places_of([arm.name for arm in compared.arms if arm.score.count], compared.pairs)


def time_to_target(
    arms: Sequence[ArmTrials], info: ComparisonInfo, plan: TargetPlan
) -> TargetSummary | None:
    """Compare the arms by the steps to the target; None without a target or a trial to time."""
    if math.isnan(info.target_score) or not any(arm.measuring for arm in arms):
        return None
    times = {
        arm.name: [
            one.measured["steps_to_target"] if one.status in TIMED else math.nan
            for one in arm.measuring
        ]
        for arm in arms
    }
    budgets = {arm.name: arm.state.arm.steps for arm in arms}
    examples = max(one.timed_on for arm in arms for one in arm.measuring)
    return TargetSummary(plan.origin, compare_times(times, budgets), examples)


def leader(compared: ScoreComparison) -> str | None:
    """Return the arm that is better than every other by a verdict; None if there is none."""
    best = compared.arms[0].name
    rivals = [pair for pair in compared.pairs if best in (pair.a, pair.b)]
    return best if rivals and all(pair.verdict == "a" for pair in rivals) else None


def warn(
    arms: Sequence[ArmTrials], compared: ScoreComparison, metric: Metric
) -> tuple[ComparisonWarning, ...]:
    """Return the reasons to read a comparison with caution."""
    hopeless = {arm.name: [one.status for one in arm.tuning] for arm in arms if arm.is_hopeless}
    return (
        *(
            warning
            for warning in find_warnings(compared)
            if not (warning.code == "missing" and warning.arms[0] in hopeless)
        ),
        *(warn_of_no_result(name, statuses) for name, statuses in hopeless.items()),
        *warn_where_validation_disagrees(
            compared, {arm.name: arm.validation(metric) for arm in arms}, metric
        ),
        *warn_of_seeds_alone(compared.pairs),
    )


def grid(arm: ArmTrials) -> tuple[GridCell, ...]:
    """Return the state of each learning rate of an arm's grid."""
    return tuple(_cell(rate, trials) for rate, trials in _by_rate(arm).items())


def grid_results(arms: Sequence[ArmTrials]) -> tuple[GridResult, ...]:
    """Return every learning rate that was tried, by arm."""
    return tuple(
        GridResult(
            arm=arm.name,
            optimizer=arm.state.arm.optimizer,
            learning_rate=rate,
            val_score=mean([_of_finished(trial, trial.val_score) for trial in trials]),
            status=_cell(rate, trials).status,
            diverged=sum(trial.status == "diverged" for trial in trials),
            chosen=rate == arm.state.chosen,
        )
        for arm in arms
        for rate, trials in _by_rate(arm).items()
        if trials
    )


def halving(arms: Sequence[ArmTrials]) -> Halving:
    """Return what successive halving did."""
    trials = [(trial, arm.state.arm.steps) for arm in arms for trial in arm.tuning]
    stopped = [(trial, whole) for trial, whole in trials if trial.status == "stopped"]
    return Halving(
        stopped=len(stopped),
        trials=len(trials),
        steps_spent=sum(trial.steps for trial, _ in stopped),
        steps_saved=sum(whole - trial.steps for trial, whole in stopped),
        steps_without=sum(whole for _, whole in trials),
    )


def _ranked(
    arm: ArmTrials, placed: ArmResult, places: tuple[int, int] | None, metric: Metric
) -> RankedArm:
    state, measuring = arm.state, arm.measuring
    validation = arm.validation(metric)
    tuned = _by_rate(arm)
    scores = [mean([_of_finished(one, one.val_score) for one in tuned[rate]]) for rate in tuned]
    return RankedArm(
        rank=placed.rank,
        places=places,
        name=arm.name,
        optimizer=state.arm.optimizer,
        learning_rate=math.nan if state.chosen is None else state.chosen,
        seeds=tuple(trial.seed for trial in measuring),
        test_score=placed.score,
        val_score=validation,
        measured=measured_of_arm(measuring),
        diverged=placed.diverged,
        missing=placed.missing,
        learning_rate_at_edge=state.at_edge,
        selection=(
            Selection(
                arm.name, scores[list(tuned).index(state.chosen)], validation, metric.direction
            )
            if arm.tuning and state.chosen is not None
            else None
        ),
        sensitivity=_sensitivity(list(tuned), scores, metric) if arm.tuning else None,
        further=_further(measuring),
    )


def _further(measuring: Sequence[TrialResult]) -> tuple[FurtherSummary, ...]:
    """Summarise what an arm's measuring trials scored by the further metrics."""
    scores: dict[Metric, list[MetricScores]] = {}
    for one in chain.from_iterable(trial.further for trial in measuring):
        scores.setdefault(one.metric, []).append(one)
    return tuple(
        FurtherSummary(
            metric,
            val=summarise_scores([one.val for one in found], metric.bounds),
            test=summarise_scores([one.test for one in found], metric.bounds),
        )
        for metric, found in scores.items()
    )


def _sensitivity(
    rates: Sequence[float], scores: Sequence[float], metric: Metric
) -> LearningRateSensitivity:
    """Return how wide the range of good learning rates is, to a point of accuracy or to 5%."""
    merits = [metric.merit(score) for score in scores]
    best = max((merit for merit in merits if math.isfinite(merit)), default=math.nan)
    tolerance = _POINT if metric.is_accuracy else _PART * abs(best)
    return learning_rate_sensitivity(rates, merits, tolerance)


def _by_rate(arm: ArmTrials) -> dict[float, list[TrialResult]]:
    trials: dict[float, list[TrialResult]] = {rate: [] for rate in arm.state.rates}
    for trial in arm.tuning:
        trials[trial.learning_rate].append(trial)
    return trials


def _cell(rate: float, trials: Sequence[TrialResult]) -> GridCell:
    statuses = [trial.status for trial in trials]
    status: TrialStatus = "waiting"
    order: tuple[TrialStatus, ...] = ("diverged", "failed", "stopped", "running")
    if statuses and all(one == "finished" for one in statuses):
        status = "finished"
    elif found := next((one for one in order if one in statuses), None):
        status = found
    elif "finished" in statuses:
        status = "running"
    return GridCell(rate, status, _mean_known([trial.val_score for trial in trials]))


def _score(trial: TrialResult) -> float:
    return DIVERGED if trial.status == "diverged" else trial.test_score


def _of_finished(trial: TrialResult, value: float) -> float:
    return value if trial.status == "finished" else math.nan


def _mean_known(values: Sequence[float]) -> float:
    return mean([value for value in values if not math.isnan(value)])
