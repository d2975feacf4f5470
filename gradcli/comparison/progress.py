"""How far a comparison is, from the states of its arms, its results and its running trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gradcli.comparison import summary
from gradcli.comparison.columns import clipped_fraction
from gradcli.comparison.live import ArmProgress, ComparisonProgress
from gradcli.comparison.results import ComparisonInfo, TrialResult
from gradcli.comparison.statistics import median_time, summarise_scores
from gradcli.comparison.summary import ArmTrials
from gradcli.comparison.trials import TrialSnapshot, thinned
from gradcli.records import Floats

#: The losses, gradient norms and clip coefficients of a trial, one per step, for sparklines.
Curve = tuple[Floats, Floats, Floats]

_DONE = ("finished", "diverged", "stopped", "failed")


def progress(
    arms: Sequence[ArmTrials],
    info: ComparisonInfo,
    snapshots: Sequence[TrialSnapshot],
    curves: Mapping[str, Curve],
    *,
    seconds_elapsed: float,
) -> ComparisonProgress:
    """Return the state of a comparison at this moment.

    Args:
        arms: their states and results.
        info: the header of the comparison.
        snapshots: the trials that run now.
        curves: by arm, those of the trial that ended last.
        seconds_elapsed: since this call of the comparison began.
    """
    leader = summary.leader(summary.compare_results(arms, info)) if _is_measured(arms) else None
    seconds = _seconds_of_a_trial(arms)
    running = tuple(snapshot.trial for snapshot in snapshots)
    rows = tuple(
        _arm(
            arm,
            [snapshot for snapshot in snapshots if snapshot.trial.arm == arm.name],
            curves.get(arm.name),
            leads=arm.name == leader,
            seconds=seconds / info.jobs,
            seeds=len(info.protocol.seeds),
        )
        for arm in arms
    )
    left = sum(row.seconds_left for row in rows)
    return ComparisonProgress(
        arms=rows,
        running=running,
        trials_done=sum(row.trials_done for row in rows),
        trials_total=sum(row.trials_total for row in rows),
        seconds_elapsed=seconds_elapsed,
        seconds_left=left,
        target_score=info.target_score,
    )


def _arm(
    arm: ArmTrials,
    snapshots: Sequence[TrialSnapshot],
    curve: Curve | None,
    *,
    leads: bool,
    seconds: float,
    seeds: int,
) -> ArmProgress:
    trials, chosen = arm.trials, arm.state.chosen
    ended = [trial for trial in arm.measuring if trial.status in ("finished", "diverged")]
    finished = [trial for trial in arm.measuring if trial.status == "finished"]
    done = sum(trial.status in _DONE for trial in trials)
    total = len(trials) + arm.unproposed
    if not arm.measuring and not arm.is_hopeless:
        total += seeds
    # A running trial is the latest one as soon as it has recorded a step.
    latest = next((snapshot for snapshot in reversed(snapshots) if len(snapshot.losses)), None)
    if latest is not None:
        curve = latest.losses, latest.grad_norms, latest.clip_coefficients
    speeds = [trial.measured["steps_per_second"] for trial in trials if trial.status == "finished"]
    speeds = speeds or [snapshot.steps_per_second for snapshot in snapshots]
    return ArmProgress(
        name=arm.name,
        stage=arm.state.stage,
        trials_done=done,
        trials_total=total,
        learning_rate=math.nan if chosen is None else chosen.learning_rate,
        setting=() if chosen is None else chosen.setting,
        grid=summary.grid(arm),
        losses=thinned(curve[0]) if curve else (),
        val_score=summarise_scores([trial.val_score for trial in finished]),
        test_score=summarise_scores([trial.test_score for trial in finished]),
        grad_norm=float(curve[1][-1]) if curve else math.nan,
        grad_norms=thinned(curve[1]) if curve else (),
        clipped_fraction=clipped_fraction(curve[2]) if curve else math.nan,
        steps_to_target=median_time([trial.measured["steps_to_target"] for trial in ended]),
        steps_per_second=math.fsum(speeds) / len(speeds) if speeds else math.nan,
        seconds_left=(total - done) * seconds if total > done else 0.0,
        diverged=sum(trial.status == "diverged" for trial in trials),
        failed=sum(trial.status == "failed" for trial in trials),
        leads=leads,
    )


def _is_measured(arms: Sequence[ArmTrials]) -> bool:
    """Whether there is anything to compare yet: statistics are costly, and progress is frequent."""
    return sum(any(_has_score(trial) for trial in arm.measuring) for arm in arms) > 1


def _has_score(trial: TrialResult) -> bool:
    return trial.status in ("finished", "diverged")


def _seconds_of_a_trial(arms: Sequence[ArmTrials]) -> float:
    """Return the mean time of the trials that have finished; NaN if none has."""
    times = [trial.seconds for arm in arms for trial in arm.trials if trial.status == "finished"]
    return math.fsum(times) / len(times) if times else math.nan
