"""The columns of a comparison: each is one entry that says how a number is computed and shown.

An entry computes its number from the run directory of a trial, and for an arm from the numbers of
its measuring trials. The closing table, the plain lines, `--json` and every export take the columns
from here, so that a new one is one `ReportedColumn`: in `COLUMNS` here, in the `COLUMNS` of a
package that the user names with `--allow-import`, or added with `add_column` by a program.

Accuracies and the learning rate are not here: the ranking and the verdicts depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any, Literal

import numpy as np

from gradcli.comparison.results import ComparisonSummary, RankedArm, TrialResult, TrialStatus
from gradcli.comparison.statistics import median_time, time_to_target
from gradcli.errors import UserError
from gradcli.records import (
    ACCURACY,
    EvalRecord,
    Floats,
    Metric,
    StepRecords,
    ValidationRecord,
    was_clipped,
)
from gradcli.runs import ComparisonDirectory
from gradcli.runs.export import Table, step_table_of_trials
from gradcli.runs.files import number

#: How a number is written: the names of functions in `notation.numbers`. `count` and `duration`
#: write an infinite one as `never`.
NumberStyle = Literal["score", "norm", "share", "count", "duration"]


@dataclass(frozen=True)
class TrialReadings:
    """What the run directory of a trial holds, for the columns to compute from."""

    steps: StepRecords | None
    """None if the trial never began."""
    evals: Sequence[EvalRecord]
    state: Mapping[str, Any]
    """What `run.json` says; empty if the trial never began."""
    target: float
    """The validation score to time; NaN for none."""
    metric: Metric = ACCURACY
    validations: Sequence[ValidationRecord] = ()
    """The validation scores by which the target is timed, in the order of the steps."""

    def evaluated(self, split: str) -> list[EvalRecord]:
        """Return the evaluations on a split."""
        return [one for one in self.evals if one.split == split]


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN if there are no values."""
    return math.fsum(values) / len(values) if values else math.nan


@dataclass(frozen=True)
class ReportedColumn:
    """A number that a comparison reports for every trial and every arm.

    It is always computed from the run directories, so stored comparisons have it too; it is
    written down nowhere.
    """

    key: str
    """Its key in `--json` and in exports, of trials and of arms."""
    of_trial: Callable[[TrialReadings], float]
    """Computes it for a trial, which may be running, have failed or not have begun; NaN if there
    is none."""
    style: NumberStyle
    title: str = ""
    """Its heading in the closing table; empty if it is not shown there. `{target}` stands for the
    score to time."""
    above: str = ""
    """The upper line of the heading."""
    rank: int = 9
    """The narrower the terminal, the fewer columns: the highest rank is left out first."""
    phrase: str = ""
    """What precedes it in a trial's plain line; empty to leave it out there."""
    of_arm: Callable[[Sequence[float]], float] = mean
    """Combines the numbers of an arm's measuring trials."""
    among: tuple[TrialStatus, ...] = ("finished",)
    """The trials that count for an arm."""

    @property
    def needs_target(self) -> bool:
        """Whether there is no such number without a score to time."""
        return "{target}" in self.title


def add_column(column: ReportedColumn) -> None:
    """Add a column for every comparison that this process shows or exports from now on.

    Adding the same column again changes nothing.

    Raises:
        UserError: if its key is taken.
    """
    if any(one is column for one in COLUMNS):
        return
    if column.key in {one.key for one in COLUMNS} | _TAKEN:
        raise UserError(
            f"A comparison already reports '{column.key}'.", where=f"the column {column.key}"
        )
    COLUMNS.append(column)


def measured_of_trial(readings: TrialReadings) -> dict[str, float]:
    """Return the number of every column, by key."""
    return {column.key: float(column.of_trial(readings)) for column in COLUMNS}


def measured_of_arm(trials: Sequence[TrialResult]) -> dict[str, float]:
    """Return the number of every column, by key, from an arm's measuring trials."""
    return {
        column.key: column.of_arm(
            [one.measured[column.key] for one in trials if one.status in column.among]
        )
        for column in COLUMNS
    }


def clipped_fraction(coefficients: Floats) -> float:
    """Return the share of steps whose gradient was clipped; NaN without any step."""
    return float(np.mean(was_clipped(coefficients))) if len(coefficients) else math.nan


def _train_loss(readings: TrialReadings) -> float:
    losses = [one.train_loss for one in readings.evals if not math.isnan(one.train_loss)]
    return losses[-1] if losses else math.nan


def _steps_to_target(readings: TrialReadings) -> float:
    return _time_to_target(readings, [one.step for one in readings.validations])


def _seconds_to_target(readings: TrialReadings) -> float:
    return _time_to_target(readings, [one.seconds_train for one in readings.validations])


def _time_to_target(readings: TrialReadings, times: Sequence[float]) -> float:
    diverged = readings.state.get("status") == "diverged"
    scores = [math.nan if diverged else one.score for one in readings.validations]
    return time_to_target(times, scores, readings.target, readings.metric.direction)


def _grad_norm(readings: TrialReadings) -> float:
    if readings.steps is None or not len(readings.steps):
        return math.nan
    return float(np.mean(readings.steps.grad_norm_before_clip, dtype=np.float64))


def _clipped_fraction(readings: TrialReadings) -> float:
    return math.nan if readings.steps is None else clipped_fraction(readings.steps.clip_coefficient)


def _steps_per_second(readings: TrialReadings) -> float:
    steps = number(readings.state.get("progress", {}).get("steps", 0))
    seconds = number(readings.state.get("seconds_train", math.nan))
    return steps / seconds if seconds else math.nan


#: The trials that are timed. One that diverged never reaches the target: it counts for the medians,
#: and for no mean.
TIMED: tuple[TrialStatus, ...] = ("finished", "diverged")

COLUMNS = [
    ReportedColumn(
        "train_loss", _train_loss, "score", "loss", above="train", rank=7, phrase="train loss"
    ),
    ReportedColumn(
        "steps_to_target",
        _steps_to_target,
        "count",
        "to {target}",
        above="steps",
        rank=4,
        of_arm=median_time,
        among=TIMED,
    ),
    ReportedColumn(
        "seconds_to_target",  # in training steps alone, on a machine shared with other trials
        _seconds_to_target,
        "duration",
        "to {target}",
        above="time",
        rank=6,
        of_arm=median_time,
        among=TIMED,
    ),
    ReportedColumn(
        "grad_norm", _grad_norm, "norm", "norm", above="gradient", rank=5, phrase="grad norm"
    ),
    ReportedColumn(
        "clipped_fraction",
        _clipped_fraction,
        "share",
        "clipped",
        above="steps",
        rank=8,
        phrase="clipped",
    ),
    ReportedColumn("steps_per_second", _steps_per_second, "norm"),
]
#: The other keys of a trial and of an arm in `--json`.
_TAKEN = {
    *(one.name for cls in (TrialResult, RankedArm) for one in fields(cls)),
    *("arm", "lr", "lr_at_edge", "lr_sensitivity"),
    *("val", "test", "val_accuracy", "test_accuracy", "metrics"),
}


# Exports -----------------------------------------------------------------------------------

#: The columns that identify a trial, as `--json` names them.
_IDENTIFYING = {
    "trial": "id",
    "arm": "arm",
    "optimizer": "optimizer",
    "lr": "learning_rate",
    "seed": "seed",
    "stage": "stage",
}
#: The types of `Table.numbers`, by the annotations of `TrialResult`.
_KEPT_AS: dict[Any, str] = {"int": "int64", "float": "float64"}
_NOT_RESULTS = {*_IDENTIFYING.values(), "measured", "example_scores", "further", "timed_on"}


def trials_table(summary: ComparisonSummary) -> Table:
    """Return one row per ended trial and arm: what identifies it, and its results."""
    metric = summary.info.metric.name
    names = [one.name for one in fields(TrialResult) if one.name not in _NOT_RESULTS]
    others = {name.replace("_score", f"_{metric}"): name for name in names}
    keys = [column.key for column in COLUMNS]
    further = dict.fromkeys(chain.from_iterable(map(_further, summary.trials)))
    rows = (
        {**_labels(trial), **_values(trial, others), **trial.measured, **_further(trial)}
        for trial in summary.trials
    )
    types = {one.name: _KEPT_AS[one.type] for one in fields(TrialResult) if one.type in _KEPT_AS}
    numbers = {
        **{column: types[name] for column, name in _IDENTIFYING.items() if name in types},
        **{column: types[name] for column, name in others.items() if name in types},
        **dict.fromkeys([*keys, *further], "float64"),
    }
    return Table((*_IDENTIFYING, *others, *keys, *further), rows, numbers)


def trial_steps_table(summary: ComparisonSummary, directory: ComparisonDirectory) -> Table:
    """Return the logged steps of all ended trials; one that arms share is there once."""
    trials = {trial.id: trial for trial in reversed(summary.trials)}
    found = [(_labels(one), directory.trial(one.id)) for one in reversed(trials.values())]
    return step_table_of_trials([(labels, run) for labels, run in found if run is not None])


def _labels(trial: TrialResult) -> dict[str, Any]:
    return {column: getattr(trial, name) for column, name in _IDENTIFYING.items()}


def _further(trial: TrialResult) -> dict[str, float]:
    """Return the scores by the further metrics, under `val_NAME` and `test_NAME`."""
    return {
        f"{split}_{one.metric.name}": score
        for one in trial.further
        for split, score in (("val", one.val), ("test", one.test))
    }


def _values(trial: TrialResult, columns: Mapping[str, str]) -> dict[str, Any]:
    values = asdict(trial)
    return {column: values[name] for column, name in columns.items()}
