"""The only writer of a run directory."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradcli.errors import OperatingSystemError, UserError
from gradcli.records import (
    FaultRecord,
    Record,
    RunInfo,
    Status,
    StepRecords,
    ValidationRecord,
)
from gradcli.runs.checkpoints import (
    BEST,
    CHECKPOINTS,
    FAULT,
    KEPT,
    LAST,
    PREVIOUS,
    drop_checkpoints,
    save_checkpoint,
)
from gradcli.runs.directory import claim
from gradcli.runs.files import RUN_FILE, SCHEMA, plain, sync_names, write_atomically, write_json
from gradcli.runs.logs.log_blocks import CHECKSUMS_FILE, LOGS, STEPS_FILE, Logs
from gradcli.runs.logs.log_lines import lines_of
from gradcli.runs.logs.step_log import DESCRIPTION_FILE, StepRows
from gradcli.runs.run_json import fault_facts, info_facts
from gradcli.system.locks import RunLock, is_locked

CONFIG_FILE = "config.yaml"
LAYERS_FILE = "layers.json"
PLOTS = "plots"
_FILES = (
    *(RUN_FILE, CONFIG_FILE, LAYERS_FILE, DESCRIPTION_FILE, *LOGS, CHECKSUMS_FILE),
    *(f"{CHECKPOINTS}/{name}" for name in (LAST, PREVIOUS, BEST, FAULT)),
)
_RUN_NAME = re.compile(r"\d{8}T\d{6}Z-.+-[0-9a-f]{4}")
#: What a directory holds before it is a run.
_UNBORN = re.compile(r"lock|lease|checkpoints|config\.yaml|\.(config\.yaml|run\.json)\.\w{8}")
_UNBORN_SECONDS = 3600
#: What `run.json` keeps about each process that trained the run; the top level is the first's.
_PART = ("argv", "overrides")


def create_run_directory(runs_dir: Path, name: str) -> Path:
    """Create a new run directory that no other process uses, and return it.

    Raises:
        UserError: if `runs_dir` is a file.
        OperatingSystemError: if `runs_dir` cannot be written.
    """
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    directory = runs_dir / f"{now}-{name}-{secrets.token_hex(2)}"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        directory.mkdir(exist_ok=False)
        sync_names(runs_dir)
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
    _sweep_unborn(runs_dir, before=directory.stat().st_mtime - _UNBORN_SECONDS)
    return directory


def _sweep_unborn(runs_dir: Path, before: float) -> None:
    """Delete the directories of runs that were killed before `run.json` was written.

    No command shows them. `before` is a time of the file system, because clocks of processes jump
    and those of hosts differ.
    """
    for path in runs_dir.iterdir():
        with suppress(OSError):  # another process may be sweeping, too
            if _is_unborn(path, before):
                shutil.rmtree(path)


def _is_unborn(path: Path, before: float) -> bool:
    """Whether a process made a run directory here, and was gone before it was a run."""
    if not _RUN_NAME.fullmatch(path.name) or path.is_symlink() or (path / RUN_FILE).exists():
        return False
    names = [str(entry.relative_to(path)) for entry in path.rglob("*")]
    # A younger one may belong to a process that has not locked it yet.
    is_old = path.stat().st_mtime < before
    return is_old and all(map(_UNBORN.fullmatch, names)) and not is_locked(path)


class RunWriter:
    """Writes one run: locks it, keeps its state and appends its records.

    Args:
        directory: an existing run directory.
        config: the resolved config as YAML.
        facts: about the process and the machine, for `run.json`.
        earlier: the content of `run.json` if the run is resumed. Nothing in the directory changes
            then before `begin`, or `set_status`, is called.
        lock: what `claim_run` returned for the directory; None locks it.
        last_is_damaged: do not keep `last.pt` as `previous.pt`, which is the one to continue from.

    Raises:
        UserError: if another process is working in the directory, or it holds links to elsewhere.
    """

    def __init__(
        self,
        directory: Path,
        config: str,
        facts: dict[str, Any],
        earlier: dict[str, Any] | None = None,
        lock: RunLock | None = None,
        *,
        last_is_damaged: bool = False,
    ) -> None:
        # Absolute: the user's own code may change the working directory during the run.
        self.directory = directory = directory.absolute()
        self._lock = claim_run(directory) if lock is None else lock
        self._config = config
        self._last_is_damaged = last_is_damaged
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
        self._logs: Logs | None = None
        self._has_taken_over = False
        if earlier is None:
            self._take_over()

    def begin(self, info: RunInfo, log_bytes: dict[str, int]) -> None:
        """Describe the run and open its logs.

        Args:
            info: the header of the run.
            log_bytes: how much of each log to keep, as the resumed checkpoint says.
        """
        if not self._has_taken_over:
            self._take_over()
        write_json(self.directory / LAYERS_FILE, [asdict(layer) for layer in info.layers])
        parts = [*self._parts, {**self._part, "start_step": info.start_step}]
        # An earlier result no longer holds once a run is resumed. Before the logs are cut: they
        # may be shorter then than a finished run's are.
        facts = info_facts(info, known=self._state)
        self.set_status("running", **facts, result={}, parts=parts)
        self._step_rows = StepRows(self.directory, info.layers)
        self._logs = Logs(self.directory, log_bytes)

    def write(self, record: Record | ValidationRecord) -> None:
        """Append a record to its file."""
        match record:
            case StepRecords():
                self._append(STEPS_FILE, self._step_rows.rows(record))
            case FaultRecord():
                self.set_status("running", **fault_facts(record))
            case _:
                for name, line in lines_of(record):
                    # Readers find a kind by its first bytes, with the space after the colon.
                    text = json.dumps(plain(line), allow_nan=False, separators=(",", ": "))
                    self._append(name, f"{text}\n".encode())

    def save_checkpoint(self, state: dict[str, Any], *, best: bool = False) -> None:
        """Save `last.pt`, and `best.pt` if `best` is true, after the logs are on the disk.

        The checkpoint holds the lengths of the logs, to which a resumed run cuts them. The one
        before is kept as `previous.pt`.
        """
        assert self._logs is not None, "begin() comes first"
        self._lock.refuse_if_lost()
        state = {**state, "log_bytes": self._logs.sync()}
        keep_as = None if self._last_is_damaged else PREVIOUS
        save_checkpoint(self.directory, LAST, state, keep_as=keep_as)
        self._last_is_damaged = False
        if best:
            save_checkpoint(self.directory, BEST, state)
        self.set_status("running")

    def save_weights(self, state: dict[str, Any]) -> None:
        """Replace `last.pt` of a run that has ended, and that nothing is going to continue."""
        assert self._logs is not None, "begin() comes first"
        self._lock.refuse_if_lost()
        save_checkpoint(self.directory, LAST, {**state, "log_bytes": self._logs.sync()})

    def reduce_checkpoints(self, keep: str) -> None:
        """Delete those checkpoints of a run that has ended which `checkpoint.keep` leaves out."""
        if keep in KEPT:
            drop_checkpoints(self.directory, KEPT[keep])

    def save_fault_batch(self, inputs: Any, labels: Any) -> None:
        """Save the batch that produced the first non-finite value."""
        self._lock.refuse_if_lost()
        save_checkpoint(self.directory, FAULT, {"inputs": inputs, "labels": labels})

    def note(self, **facts: Any) -> None:
        """Keep `facts` for `run.json`; the next checkpoint or change of status writes them."""
        self._state |= facts

    def noted(self, name: str, default: Any = None) -> Any:
        """Return a fact that this process or an earlier one noted."""
        return self._state.get(name, default)

    def set_status(self, status: Status, **facts: Any) -> None:
        """Write `run.json`, with `facts` added.

        Raises:
            LostLeaseError: if another machine took over the run.
        """
        self._lock.refuse_if_lost()
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
        if self._logs is not None:
            self._logs.close()
        self._lock.release()

    def _take_over(self) -> None:
        """Make the directory one of a run at work."""
        self._has_taken_over = True
        (self.directory / CHECKPOINTS).mkdir(exist_ok=True)
        config = self._config.encode()
        write_atomically(self.directory / CONFIG_FILE, lambda file: file.write(config))
        self.set_status("running")

    def _append(self, name: str, block: bytes) -> None:
        assert self._logs is not None, "begin() comes first"
        self._lock.refuse_if_lost()
        self._logs.append(name, block)


def claim_run(directory: Path) -> RunLock:
    """Lock a run directory for this process; sweep what killed ones left behind.

    Raises:
        UserError: as `claim` does.
    """
    return claim(directory, _FILES)


def _parts_of(earlier: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the parts of a run so far: one per process that trained, with its command."""
    if not earlier or "info" not in earlier:
        return []
    # Older runs, without parts, record the command of one process only.
    only = {**{key: earlier.get(key, []) for key in _PART}, "start_step": 0}
    return list(earlier.get("parts", [only]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
