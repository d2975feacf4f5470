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

    @cached_property
    def state(self) -> dict[str, Any]:
        """What the file says.

        Raises:
            UserError: if a newer gradcli wrote it.
        """
        return self._read()

    def opened(self) -> Self:
        """Return the directory, once it is known that this gradcli can read it.

        Raises:
            UserError: if a newer gradcli wrote it.
        """
        self._read()
        return self

    @property
    def is_readable(self) -> bool:
        """Whether this gradcli knows the schema of the directory."""
        try:
            return bool(self.state)
        except UserError:
            return False

    def _read(self) -> dict[str, Any]:
        path = self.path / self.state_file
        state: dict[str, Any] = json.loads(path.read_bytes())
        refuse_unknown_schema(state, path)
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


def newest_first(runs_dir: Path) -> list[Path]:
    """Return the content of `runs_dir`, sorted by name: names of runs begin with the time."""
    found = runs_dir.iterdir() if runs_dir.is_dir() else ()
    return sorted(found, key=lambda path: path.name, reverse=True)
