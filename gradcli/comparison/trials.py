"""From the run directory of a trial to its outcome, its result and its progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradcli.comparison.columns import TrialReadings, measured_of_trial
from gradcli.comparison.live import SERIES, RunningTrial
from gradcli.comparison.protocol import Outcome, Trial
from gradcli.comparison.results import TrialResult, TrialStatus
from gradcli.records import (
    EvalRecord,
    ExampleScores,
    Floats,
    Metric,
    MetricScores,
    ValidationRecord,
    last_score,
)
from gradcli.runs import Run
from gradcli.runs.files import number

# A running trial is read many times: only this many of its last steps are.
RECENT_STEPS = 2000


def outcome(run: Run | None) -> Outcome:
    """Return what the protocol needs to know of a trial.

    One whose process is gone, one that failed and one that ended but is damaged since count as
    not begun: they are retried. `gave_up` makes them failures.
    """
    if run is None or (run.status in ("finished", "diverged") and not run.is_whole):
        return Outcome("waiting")
    rungs = _rungs(run)
    match run.status:
        case "finished":
            merit = _merit(run, last_score(run.evals, "val"))
            return Outcome("finished", merit, rungs, _early(run))
        case "diverged":
            return Outcome("diverged", rungs=rungs)
        case "running":
            return Outcome("running", rungs=rungs)
        case _:
            return Outcome("waiting", rungs=rungs)


def gave_up(outcome: Outcome) -> Outcome:
    """Return the outcome of a trial that is not retried."""
    return replace(outcome, status="failed")


def result(
    trial: Trial,
    run: Run | None,
    *,
    arm: str,
    optimizer: str,
    path: str,
    status: TrialStatus,
    target: float,
    metric: Metric,
    problem: str = "",
) -> TrialResult:
    """Read the result of a trial.

    Args:
        trial: which trial.
        run: its run; None if it never began.
        arm: the arm that it is read for: arms with equal configs share a trial.
        optimizer: of that arm.
        path: the run directory, as the user would type it.
        status: as the protocol sees it.
        target: the validation score to time.
        metric: of the scores.
        problem: how the engine says that its process died.
    """
    state = {} if run is None else run.state
    steps = number(state.get("progress", {}).get("steps", 0))
    measured = run is not None and bool(run.layers)
    evals = run.evals if run is not None else ()
    finished = status == "finished"
    tested = finished and trial.stage != "tuning"
    timed = validations(run) if run is not None and measured else []
    val_score = last_score(evals, "val") if finished else math.nan
    if status == "stopped" and (noted := state.get("rungs")):
        val_score = number(noted[max(noted, key=int)])
    return TrialResult(
        id=trial.id,
        arm=arm,
        optimizer=optimizer,
        learning_rate=trial.learning_rate,
        seed=trial.seed,
        stage=trial.stage,
        status=status,
        run=path,
        steps=int(steps),
        val_score=val_score,
        test_score=last_score(evals, "test") if tested else math.nan,
        measured=measured_of_trial(
            TrialReadings(
                steps=run.steps if run and measured else None,
                evals=evals,
                state=state,
                target=target,
                metric=metric,
                validations=timed,
            )
        ),
        seconds=number(state.get("seconds_total", math.nan)),
        error=_error(run, problem) if status == "failed" else "",
        example_scores=(
            _example_scores(evals, run.info.data.test) if tested and run is not None else None
        ),
        further=() if run is None or not measured else _further(run, finished, tested),
        setting=trial.setting,
        timed_on=timed[0].examples if timed else 0,
    )


@dataclass(frozen=True)
class TrialSnapshot:
    """A running trial, and its latest steps."""

    trial: RunningTrial
    losses: Floats
    grad_norms: Floats
    clip_coefficients: Floats
    steps_per_second: float
    """NaN until known."""


def snapshot(trial: Trial, run: Run, *, until: int | None, seconds: float) -> TrialSnapshot:
    """Read the progress of a running trial.

    Args:
        trial: which trial.
        run: its run, read afresh.
        until: the step at which it pauses; None is its end.
        seconds: since it was first seen running.
    """
    info = run.state.get("info", {})
    total = until or info.get("total_steps", 0)
    steps = run.last_steps(RECENT_STEPS)
    step = int(steps.step[-1]) if len(steps) else 0
    made = step - info.get("start_step", 0)
    pace = made / seconds if made > 0 and seconds > 0 else math.nan
    return TrialSnapshot(
        RunningTrial(
            id=trial.id,
            arm=trial.arm,
            learning_rate=trial.learning_rate,
            seed=trial.seed,
            stage=trial.stage,
            step=step,
            total_steps=total,
            seconds_elapsed=seconds,
            seconds_left=(total - step) / pace,
            setting=trial.setting,
        ),
        losses=steps.loss,
        grad_norms=steps.grad_norm_before_clip,
        clip_coefficients=steps.clip_coefficient,
        steps_per_second=pace,
    )


def thinned(values: Floats) -> tuple[float, ...]:
    """Return at most `SERIES` of the values, evenly spread, the last one included."""
    count = min(SERIES, len(values))
    at: Sequence[int] = np.linspace(0, len(values) - 1, count).round().astype(int).tolist()
    return tuple(float(values[index]) for index in at)


def _rungs(run: Run) -> dict[int, float]:
    """Return the merit of the validation scores at which a trial paused, by step."""
    scores = run.state.get("rungs", {}).items()
    return {int(step): _merit(run, number(score)) for step, score in scores}


def _early(run: Run) -> float:
    """Return the best merit of evaluations up to the first one after two fifths of the steps."""
    evaluated = [one for one in run.evals if one.split == "val"]
    last = next((one.step for one in evaluated if 5 * one.step >= 2 * run.info.total_steps), 0)
    merits = [_merit(run, one.score) for one in evaluated if one.step <= last]
    return max((merit for merit in merits if not math.isnan(merit)), default=math.nan)


def validations(run: Run) -> list[ValidationRecord]:
    """Return the validation scores that time a target, all on the same examples.

    If a sample of a large split was scored within epochs, those of the whole split at the ends of
    epochs are left out: the sample may be easier, or harder.
    """
    size = run.info.data.val
    within = run.validations
    if any(one.examples < size for one in within):
        return list(within)
    at_ends = [
        ValidationRecord(one.step, size, one.score, one.seconds_train)
        for one in run.evals
        if one.split == "val"
    ]
    return sorted([*within, *at_ends], key=lambda one: one.step)


def _merit(run: Run, score: float) -> float:
    return run.info.metric.merit(score)


def _further(run: Run, finished: bool, tested: bool) -> tuple[MetricScores, ...]:
    """Return the scores by the further metrics of a trial that has ended."""
    return tuple(
        MetricScores(
            metric,
            val=last_score(run.evals, "val", metric.name) if finished else math.nan,
            test=last_score(run.evals, "test", metric.name) if tested else math.nan,
        )
        for metric in run.info.further_metrics
    )


def _example_scores(evals: Sequence[EvalRecord], examples: int) -> ExampleScores | None:
    """Return what each test example scored at the last evaluation; None if not recorded."""
    last = next((one for one in reversed(evals) if one.split == "test"), None)
    return None if last is None else last.scores_of_examples(examples)


def _error(run: Run | None, problem: str) -> str:
    state = {} if run is None else run.state
    told = state.get("user_error", {}).get("problem") or state.get("error")
    return problem or told or "its process ended without a message"
