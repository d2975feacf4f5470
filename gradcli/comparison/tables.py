"""A comparison's trials as tables to export: one row per trial, or one row per step of each."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from gradcli.comparison.columns import COLUMNS
from gradcli.comparison.results import ComparisonSummary, TrialResult
from gradcli.runs import ComparisonDirectory
from gradcli.runs.export import Table, step_table_of_trials

#: The columns that identify a trial, as `--json` names them.
_IDENTIFYING = {
    "trial": "id",
    "arm": "arm",
    "optimizer": "optimizer",
    "lr": "learning_rate",
    "seed": "seed",
    "stage": "stage",
}
_NOT_RESULTS = {*_IDENTIFYING.values(), "measured", "correct"}


def trials_table(summary: ComparisonSummary) -> Table:
    """Return one row per ended trial and arm: what identifies it, and its results."""
    others = [one.name for one in fields(TrialResult) if one.name not in _NOT_RESULTS]
    keys = [column.key for column in COLUMNS]
    rows = (
        {**_labels(trial), **_values(trial, others), **trial.measured} for trial in summary.trials
    )
    return Table((*_IDENTIFYING, *others, *keys), rows)


def trial_steps_table(summary: ComparisonSummary, directory: ComparisonDirectory) -> Table:
    """Return the logged steps of all ended trials; one that arms share is there once."""
    trials = {trial.id: trial for trial in reversed(summary.trials)}
    found = [(_labels(one), directory.trial(one.id)) for one in reversed(trials.values())]
    return step_table_of_trials([(labels, run) for labels, run in found if run is not None])


def _labels(trial: TrialResult) -> dict[str, Any]:
    return {column: getattr(trial, name) for column, name in _IDENTIFYING.items()}


def _values(trial: TrialResult, names: list[str]) -> dict[str, Any]:
    values = asdict(trial)
    return {name: values[name] for name in names}
