"""What the directories of runs and of comparisons have in common."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from gradcli.errors import AtWorkError, UserError
from gradcli.records import Status
from gradcli.runs.files import COMPARISON_FILE, refuse_links, refuse_unknown_schema, sweep
from gradcli.runs.labels import Labels, read_labels
from gradcli.runs.stored import MalformedError, damaged, decoded, file_size, read_json, reading
from gradcli.system.locks import (
    LEASE_SECONDS,
    RunLock,
    elsewhere,
    is_locked,
    plain_host,
)
from gradcli.system.paths import Paths

TRIALS = "trials"
"""The folder of a comparison that holds the run directories of its trials."""


@dataclass(frozen=True)
class StateDirectory:
    """A directory that a process works in, with a file that records its state."""

    path: Path
    state_file: ClassVar[str]
    state_type: ClassVar[Any]
    """A `TypedDict` of the keys that are read."""

    @cached_property
    def state(self) -> dict[str, Any]:
        """What the file says.

        Raises:
            UserError: if a newer gradcli wrote it, or it is broken.
        """
        return self._read()

    def opened(self) -> Self:
        """Return the directory, once it is known that this gradcli can read it.

        Raises:
            UserError: if a newer gradcli wrote it, or its state file is broken.
        """
        _ = self.state
        return self

    @property
    def is_readable(self) -> bool:
        """Whether the state file is whole, and of a schema that this gradcli knows."""
        try:
            return bool(self.state)
        except UserError:
            return False

    def _read(self) -> dict[str, Any]:
        return self._read_file(self.state_file)

    def _read_file(self, name: str) -> dict[str, Any]:
        path = self.path / name
        state: dict[str, Any] = read_json(path)
        with reading(path):
            if not isinstance(state, dict):
                raise MalformedError("does not hold a JSON object")
            refuse_unknown_schema(state, path)
            decoded(self.state_type, state)
        return state

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.name

    @property
    def status(self) -> Status:
        """The status; `lost` if the process is gone without having recorded how it ended."""
        status: Status = self.state["status"]
        if status == "running" and not is_locked(self.path):
            return "lost"
        return status

    @cached_property
    def labels(self) -> Labels:
        """What the user calls it.

        Raises:
            DamagedFileError: if the file holds something else.
        """
        return read_labels(self.path)

    @property
    def paths(self) -> Paths:
        """Where it is, and the paths that its configs were built with, as far as recorded."""
        parent = self.path.parent
        data_dir, config_dir = self.state.get("data_dir"), self.state.get("config_dir")
        return Paths(
            runs_dir=parent.parent.parent if parent.name == TRIALS else parent,
            data_dir=Path(data_dir) if data_dir else None,
            config_dir=Path(config_dir) if config_dir else None,
            allow_import=tuple(self.state.get("allow_import") or ()),
        )


def claim(directory: Path, files: Iterable[str]) -> RunLock:
    """Lock a directory for this process, and delete what killed ones left behind there.

    Args:
        directory: of a run or a comparison.
        files: the names of the files that the process is going to write.

    Raises:
        UserError: if another process is working in it, it holds links to elsewhere, or a folder is
            in the place of a file.
    """
    refuse_links(directory)
    try:
        lock = RunLock(directory)
    except BlockingIOError:
        raise at_work(directory) from None
    except (IsADirectoryError, FileExistsError) as error:
        raise damaged(Path(error.filename), "is not a file") from None
    try:
        for path in (directory / name for name in files):
            file_size(path)  # which refuses anything but a file
            sweep(path.parent, [path.name])
    except BaseException:
        lock.release()
        raise
    return lock


def at_work(directory: Path) -> AtWorkError:
    """Return the error that says who works in a directory, as far as it is known."""
    holder = elsewhere(directory)
    if holder is None:
        return AtWorkError(
            f"Another process is working in {directory}.", hint=how_to_stop(directory)
        )
    return AtWorkError(
        f"Process {holder.pid} on {plain_host(holder)} is working in {directory}.",
        hint=f"{how_to_stop(directory)}; if that machine is gone, try again "
        f"{LEASE_SECONDS:.0f} s after it was last heard of",
    )


def how_to_stop(directory: Path) -> str:
    """Return what ends the work in the directory of a run, of a comparison or of its trial."""
    folder = directory.absolute().parent
    comparison = folder.parent if folder.name == TRIALS else directory
    if os.path.lexists(comparison / COMPARISON_FILE):
        command = ["gradcli", "compare-optimizers", "--resume", str(comparison), "--stop"]
        return shlex.join(command)
    return "wait for it to end, or stop it with Ctrl-C"


def newest_first(runs_dir: Path) -> list[Path]:
    """Return the content of `runs_dir`, sorted by name: names of runs begin with the time.

    Raises:
        FileNotFoundError: if it is relative to a working directory that does not exist any more.
    """
    if not runs_dir.is_absolute():
        Path.cwd()  # raises the error, which `is_dir` takes for an empty folder
    found = runs_dir.iterdir() if runs_dir.is_dir() else ()
    return sorted(found, key=lambda path: path.name, reverse=True)
