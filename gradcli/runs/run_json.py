"""`run.json`: the keys that are read, and those that readers of older releases must not meet.

An earlier gradcli knows each key of `info` and of `fault`, or refuses the file. What was added to
them since is kept under keys of its own at the top level, which an earlier gradcli passes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final, Required, TypedDict

from gradcli.records import (
    DataInfo,
    FaultRecord,
    LayerInfo,
    LossLevels,
    Metric,
    RunInfo,
    Status,
)
from gradcli.runs.stored import decoded

#: The fields of `RunInfo` that are not kept in `info`, each with its key at the top level. One that
#: is as by default is not written.
_APART: Final = {
    "groups": "parameter_groups",
    "levels": "loss_levels",
    "further_metrics": "further_metrics",
    "accumulate": "accumulate",
    "augment": "augment",
    "input_scaling": "input_scaling",
    "loop_rates": "loop_rates",
}
_DEFAULTS: Final = {one.name: one.default for one in fields(RunInfo)}
#: The keys of `fault` in `run.json`; all others of a fault are in `fault_details`.
FIRST_FAULT_KEYS: Final = ("step", "epoch", "phase", "layer", "loss", "batch")


class _Header(TypedDict, total=False):
    """What is read of a run's `info` without the layers."""

    name: str
    data: DataInfo
    model: str
    optimizer: str
    total_steps: int
    start_step: int
    metric: Metric


class _Result(TypedDict, total=False):
    test: float
    test_accuracy: float
    findings: list[str]


class _Progress(TypedDict, total=False):
    steps: int
    epochs: int


class _Part(TypedDict, total=False):
    argv: list[str]
    overrides: list[str]
    start_step: int


class _UserError(TypedDict):
    problem: str
    where: str | None
    choices: list[str]
    hint: str | None


class _Git(TypedDict):
    commit: str
    dirty: bool


class RunJson(TypedDict, total=False):
    """The keys of `run.json` that are read."""

    status: Required[Status]
    started: Required[datetime]
    heartbeat: datetime
    info: _Header
    result: _Result
    progress: _Progress
    argv: list[str]
    overrides: list[str]
    parts: list[_Part]
    resumed: list[datetime]
    git: _Git | None
    versions: dict[str, str]
    platform: str
    host: str
    data_dir: str | None
    config_dir: str | None
    allow_import: list[str]
    phase_seconds: dict[str, float]
    seconds_first_step: float
    seconds_total: float
    seconds_train: float
    signal: int | None
    rungs: dict[int, float]
    error: str
    processes: int
    user_error: _UserError
    dropped_recorders: dict[str, str]
    fault: dict[str, Any]
    fault_details: dict[str, Any]
    parameter_groups: list[Any]
    loss_levels: LossLevels
    further_metrics: list[Any]
    accumulate: int
    augment: str
    input_scaling: str
    loop_rates: list[float]
    settings: dict[str, Any]


def info_facts(info: RunInfo, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `run.json` keeps of the header of a run, apart from its layers.

    Args:
        info: the header.
        known: the content of `run.json` so far. A key that is there is written anew, even if there
            is nothing to say now.
    """
    described = asdict(info)
    del described["layers"]
    apart = {key: (name, described.pop(name)) for name, key in _APART.items()}
    written = {
        key: value
        for key, (name, value) in apart.items()
        if getattr(info, name) != _DEFAULTS[name] or key in known
    }
    return {"info": described, **written}


def info_of(state: Mapping[str, Any], layers: tuple[LayerInfo, ...]) -> RunInfo:
    """Return the header of a run from the content of `run.json`.

    Raises:
        MalformedError: if that holds something else.
    """
    apart = {name: state[key] for name, key in _APART.items() if state.get(key) is not None}
    info: RunInfo = decoded(RunInfo, {**state["info"], "layers": layers, **apart})
    return info


def fault_facts(record: FaultRecord) -> dict[str, Any]:
    """Return what `run.json` keeps of a fault.

    `fault` has the keys and phases that gradcli knew first, and `fault_details` those added since,
    which earlier readers of schema 1 leave out.
    """
    whole = asdict(record)
    fault = {name: whole.pop(name) for name in FIRST_FAULT_KEYS}
    details = {**whole, "phase": fault["phase"], "step": fault["step"]}
    if record.phase in ("inputs", "parameters", "update"):
        fault["phase"] = "loss" if record.layer is None else "forward"
    elif record.layer is None:
        fault["phase"] = "loss"
    if record.phase == "update":
        fault["step"] += 1  # there the value was met
    return {"fault": fault, "fault_details": details}


def fault_of(state: Mapping[str, Any]) -> FaultRecord | None:
    """Return the first non-finite value of a run; None if there was none.

    Raises:
        MalformedError: if the content of `run.json` holds something else.
    """
    if state.get("fault") is None:
        return None
    fault: FaultRecord = decoded(FaultRecord, {**state["fault"], **state.get("fault_details", {})})
    return fault
