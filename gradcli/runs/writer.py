"""The only writer of a run directory."""

from __future__ import annotations

import json
import os
import pickle
import re
import secrets
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradcli.errors import OperatingSystemError, UserError
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    LayerRecord,
    ProbeRecord,
    Record,
    RunInfo,
    SetupRecord,
    Status,
    StepRecords,
)
from gradcli.runs.files import SCHEMA, plain, refuse_links, write_atomically, write_json
from gradcli.runs.step_log import STEPS_FILE, StepLog
from gradcli.system.locks import RunLock
from gradcli.system.naming import naming

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
LAYERS_FILE = "layers.json"
EVALS_FILE = "evals.jsonl"
PROBES_FILE = "probes.jsonl"
CHECKPOINTS = "checkpoints"
PLOTS = "plots"
#: The keys of `fault` in `run.json`; all others of a fault are in `fault_details`.
FIRST_FAULT_KEYS = ("step", "epoch", "phase", "layer", "loss", "batch")
#: What `run.json` keeps about each process that trained the run; the top level is the first's.
_PART = ("argv", "overrides")


def create_run_directory(runs_dir: Path, name: str) -> Path:
    """Create a new run directory that no other process uses, and return it.

    Raises:
        UserError: if `runs_dir` is a file.
        OperatingSystemError: if `runs_dir` cannot be written.
    """
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    directory = runs_dir / f"{time}-{name}-{secrets.token_hex(2)}"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        directory.mkdir(exist_ok=False)
    except FileExistsError:
        if not runs_dir.is_dir():
            raise UserError(
                f"{runs_dir} is a file, but the runs directory must be a folder.",
                where="--runs-dir",
            ) from None
        return create_run_directory(runs_dir, name)
    except OSError as error:
        raise OperatingSystemError(
            f"No run directory can be created in {runs_dir}: {error.strerror}.",
            where="--runs-dir, or GRADCLI_RUNS",
            hint="--runs-dir DIR, with a folder that you may write to",
        ) from None
    return directory


class RunWriter:
    """Writes one run: locks it, keeps its state and appends its records.

    Args:
        directory: an existing run directory.
        config: the resolved config as YAML.
        facts: about the process and the machine, for `run.json`.
        earlier: the content of `run.json` if the run is resumed.

    Raises:
        UserError: if another process is working in the directory, or it holds links to elsewhere.
    """

    def __init__(
        self,
        directory: Path,
        config: str,
        facts: dict[str, Any],
        earlier: dict[str, Any] | None = None,
    ) -> None:
        # Absolute: the user's own code may change the working directory during the run.
        self.directory = directory = directory.absolute()
        refuse_links(directory)
        try:
            self._lock = RunLock(directory)
        except BlockingIOError:
            raise UserError(
                f"Another process is working in {directory}.",
                hint="wait for it to end, or stop it with Ctrl-C",
            ) from None
        (directory / CHECKPOINTS).mkdir(exist_ok=True)
        write_atomically(directory / CONFIG_FILE, lambda file: file.write(config.encode()))
        self._parts, self._part = _parts_of(earlier), {key: facts.get(key, []) for key in _PART}
        first = {key: earlier[key] for key in _PART if earlier and key in earlier}
        self._state: dict[str, Any] = {
            "schema": SCHEMA,
            "run": directory.name,
            "started": _now(),
            **(earlier or {}),
            **facts,
            **first,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        self._state["schema"] = SCHEMA  # of what is written from here on, even into an older run
        if earlier is not None:
            self._state["resumed"] = [*earlier.get("resumed", []), _now()]
        self._log: StepLog | None = None
        self.set_status("running")

    def begin(self, info: RunInfo, log_bytes: dict[str, int]) -> None:
        """Describe the run and open its logs.

        Args:
            info: the header of the run.
            log_bytes: how much of each log to keep, as the resumed checkpoint says.
        """
        write_json(self.directory / LAYERS_FILE, [asdict(layer) for layer in info.layers])
        self._log = StepLog(self.directory, info.layers, log_bytes.get(STEPS_FILE, 0))
        for name in (EVALS_FILE, PROBES_FILE):
            with (self.directory / name).open("ab") as file:
                file.truncate(log_bytes.get(name, 0))
        described = asdict(info)
        del described["layers"]
        parts = [*self._parts, {**self._part, "start_step": info.start_step}]
        # An earlier result no longer holds once a run is resumed.
        self.set_status("running", info=described, result={}, parts=parts)

    def write(self, record: Record | ProbeRecord) -> None:
        """Append a record to its file."""
        match record:
            case StepRecords():
                assert self._log is not None, "begin() comes first"
                self._log.append(record)
            case EvalRecord():
                described = asdict(record)
                # In the file whose readers pass over kinds of lines that they do not know.
                if correct := described.pop("correct"):
                    at = {"step": record.step, "split": record.split}
                    self._append(PROBES_FILE, {"kind": "correct", **at, "bits": correct})
                self._append(EVALS_FILE, described)
            case LayerRecord():
                self._append(PROBES_FILE, {"kind": "layers", **_short(record)})
            case SetupRecord():
                self._append(PROBES_FILE, {"kind": "setup", **asdict(record)})
            case ProbeRecord():
                self._append(PROBES_FILE, {"kind": "probe", **asdict(record)})
            case FaultRecord():
                self.set_status("running", **_fault(record))

    def save_checkpoint(self, state: dict[str, Any], *, best: bool = False) -> None:
        """Save `last.pt`, and `best.pt` if `best` is true, after the logs are on the disk.

        The checkpoint holds the lengths of the logs, to which a resumed run cuts them.
        """
        import torch

        logs = [self.directory / name for name in (STEPS_FILE, EVALS_FILE, PROBES_FILE)]
        for log in logs:
            _sync(log)
        state = {**state, "log_bytes": {log.name: log.stat().st_size for log in logs}}
        for name in ("last.pt", "best.pt") if best else ("last.pt",):
            write_atomically(
                self.directory / CHECKPOINTS / name, lambda file: torch.save(state, file)
            )
        self.set_status("running")

    def save_fault_batch(self, inputs: Any, labels: Any) -> None:
        """Save the batch that produced the first non-finite value."""
        import torch

        write_atomically(
            self.directory / CHECKPOINTS / "fault.pt",
            lambda file: torch.save({"inputs": inputs, "labels": labels}, file),
        )

    def note(self, **facts: Any) -> None:
        """Keep `facts` for `run.json`; the next checkpoint or change of status writes them."""
        self._state |= facts

    def noted(self, name: str, default: Any = None) -> Any:
        """Return a fact that this process or an earlier one noted."""
        return self._state.get(name, default)

    def set_status(self, status: Status, **facts: Any) -> None:
        """Write `run.json`, with `facts` added."""
        self._state |= {**facts, "status": status, "heartbeat": _now()}
        write_json(self.directory / RUN_FILE, self._state)

    @property
    def plots(self) -> Path:
        """The directory for the pictures of the run; created if it is missing."""
        directory = self.directory / PLOTS
        directory.mkdir(exist_ok=True)
        return directory

    def close(self) -> None:
        """Close the logs and release the lock."""
        if self._log is not None:
            self._log.close()
        self._lock.release()

    def _append(self, name: str, value: dict[str, Any]) -> None:
        path = self.directory / name
        with naming(path), path.open("a") as file:
            file.write(json.dumps(plain(value), allow_nan=False) + "\n")


def _parts_of(earlier: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the parts of a run so far: one per process that trained, with its command."""
    if not earlier or "info" not in earlier:
        return []
    # Older runs, without parts, record the command of one process only.
    only = {**{key: earlier.get(key, []) for key in _PART}, "start_step": 0}
    return list(earlier.get("parts", [only]))


def load_checkpoint(directory: Path, name: str = "last") -> dict[str, Any] | None:
    """Load a checkpoint, which holds only tensors and plain values; None if there is none yet.

    Raises:
        UserError: if it holds anything else, which could run code.
    """
    import torch

    path = directory / CHECKPOINTS / f"{name}.pt"
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        problem = f"holds code, {code[1]}, and" if code else "holds something else,"
        raise UserError(
            f"{path} {problem} not only tensors and plain values. It was not loaded.",
            where=str(path),
        ) from None
    return state


def _fault(record: FaultRecord) -> dict[str, Any]:
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


def _short(record: LayerRecord) -> dict[str, Any]:
    """Return the record with nine digits per number: all that a float32 has."""
    return {
        name: [float(f"{value:.9g}") for value in values] if isinstance(values, tuple) else values
        for name, values in asdict(record).items()
    }


def _sync(path: Path) -> None:
    with naming(path), path.open("rb") as file:
        os.fsync(file.fileno())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
