"""What the directories of runs and of comparisons have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from gradcli.errors import UserError
from gradcli.records import Status
from gradcli.runs.files import refuse_unknown_schema
from gradcli.system.locks import is_locked
from gradcli.system.paths import Paths

TRIALS = "trials"
"""The folder of a comparison that holds the run directories of its trials."""


@dataclass(frozen=True)
class StateDirectory:
    """A directory that a process works in, with a file that records its state."""

    path: Path
    state_file: ClassVar[str]
    required_keys: ClassVar[tuple[str, ...]] = ("status", "started")

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
        self._read()
        return self

    @property
    def is_readable(self) -> bool:
        """Whether the state file is whole, and of a schema that this gradcli knows."""
        try:
            return bool(self.state)
        except UserError:
            return False

    def _read(self) -> dict[str, Any]:
        path = self.path / self.state_file
        try:
            state = json.loads(path.read_bytes())
        except ValueError as error:  # also bytes that are not text
            raise _broken(path, f"is not valid JSON: {error}") from None
        if not isinstance(state, dict):
            raise _broken(path, "does not hold a JSON object")
        refuse_unknown_schema(state, path)
        missing = [key for key in self.required_keys if key not in state]
        if missing:
            raise _broken(path, f"has no key '{missing[0]}'")
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


def _broken(path: Path, how: str) -> UserError:
    """Say that a state file cannot be read. gradcli writes it whole, so something else did this."""
    return UserError(
        f"{path} {how}. gradcli did not write it like this.",
        where=str(path),
        hint=f"restore the file, or move {path.parent} elsewhere",
    )


def newest_first(runs_dir: Path) -> list[Path]:
    """Return the content of `runs_dir`, sorted by name: names of runs begin with the time.

    Raises:
        FileNotFoundError: if it is relative to a working directory that does not exist any more.
    """
    if not runs_dir.is_absolute():
        Path.cwd()  # raises the error, which `is_dir` takes for an empty folder
    found = runs_dir.iterdir() if runs_dir.is_dir() else ()
    return sorted(found, key=lambda path: path.name, reverse=True)
