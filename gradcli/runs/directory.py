"""What the directories of runs and of comparisons have in common: a state, and how one is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from gradcli.errors import UserError, nearest
from gradcli.records import Status
from gradcli.runs.files import refuse_unknown_schema
from gradcli.system.locks import is_locked

_Found = TypeVar("_Found", bound="StateDirectory")


@dataclass(frozen=True)
class StateDirectory:
    """A directory that a process works in, and that says in a file how far it is."""

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
        """The status; `lost` where the process is gone without having said how it ended."""
        status: Status = self.state["status"]
        if status == "running" and not is_locked(self.path):
            return "lost"
        return status


def newest_first(runs_dir: Path) -> list[Path]:
    """Return what lies in `runs_dir`, by name: names of runs begin with the time."""
    found = runs_dir.iterdir() if runs_dir.is_dir() else ()
    return sorted(found, key=lambda path: path.name, reverse=True)


def require_name(target: str) -> None:
    """Refuse an empty word, which every name holds: a variable of the shell that was never set.

    Raises:
        UserError: where it is empty.
    """
    if not target.strip():
        raise UserError("An empty word names no run.", hint="gradcli runs list")


def match(target: str, found: Sequence[_Found], runs_dir: Path) -> _Found:
    """Return the one of `found`, the newest first, that `target` names.

    Raises:
        UserError: where it names none, or more than one.
    """
    if not found:
        raise UserError(f"There are no runs in {runs_dir}.", hint="gradcli train")
    if target == "latest":
        return found[0]
    matches = (
        [run for run in found if run.name == target]
        or [run for run in found if run.name.startswith(target) or run.name.endswith(target)]
        or [run for run in found if target in run.name]
    )
    if len(matches) == 1:
        return matches[0]
    names = [run.name for run in matches or found]
    if matches:
        raise UserError(
            f"{len(matches)} runs in {runs_dir} have '{target}' in their names.",
            choices=names[:5],
            hint="more of the name, or `latest`",
        )
    raise UserError(
        f"There is no run '{target}' in {runs_dir}.",
        choices=nearest(target, names) or names[:3],
        hint="gradcli runs list",
    )
