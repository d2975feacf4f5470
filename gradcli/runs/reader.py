"""The only reader of run directories."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gradcli.errors import UserError
from gradcli.records import (
    DataInfo,
    EvalRecord,
    FaultRecord,
    LayerInfo,
    LayerRecord,
    ParameterGroup,
    ParameterInfo,
    ProbeRecord,
    RunInfo,
    RunRow,
    SetupRecord,
    StepRecords,
    TensorRange,
    norm_by_layer,
)
from gradcli.runs.directory import StateDirectory, newest_first
from gradcli.runs.files import number, restored
from gradcli.runs.step_log import read_steps
from gradcli.runs.writer import CONFIG_FILE, EVALS_FILE, LAYERS_FILE, PROBES_FILE, RUN_FILE

_FLOATS = ("loss", "accuracy", "train_loss", "seconds", "seconds_train")
_PROBE_FLOATS = ("value", "low", "high", "limit", "seconds", "passes")


class Run(StateDirectory):
    """A run on disk, in whatever state its process left it."""

    state_file = RUN_FILE

    @property
    def config(self) -> str:
        """The resolved config as YAML."""
        return (self.path / CONFIG_FILE).read_text()

    @property
    def has_overrides(self) -> bool:
        """Whether its overrides are recorded; not those of a trial or of the user's own loop."""
        return "overrides" in self.state

    @property
    def overrides(self) -> list[str]:
        """The overrides that began the run, with which `gradcli train` repeats it."""
        overrides: list[str] = self.state.get("overrides", [])
        return overrides

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers; empty if the process ended before the model was built."""
        path = self.path / LAYERS_FILE
        described = json.loads(path.read_text()) if path.exists() else []
        return tuple(
            LayerInfo(
                layer["name"],
                layer["kind"],
                layer["depth"],
                tuple(
                    ParameterInfo(parameter["name"], tuple(parameter["shape"]))
                    for parameter in layer["parameters"]
                ),
            )
            for layer in described
        )

    @cached_property
    def info(self) -> RunInfo:
        """The header of the run.

        Raises:
            UserError: if the process ended before the model was built.
        """
        if "info" not in self.state:
            raise UserError(
                f"{self.path} holds no training: the run ended before its first step.",
                hint=f"gradcli train --resume {self.path}",
            )
        described = dict(self.state["info"])
        data = dict(described.pop("data"))
        data["shape"] = tuple(data["shape"])
        described["learning_rate"] = number(described["learning_rate"])
        return RunInfo(**described, data=DataInfo(**data), layers=self.layers)

    @cached_property
    def steps(self) -> StepRecords:
        """All logged steps, as columns that are mapped from the file."""
        return read_steps(self.path)

    def last_steps(self, count: int) -> StepRecords:
        """Return a copy of the last logged steps; safe while the run is being written."""
        return read_steps(self.path, last=count)

    @cached_property
    def evals(self) -> tuple[EvalRecord, ...]:
        """All evaluations."""
        correct = {
            (line["step"], line["split"]): line["bits"]
            for line in _lines(self.path / PROBES_FILE, kind="correct")
        }
        return tuple(
            EvalRecord(
                **{**line, **{name: number(line[name]) for name in _FLOATS}},
                correct=correct.get((line["step"], line["split"]), ""),
            )
            for line in _lines(self.path / EVALS_FILE)
        )

    @cached_property
    def layer_records(self) -> tuple[LayerRecord, ...]:
        """The measurements of each layer, made every `monitor.every` steps."""
        return tuple(
            LayerRecord(
                line["step"],
                *(
                    tuple(map(number, line[name]))
                    for name in ("weight_norm", "update_ratio", "input_grad_norm")
                ),
            )
            for line in _lines(self.path / PROBES_FILE, kind="layers")
        )

    @cached_property
    def setup(self) -> SetupRecord | None:
        """How the training was set up, as last observed; None if it was not."""
        return _setup_record(self._setups[-1]) if self._setups else None

    @cached_property
    def first_setup(self) -> SetupRecord | None:
        """How the training was set up at its first step; None if it was not observed."""
        return _setup_record(self._setups[0]) if self._setups else None

    @cached_property
    def setups(self) -> tuple[SetupRecord, ...]:
        """How the training was set up at each step in which that was observed."""
        return tuple(map(_setup_record, self._setups))

    @cached_property
    def _setups(self) -> list[dict[str, Any]]:
        return _lines(self.path / PROBES_FILE, kind="setup")

    @cached_property
    def probe_records(self) -> tuple[ProbeRecord, ...]:
        """The results of the probes of `monitor.probes`, in the order in which they ran."""
        return tuple(map(_probe_record, _lines(self.path / PROBES_FILE, kind="probe")))

    @cached_property
    def fault(self) -> FaultRecord | None:
        """The first non-finite value; None if there was none."""
        described = self.state.get("fault")
        if described is None:
            return None
        return FaultRecord(
            **{
                **described,
                "loss": number(described["loss"]),
                "batch": tuple(described["batch"]),
                **self.state.get("fault_details", {}),
            }
        )

    def columns(self, rows: slice = slice(None)) -> dict[str, np.ndarray[Any, Any]]:
        """Return every number that is recorded per step as a NumPy array.

        Keys: `step`, `epoch`, `loss`, `learning_rate`, `grad_norm_before_clip`,
        `grad_norm_after_clip`, `clip_coefficient`, and for every layer and every parameter
        `grad_norm_before_clip/NAME` and `grad_norm_after_clip/NAME`.

        Args:
            rows: which steps; the columns of all steps of a long run take much memory.
        """
        steps = self.steps
        columns: dict[str, np.ndarray[Any, Any]] = {
            name: np.asarray(getattr(steps, name)[rows])
            for name in ("step", "epoch", "loss", "learning_rate", "grad_norm_before_clip")
        }
        coefficient = np.asarray(steps.clip_coefficient[rows])
        columns["grad_norm_after_clip"] = columns["grad_norm_before_clip"] * coefficient
        columns["clip_coefficient"] = coefficient
        for side in ("before", "after"):
            norms = getattr(steps, f"parameter_grad_norm_{side}_clip")[rows]
            of_layers = norm_by_layer(norms, self.layers) if self.layers else norms
            for index, layer in enumerate(self.layers):
                columns[f"grad_norm_{side}_clip/{layer.name}"] = of_layers[:, index]
            for index, parameter in enumerate(self._parameters):
                columns[f"grad_norm_{side}_clip/{parameter.name}"] = np.asarray(norms[:, index])
        return columns

    def row(self) -> RunRow:
        """The row of the run in the list of runs; read from `run.json` alone."""
        state = self.state
        info, result = state.get("info", {}), state.get("result", {})
        return RunRow(
            run=self.name,
            name=info.get("name", ""),
            status=self.status,
            when=datetime.fromisoformat(state["started"]).astimezone().strftime("%Y-%m-%d %H:%M"),
            data=info.get("data", {}).get("name", ""),
            model=info.get("model", ""),
            optimizer=info.get("optimizer", ""),
            epochs=state.get("progress", {}).get("epochs", 0),
            test_accuracy=number(result.get("test_accuracy", "nan")),
            findings=tuple(code for code in result.get("findings", ()) if code != "healthy"),
        )

    @property
    def _parameters(self) -> list[ParameterInfo]:
        return [parameter for layer in self.layers for parameter in layer.parameters]


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory."""
    return (path / RUN_FILE).is_file()


def load_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        UserError: if `path` is not one, or a newer gradcli wrote it.
    """
    directory = Path(path)
    if not is_run(directory):
        raise UserError(
            f"{directory} is not a run directory: it has no {RUN_FILE}.",
            hint="gradcli runs list",
        )
    return Run(directory).opened()


def list_runs(runs_dir: Path) -> list[Run]:
    """Return the runs in `runs_dir`, newest first."""
    return [Run(path) for path in newest_first(runs_dir) if is_run(path)]


def _probe_record(line: dict[str, Any]) -> ProbeRecord:
    """Return the record that a line of `probes.jsonl` holds."""
    values = {key: value for key, value in line.items() if key != "kind"}
    numbers = {name: number(line[name]) for name in _PROBE_FLOATS}
    return ProbeRecord(**{**values, **numbers, "result": restored(line["result"])})


def _setup_record(line: dict[str, Any]) -> SetupRecord:
    """Return the record that a line of `probes.jsonl` holds."""
    values = restored({key: value for key, value in line.items() if key != "kind"})
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    groups = [{**group, "parameters": tuple(group["parameters"])} for group in values["groups"]]
    for name in ("own_functions", "cut_off"):
        values[name] = tuple(map(tuple, values.get(name, ())))
    for name in ("inputs", "outputs"):
        if values[name] is not None:
            values[name] = TensorRange(**{**values[name], "shape": tuple(values[name]["shape"])})
    return SetupRecord(**{**values, "groups": tuple(ParameterGroup(**group) for group in groups)})


def _lines(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the JSON lines of a file, or only those that begin with a `kind`.

    An incomplete last line is left out.
    """
    if not path.exists():
        return []
    beginning = "" if kind is None else f'{{"kind": "{kind}"'
    *whole, _ = path.read_text().split("\n")
    whole = [line for line in whole if line.startswith(beginning)]
    lines: list[dict[str, Any]] = json.loads(f"[{','.join(whole)}]")  # one call, not thousands
    return lines
