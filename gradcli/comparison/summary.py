"""From the states of the arms and the results of their trials to the summary of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from gradcli.comparison.columns import TIMED, mean, measured_of_arm
from gradcli.comparison.groups import places_of
from gradcli.comparison.live import GridCell
from gradcli.comparison.protocol import ArmState, Candidate
from gradcli.comparison.results import (
    ComparisonInfo,
    FurtherSummary,
    GridResult,
    Halving,
    RankedArm,
    TargetSummary,
    TrialResult,
    TrialStatus,
)
from gradcli.comparison.statistics import (
    DIVERGED,
    LEVEL,
    ScoreComparison,
    compare_arms,
    compare_times,
    key_sensitivity,
    learning_rate_sensitivity,
    summarise_scores,
)
from gradcli.comparison.target import TargetPlan
from gradcli.comparison.verdicts import (
    ArmResult,
    BudgetResult,
    ComparisonWarning,
    LearningRateSensitivity,
    SearchSensitivity,
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
#: A best value in the outer tenth of a range is near its end.
NEAR_AN_END = 0.1


@dataclass(frozen=True)
class ArmTrials:
    """An arm's state, and its trials' results in the order of the state's trials."""

    state: ArmState
    tuning: tuple[TrialResult, ...]
    measuring: tuple[TrialResult, ...]
    earlier: tuple[tuple[TrialResult, ...], ...] = ()
    """Of a search, those that measure each of the state's earlier choices."""

    @property
    def trials(self) -> tuple[TrialResult, ...]:
        """All of them, each once."""
        measured = {trial.id for trial in self.measuring}
        earlier = {trial.id: trial for trial in chain.from_iterable(self.earlier)}
        others = (trial for trial in earlier.values() if trial.id not in measured)
        return (*self.tuning, *self.measuring, *others)

    @property
    def unproposed(self) -> int:
        """The tuning trials of settings that are not proposed yet."""
        search, known = self.state.arm.search, len(self.state.candidates)
        if search is None or not known:
            return 0
        return (search.settings - known) * (len(self.tuning) // known)

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

    def at_budget(self, place: int) -> ArmTrials:
        """Return the arm as if its search had ended at one of the earlier choices."""
        choice = self.state.earlier[place]
        state = replace(self.state, chosen=choice.chosen, measuring=choice.measuring)
        return replace(self, state=state, measuring=self.earlier[place])


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
    arms: Sequence[ArmTrials], compared: ScoreComparison, info: ComparisonInfo
) -> tuple[RankedArm, ...]:
    """Return the arms in the order of their ranks, with everything known of each."""
    by_name = {arm.name: arm for arm in arms}
    places = possible_places(compared)
    ranked = tuple(
        _ranked(by_name[result.name], result, places.get(result.name), info.metric)
        for result in compared.arms
    )
    if info.search is None:
        return ranked
    budgets = _by_budget(arms, info, ranked)
    return tuple(replace(arm, by_budget=budgets[arm.name]) for arm in ranked)


def _by_budget(
    arms: Sequence[ArmTrials], info: ComparisonInfo, ranked: Sequence[RankedArm]
) -> dict[str, tuple[BudgetResult, ...]]:
    """Return what each arm scores with smaller budgets, and with the whole one.

    Nothing is known of a smaller one before all arms have chosen.
    """
    results: dict[str, list[BudgetResult]] = {arm.name: [] for arm in arms}
    *smaller, whole = info.search.budgets if info.search else (0,)
    if all(arm.state.earlier for arm in arms):
        for place, settings in enumerate(smaller):
            at_budget = [arm.at_budget(place) for arm in arms]
            places = possible_places(compare_results(at_budget, info))
            for arm in at_budget:
                chosen = arm.state.chosen
                results[arm.name].append(
                    BudgetResult(
                        settings=settings,
                        setting=chosen.setting if chosen else (),
                        test_score=summarise_scores(
                            arm.test_scores(len(arm.measuring)), info.metric.bounds
                        ),
                        val_score=arm.validation(info.metric),
                        places=places.get(arm.name),
                    )
                )
    for one in ranked:
        results[one.name].append(
            BudgetResult(whole, one.setting, one.test_score, one.val_score, one.places)
        )
    return {name: tuple(found) for name, found in results.items()}


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
    """Return the state of everything that is tried with an arm."""
    return tuple(_cell(candidate, trials) for candidate, trials in _by_candidate(arm).items())


def grid_results(arms: Sequence[ArmTrials]) -> tuple[GridResult, ...]:
    """Return everything that was tried, by arm."""
    return tuple(
        GridResult(
            arm=arm.name,
            optimizer=arm.state.arm.optimizer,
            learning_rate=candidate.learning_rate,
            val_score=mean([_of_finished(trial, trial.val_score) for trial in trials]),
            status=_cell(candidate, trials).status,
            diverged=sum(trial.status == "diverged" for trial in trials),
            chosen=candidate == arm.state.chosen,
            setting=candidate.setting,
        )
        for arm in arms
        for candidate, trials in _by_candidate(arm).items()
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
    tuned = _by_candidate(arm)
    scores = {
        one: mean([_of_finished(trial, trial.val_score) for trial in trials])
        for one, trials in tuned.items()
    }
    chosen, searched = state.chosen, _search_sensitivity(arm, metric)
    return RankedArm(
        rank=placed.rank,
        places=places,
        name=arm.name,
        optimizer=state.arm.optimizer,
        learning_rate=math.nan if chosen is None else chosen.learning_rate,
        seeds=tuple(trial.seed for trial in measuring),
        test_score=placed.score,
        val_score=validation,
        measured=measured_of_arm(measuring),
        diverged=placed.diverged,
        missing=placed.missing,
        learning_rate_at_edge=state.at_edge and searched is None,
        selection=(
            Selection(arm.name, scores[chosen], validation, metric.direction)
            if arm.tuning and chosen is not None
            else None
        ),
        sensitivity=(
            _sensitivity(state.rates, list(scores.values()), metric)
            if arm.tuning and state.arm.search is None
            else None
        ),
        further=_further(measuring),
        setting=chosen.setting if chosen else (),
        setting_at_edge=_keys_at_edge(searched),
        search_sensitivity=searched,
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
    return learning_rate_sensitivity(rates, merits, _tolerance(metric, best))


def _tolerance(metric: Metric, best: float) -> float:
    """Return how much worse than the best merit is nearly as good."""
    return _POINT if metric.is_accuracy else _PART * abs(best)


def _by_candidate(arm: ArmTrials) -> dict[Candidate, list[TrialResult]]:
    trials: dict[Candidate, list[TrialResult]] = {one: [] for one in arm.state.candidates}
    for trial in arm.tuning:
        trials[Candidate(trial.learning_rate, trial.setting)].append(trial)
    return trials


def _search_sensitivity(arm: ArmTrials, metric: Metric) -> SearchSensitivity | None:
    """Return what each searched key decides; None without a search, or before it has ended."""
    search, state = arm.state.arm.search, arm.state
    if search is None or not state.tried or state.lacks:
        return None
    best = max((one.merit for one in state.tried if one.fraction == 1.0), default=math.nan)
    return key_sensitivity(search.ranges, state.tried, _tolerance(metric, best))


def _keys_at_edge(sensitivity: SearchSensitivity | None) -> tuple[str, ...]:
    """Return the searched keys that decide something and did best near an end of their range.

    Of any key, some setting is near an end: for one that decides nothing, that is chance.
    """
    if sensitivity is None:
        return ()
    return tuple(
        one.key
        for one in sensitivity.keys
        if not NEAR_AN_END <= one.best_position <= 1 - NEAR_AN_END
        and not math.isnan(one.best)
        and one.p_adjusted < LEVEL
    )


def _cell(candidate: Candidate, trials: Sequence[TrialResult]) -> GridCell:
    statuses = [trial.status for trial in trials]
    status: TrialStatus = "waiting"
    order: tuple[TrialStatus, ...] = ("diverged", "failed", "stopped", "running")
    if statuses and all(one == "finished" for one in statuses):
        status = "finished"
    elif found := next((one for one in order if one in statuses), None):
        status = found
    elif "finished" in statuses:
        status = "running"
    known = [trial.val_score for trial in trials if not math.isnan(trial.val_score)]
    return GridCell(candidate.learning_rate, status, mean(known), candidate.setting)


def _score(trial: TrialResult) -> float:
    return DIVERGED if trial.status == "diverged" else trial.test_score


def _of_finished(trial: TrialResult, value: float) -> float:
    return value if trial.status == "finished" else math.nan
