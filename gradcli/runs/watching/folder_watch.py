"""What is in a runs directory, looked at time and again at little cost."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from gradcli.errors import UserError
from gradcli.records import Status
from gradcli.runs.choosing.facts import Facts
from gradcli.runs.directory import COMPARISON_FILE
from gradcli.runs.labels import LABELS_FILE
from gradcli.runs.run_json import RUN_FILE
from gradcli.runs.watching.looking import WatchedComparison, WatchedRun, look_at

#: Of those that are neither on the screen nor at work, so many are looked at in turn.
_IN_TURN = 20
#: The names are read again after so many looks, even if the folder says that none has changed.
_NAMES_EVERY = 30
_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run or a comparison as it was last read."""

    signature: _Signature
    facts: Facts | None
    """None if it cannot be read."""
    status: Status | None
    refused: UserError | None = None


class FolderWatch:
    """Follows which runs and comparisons a folder holds, and what they say of themselves.

    A look reads the names in the folder if these have changed, and the state of what is on the
    screen, is at work, or has its turn, if its file has changed.

    Args:
        folder: a runs directory, or the trials of a comparison.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, _Seen] = {}
        self._changed: int | None = None
        self._looks = 0
        self._turn = 0

    @property
    def known(self) -> list[Facts]:
        """What is known of each, newest first."""
        return [seen.facts for _, seen in sorted(self._seen.items(), reverse=True) if seen.facts]

    @property
    def refused(self) -> dict[str, UserError]:
        """Why the others cannot be read, by the names of their directories."""
        return {name: seen.refused for name, seen in self._seen.items() if seen.refused}

    def look(self, visible: Collection[str] = ()) -> bool:
        """Look at the folder; return whether anything has changed.

        Args:
            visible: the names of the directories that are on the screen.
        """
        changed = self._look_for_names()
        at_work = [name for name, seen in self._seen.items() if seen.status == "running"]
        for name in {*visible, *at_work, *self._in_turn()}:
            if name in self._seen:
                changed |= self._look_at(name)
        self._looks += 1
        return changed

    def _look_for_names(self) -> bool:
        """Read the names in the folder, if they may have changed; whether there are others."""
        try:
            changed = self.folder.stat().st_mtime_ns
            if changed == self._changed and self._looks % _NAMES_EVERY:
                return False
            names = {path.name for path in self.folder.iterdir()}
        except OSError:  # not yet there, or removed
            changed, names = None, set()
        self._changed = changed
        gone = self._seen.keys() - names
        for name in gone:
            del self._seen[name]
        new = [self._look_at(name) for name in sorted(names - self._seen.keys())]
        return bool(gone) or any(new)

    def _in_turn(self) -> list[str]:
        names = sorted(self._seen)
        if not names:
            return []
        begin = self._turn % len(names)
        self._turn += _IN_TURN
        return list(islice(cycle(names), begin, begin + min(_IN_TURN, len(names))))

    def _look_at(self, name: str) -> bool:
        """Read what a directory says of itself, if that has changed; whether it has."""
        path = self.folder / name
        signature = tuple(
            _signature(path / file) for file in (RUN_FILE, COMPARISON_FILE, LABELS_FILE)
        )
        before = self._seen.get(name)
        if before is not None and before.signature == signature:
            if before.facts is None or before.status != "running":
                return False
            if before.facts.found.status == "running":
                return False
        seen = _read(path, signature)
        if seen is None:
            return self._seen.pop(name, None) is not None
        self._seen[name] = seen
        return True


def _read(path: Path, signature: _Signature) -> _Seen | None:
    """Return what a directory says of itself; None if it is neither a run nor a comparison."""
    found: WatchedRun | WatchedComparison | None = look_at(path)
    if found is None:
        return None
    try:
        row = found.row()
        return _Seen(signature, Facts(found, row), row.status)
    except UserError as error:
        return _Seen(signature, None, None, error)


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is replaced; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
