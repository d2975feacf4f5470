"""The only reader of run directories."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gradcli.errors import DamagedFileError, UserError
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
from gradcli.runs.checkpoints import LAST, PREVIOUS, checkpoint_paths
from gradcli.runs.directory import StateDirectory, newest_first
from gradcli.runs.files import RUN_FILE, number
from gradcli.runs.logs.log_blocks import EVALS_FILE, PROBES_FILE
from gradcli.runs.logs.log_lines import (
    eval_record,
    fingerprint_record,
    further_scores,
    layer_record,
    probe_record,
    scores_of_examples,
    setup_record,
    validation_record,
)
from gradcli.runs.logs.log_reader import LogReader
from gradcli.runs.logs.step_log import read_last_steps
from gradcli.runs.run_json import RunJson, fault_of, info_of
from gradcli.runs.stored import (
    MalformedError,
    decoded,
    read_text,
    reading,
    stored_metric,
)
from gradcli.runs.writer import CONFIG_FILE, LAYERS_FILE

if TYPE_CHECKING:
    import numpy as np

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
        with reading(path):
            return _layers(path.read_bytes())

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
            return info_of(self.state, self.layers)

    @cached_property
    def steps(self) -> StepRecords:
        """All logged steps, as columns; those that are damaged are left out."""
        return self._logs.steps(len(self._parameters))

    def last_steps(self, count: int) -> StepRecords:
        """Return a copy of the last logged steps; safe while the run is being written."""
        return read_last_steps(self.path, len(self._parameters), count)

    @cached_property
    def evals(self) -> tuple[EvalRecord, ...]:
        """All evaluations."""
        of_examples = dict(self._logs.records(PROBES_FILE, scores_of_examples, kind="correct"))
        further = dict(self._logs.records(PROBES_FILE, further_scores, kind="scores"))
        return tuple(
            replace(
                one,
                example_scores=of_examples.get((one.step, one.split), ""),
                further_scores=further.get((one.step, one.split), {}),
            )
            for one in self._logs.records(EVALS_FILE, eval_record)
        )

    @cached_property
    def layer_records(self) -> tuple[LayerRecord, ...]:
        """The measurements of each layer, made every `monitor.every` steps."""
        layers = len(self.layers)
        return tuple(
            self._logs.records(PROBES_FILE, lambda line: layer_record(line, layers), kind="layers")
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
        return self._logs.records(
            PROBES_FILE, lambda line: setup_record(line, layers), kind="setup"
        )

    @cached_property
    def fingerprints(self) -> tuple[FingerprintRecord, ...]:
        """What the observed steps were computed of; empty in runs from before it was recorded."""
        layers, parameters = len(self.layers), len(self._parameters)
        return tuple(
            self._logs.records(
                PROBES_FILE,
                lambda line: fingerprint_record(line, layers, parameters),
                kind="fingerprints",
            )
        )

    @cached_property
    def probe_records(self) -> tuple[ProbeRecord, ...]:
        """The results of the probes of `monitor.probes`, in the order in which they ran."""
        return tuple(self._logs.records(PROBES_FILE, probe_record, kind="probe"))

    @cached_property
    def validations(self) -> tuple[ValidationRecord, ...]:
        """The validation scores within epochs, in the order of the steps."""
        return tuple(self._logs.records(PROBES_FILE, validation_record, kind="validation"))

    @cached_property
    def fault(self) -> FaultRecord | None:
        """The first non-finite value; None if there was none."""
        with reading(self.path / RUN_FILE):
            return fault_of(self.state)

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
            self._logs.name_damage(error)
        return tuple(self._logs.found_damage)

    @property
    def is_whole(self) -> bool:
        """Whether its records are as they were written.

        The same as having no `damage`, at a fraction of the cost when all checksums match. Damage
        is given as warnings.
        """
        with suppress(DamagedFileError):
            if "info" in self.state:
                _ = self.info, self.fault
            _ = self.steps
            if self._logs.match_checksums():
                return True
        return not self.damage

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from, or to probe; it may be damaged."""
        return any(path.name in (LAST, PREVIOUS) for path in checkpoint_paths(self.path))

    def columns(self, rows: slice = slice(None)) -> dict[str, np.ndarray[Any, Any]]:
        """Return every number that is recorded per step as a NumPy array.

        Keys: `step`, `epoch`, `loss`, `learning_rate`, `grad_norm_before_clip`,
        `grad_norm_after_clip`, `clip_coefficient`, and for every layer and every parameter
        `grad_norm_before_clip/NAME` and `grad_norm_after_clip/NAME`.

        Args:
            rows: which steps; the columns of all steps of a long run take much memory.
        """
        import numpy as np

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
            tags=self.labels.tags,
            note=self.labels.note,
        )

    @property
    def _parameters(self) -> list[ParameterInfo]:
        return [parameter for layer in self.layers for parameter in layer.parameters]

    @cached_property
    def _logs(self) -> LogReader:
        return LogReader(self.path)


@lru_cache(maxsize=64)
def _layers(content: bytes) -> tuple[LayerInfo, ...]:
    """Decode `layers.json`; the trials of a comparison have few different ones.

    Raises:
        ValueError: if it holds anything else than layers.
    """
    layers: tuple[LayerInfo, ...] = decoded(tuple[LayerInfo, ...], json.loads(content))
    if any(not layer.parameters for layer in layers):
        raise MalformedError("has a layer without parameters")
    return layers


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
