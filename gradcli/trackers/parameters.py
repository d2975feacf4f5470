"""A run's config as hyperparameters, and its words as tags: values that every program takes."""

from __future__ import annotations

import json
from typing import Any

from gradcli.records import RunInfo, TrainSummary
from gradcli.trackers.tracker import TrackedRun

Parameter = bool | int | float | str
#: What only says where a run is followed.
_NOT_PARAMETERS = ("recorders", "track", "track_layers")


def settings_of(run: TrackedRun) -> dict[str, Any]:
    """Return the settings by the keys of overrides, with lists and tables as they are."""
    return {
        key: value
        for key, value in run.settings.items()
        if key.partition(".")[0] not in _NOT_PARAMETERS
    }


def as_parameters(run: TrackedRun) -> dict[str, Parameter]:
    """Return the settings for a program that takes numbers and texts: the others as JSON."""
    return {key: _plain(value) for key, value in settings_of(run).items()}


def _plain(value: Any) -> Parameter:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def results_of(info: RunInfo) -> tuple[str, ...]:
    """Return the names of the scalars that say how good a run is."""
    metric = "loss_metric" if info.metric.name == "loss" else info.metric.name
    return ("loss", "val_loss", f"val_{metric}", f"test_{metric}")


def tags_of(run: TrackedRun) -> list[str]:
    """Return the words to find a run by: what was trained, and what the user calls it."""
    info = run.info
    return list(
        dict.fromkeys(tag for tag in (info.data.name, info.model, info.optimizer, *run.tags) if tag)
    )


def codes_of(summary: TrainSummary) -> list[str]:
    """Return the codes of the findings, each once."""
    return list(dict.fromkeys(finding.code for finding in summary.findings))
