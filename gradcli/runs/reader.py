"""The only reader of run directories."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gradcli.errors import DamagedFileError, DamagedFileWarning, UserError
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    FingerprintRecord,
    LayerInfo,
    LayerRecord,
    ParameterInfo,
    ProbeRecord,
    RunInfo,
    RunRow,
    SetupRecord,
    StepRecords,
    ValidationRecord,
    norm_by_layer,
)
from gradcli.runs.directory import StateDirectory, newest_first
from gradcli.runs.files import number, restored
from gradcli.runs.logs import (
    EVALS_FILE,
    PROBES_FILE,
    STEPS_FILE,
    damaged_ranges,
    unchecked_end,
    undamaged,
)
from gradcli.runs.logs import described as described_ranges
from gradcli.runs.step_log import read_last_steps, read_steps
from gradcli.runs.stored import (
    MalformedError,
    damaged,
    decoded,
    read_json,
    read_text,
    reading,
    stored_metric,
)
from gradcli.runs.writer import CONFIG_FILE, LAYERS_FILE, RUN_FILE, RunJson

_Record = TypeVar("_Record")


class Run(StateDirectory):
    """A run on disk, in whatever state its process left it."""

    state_file = RUN_FILE
    state_type = RunJson

    @property
    def config(self) -> str:
        """The resolved config as YAML."""
        return read_text(self.path / CONFIG_FILE)

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
        if not os.path.lexists(path):
            return ()
        described = read_json(path)
        with reading(path):
            layers: tuple[LayerInfo, ...] = decoded(tuple[LayerInfo, ...], described)
            if any(not layer.parameters for layer in layers):
                raise MalformedError("has a layer without parameters")
        return layers

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
        with reading(self.path / RUN_FILE):
            apart = {
                "layers": self.layers,
                "groups": self.state.get("parameter_groups", []),
                "levels": self.state.get("loss_levels", {}),
                "further_metrics": self.state.get("further_metrics", []),
                "accumulate": self.state.get("accumulate", 1),
                "augment": self.state.get("augment", ""),
                "input_scaling": self.state.get("input_scaling", ""),
            }
            info: RunInfo = decoded(RunInfo, {**self.state["info"], **apart})
        return info

    @cached_property
    def steps(self) -> StepRecords:
        """All logged steps, as columns; those that are damaged are left out."""
        ranges = self._left_out(STEPS_FILE)
        return read_steps(self.path, len(self._parameters), without=ranges)

    def last_steps(self, count: int) -> StepRecords:
        """Return a copy of the last logged steps; safe while the run is being written."""
        return read_last_steps(self.path, len(self._parameters), count)

    @cached_property
    def evals(self) -> tuple[EvalRecord, ...]:
        """All evaluations."""
        of_examples = dict(self._records(PROBES_FILE, _scores_of_examples, kind="correct"))
        further = dict(self._records(PROBES_FILE, _further_scores, kind="scores"))
        return tuple(
            replace(
                one,
                example_scores=of_examples.get((one.step, one.split), ""),
                further_scores=further.get((one.step, one.split), {}),
            )
            for one in self._records(EVALS_FILE, _eval_record)
        )

    @cached_property
    def layer_records(self) -> tuple[LayerRecord, ...]:
        """The measurements of each layer, made every `monitor.every` steps."""
        layers = len(self.layers)
        return tuple(
            self._records(PROBES_FILE, lambda line: _layer_record(line, layers), kind="layers")
        )

    @cached_property
    def setup(self) -> SetupRecord | None:
        """How the training was set up, as last observed; None if it was not."""
        return self._setups[-1] if self._setups else None

    @cached_property
    def first_setup(self) -> SetupRecord | None:
        """How the training was set up at its first step; None if it was not observed."""
        return self._setups[0] if self._setups else None

    @cached_property
    def setups(self) -> tuple[SetupRecord, ...]:
        """How the training was set up at each step in which that was observed."""
        return tuple(self._setups)

    @cached_property
    def _setups(self) -> list[SetupRecord]:
        layers = len(self.layers)
        return self._records(PROBES_FILE, lambda line: _setup_record(line, layers), kind="setup")

    @cached_property
    def fingerprints(self) -> tuple[FingerprintRecord, ...]:
        """What the observed steps were computed of; empty in runs from before it was recorded."""
        layers, parameters = len(self.layers), len(self._parameters)
        return tuple(
            self._records(
                PROBES_FILE,
                lambda line: _fingerprint_record(line, layers, parameters),
                kind="fingerprints",
            )
        )

    @cached_property
    def probe_records(self) -> tuple[ProbeRecord, ...]:
        """The results of the probes of `monitor.probes`, in the order in which they ran."""
        return tuple(self._records(PROBES_FILE, _probe_record, kind="probe"))

    @cached_property
    def validations(self) -> tuple[ValidationRecord, ...]:
        """The validation scores within epochs, in the order of the steps."""
        return tuple(self._records(PROBES_FILE, _validation_record, kind="validation"))

    @cached_property
    def fault(self) -> FaultRecord | None:
        """The first non-finite value; None if there was none."""
        described = self.state.get("fault")
        if described is None:
            return None
        with reading(self.path / RUN_FILE):
            whole = {**described, **self.state.get("fault_details", {})}
            fault: FaultRecord = decoded(FaultRecord, whole)
        return fault

    @property
    def damage(self) -> tuple[str, ...]:
        """What is wrong with the files that hold its records, in sentences; empty if nothing is.

        It is also given as warnings.
        """
        try:
            if "info" in self.state:
                _ = self.info, self.fault
            _ = self.steps, self.evals, self.layer_records, self._setups, self.probe_records
            _ = self.validations, self.fingerprints
        except DamagedFileError as error:
            self._name_damage(error)
        return tuple(self._found_damage)

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
            test_score=number(result.get("test", result.get("test_accuracy", "nan"))),
            findings=tuple(code for code in result.get("findings", ()) if code != "healthy"),
            metric=stored_metric(info),
        )

    @property
    def _parameters(self) -> list[ParameterInfo]:
        return [parameter for layer in self.layers for parameter in layer.parameters]

    @cached_property
    def _found_damage(self) -> list[str]:
        """What was found to be wrong with the logs so far."""
        return []

    def _name_damage(self, error: DamagedFileError) -> None:
        """Say that a file is damaged, once; what can be read of it is used."""
        if error.problem not in self._found_damage:
            self._found_damage.append(error.problem)
            warnings.warn(error.problem, DamagedFileWarning, stacklevel=3)

    def _left_out(self, name: str) -> list[range]:
        """Return the parts of a log that do not count; say so of those that are damaged."""
        try:
            ranges = damaged_ranges(self.path, name)
            end = unchecked_end(self.path, name)
        except DamagedFileError as error:
            self._name_damage(error)
            return []
        if ranges:
            self._name_damage(damaged(self.path / name, described_ranges(ranges)))
        return [*ranges, end] if end else ranges

    def _records(
        self, name: str, record: Callable[[Any], _Record], kind: str | None = None
    ) -> list[_Record]:
        """Return the records that the lines of a log hold, or only the lines of a `kind`.

        An incomplete last line is left out, as is what is damaged, which is said.

        Args:
            name: of the log.
            record: makes a record of a line, or raises `MalformedError`.
            kind: what the lines begin with.
        """
        path, records = self.path / name, []
        for line in self._lines(name, b"" if kind is None else b'{"kind": "%b"' % kind.encode()):
            try:
                with reading(path):
                    records.append(record(line))
            except DamagedFileError as error:
                self._name_damage(error)
        return records

    def _lines(self, name: str, beginning: bytes) -> Iterable[Any]:
        """Return the JSON lines of a log that begin with these bytes."""
        path = self.path / name
        if not os.path.lexists(path):
            return []
        try:
            with reading(path):
                data = path.read_bytes()
        except DamagedFileError as error:
            self._name_damage(error)
            return []
        *whole, _ = undamaged(data, self._left_out(name)).split(b"\n")
        whole = [line for line in whole if line.startswith(beginning)]
        try:
            lines: list[Any] = json.loads(b"[%b]" % b",".join(whole))  # one call, not thousands
        except (ValueError, RecursionError):
            return self._readable(path, whole)
        return lines

    def _readable(self, path: Path, lines: list[bytes]) -> list[Any]:
        """Return those lines that are JSON, and say that there are others."""
        values = []
        for line in lines:
            try:
                with reading(path):
                    values.append(json.loads(line))
            except DamagedFileError as error:
                self._name_damage(error)
        return values


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory."""
    return os.path.lexists(path / RUN_FILE)


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


def _eval_record(line: Any) -> EvalRecord:
    """Return an evaluation; schema 1 knew no metric but the accuracy."""
    described = decoded(dict[str, Any], line)
    if "accuracy" in described:
        described["score"] = described.pop("accuracy")
    record: EvalRecord = decoded(EvalRecord, described)
    return record


def _scores_of_examples(line: Any) -> tuple[tuple[int, str], str]:
    """Return the scores of the examples, by the step and the split."""
    return _place(line), decoded(str, line.get("bits"), "bits")


def _further_scores(line: Any) -> tuple[tuple[int, str], dict[str, float]]:
    """Return the scores by the further metrics, by the step and the split."""
    return _place(line), decoded(dict[str, float], line.get("scores"), "scores")


def _place(line: Any) -> tuple[int, str]:
    """Return the step and the split of an evaluation."""
    kept = decoded(dict[str, Any], line)
    return decoded(int, kept.get("step"), "step"), decoded(str, kept.get("split"), "split")


def _layer_record(line: Any, layers: int) -> LayerRecord:
    record: LayerRecord = decoded(LayerRecord, _without_kind(line))
    columns = (record.weight_norm, record.update_ratio, record.input_grad_norm)
    if any(len(column) != layers for column in columns):
        raise MalformedError(f"has a record of layers that are not the {layers} of the run")
    return record


def _fingerprint_record(line: Any, layers: int, parameters: int) -> FingerprintRecord:
    record: FingerprintRecord = decoded(FingerprintRecord, _without_kind(line))
    of_layers = record.layer_inputs, record.layer_outputs, record.output_types
    lengths = {len(record.output_samples), *map(len, of_layers)}
    if lengths != {layers} or len(record.weights) != parameters:
        raise MalformedError("has fingerprints of layers that are not those of the run")
    if not set(record.order) <= set(range(layers)):
        raise MalformedError("has an order of layers that the model does not have")
    return record


def _probe_record(line: Any) -> ProbeRecord:
    record: ProbeRecord = decoded(ProbeRecord, _without_kind(line))
    return replace(record, result=restored(record.result))


def _validation_record(line: Any) -> ValidationRecord:
    record: ValidationRecord = decoded(ValidationRecord, _without_kind(line))
    return record


def _setup_record(line: Any, layers: int) -> SetupRecord:
    record: SetupRecord = decoded(SetupRecord, _without_kind(line))
    of_parameters = [*record.without_gradient]
    of_parameters += [at for group in record.groups for at in group.parameters]
    of_layers = [*record.call_order, *record.identical_units]
    of_layers += [*record.kept_elsewhere, *record.replaced]
    of_layers += [at for _, at in record.own_functions] + [at for at, _, _ in record.cut_off]
    if not set(of_parameters) <= set(range(len(record.requires_grad))):
        raise MalformedError("has a record of parameters that the model does not have")
    if not set(of_layers) <= set(range(-1, layers)):
        raise MalformedError("has a record of layers that the model does not have")
    return record


def _without_kind(line: Any) -> dict[str, Any]:
    return {key: value for key, value in decoded(dict[str, Any], line).items() if key != "kind"}
