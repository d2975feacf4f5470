"""Making room: which runs can go, or which of their checkpoints, and how much that frees.

What is chosen is announced first. `prune` then removes exactly that: of what has changed since, or
is at work by then, it removes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from gradcli.errors import OperatingSystemError, UserError
from gradcli.records import PrunedRow, PruningSummary, RunRow
from gradcli.runs.checkpoints import checkpoint_paths
from gradcli.runs.choosing.conditions import Condition
from gradcli.runs.choosing.facts import Facts
from gradcli.runs.choosing.listing import choose
from gradcli.runs.comparisons import ComparisonDirectory
from gradcli.runs.files import refuse_links
from gradcli.runs.reader import Run
from gradcli.runs.removal import is_at_work, reduce_checkpoints, remove, size_bytes
from gradcli.system.locks import RunLock

_AGE = re.compile(r"([0-9]+)([hdw])")
_SECONDS: Final = {"h": 3600, "d": 86_400, "w": 604_800}
_ENDED = ("finished", "diverged")
_OUTCOMES: Final[Mapping[bool | None, Literal["announced", "removed", "left"]]] = {
    None: "announced",
    True: "removed",
    False: "left",
}


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be removed of which runs and comparisons: of those for which all this holds."""

    where: Sequence[Condition] = ()
    older_than: int | None = None
    """In seconds since they last recorded anything."""
    lost: bool = False
    """Only those whose process is gone without having recorded how it ended."""
    checkpoints: bool = False
    """Their checkpoints alone, of those that have ended: the records stay."""


@dataclass(frozen=True, slots=True)
class Prunable:
    """A run or a comparison of which something can be removed."""

    found: Run | ComparisonDirectory
    row: RunRow
    size_bytes: int
    """Of what is removed."""
    checkpoints: bool
    """Whether only its checkpoints are removed."""

    def as_row(self, removed: bool | None) -> PrunedRow:
        """Return it as it is shown, once it was removed or not; None is before that."""
        row, outcome = self.row, _OUTCOMES[removed]
        return PrunedRow(row.run, row.status, row.when, self.size_bytes, outcome)


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """What would be removed, and what is left alone although the conditions hold for it."""

    checkpoints: bool
    chosen: tuple[Prunable, ...]
    at_work: tuple[str, ...]
    """The names of those that a process is working on."""
    resumable: tuple[str, ...]
    """The names of those that need their checkpoints to be continued."""
    refused: tuple[UserError, ...]
    """An error for each that cannot be read, or that holds links to elsewhere."""

    def summary(self, removed: Mapping[str, bool] | None = None) -> PruningSummary:
        """Return it as it is shown.

        Args:
            removed: of those that were to be removed, by name, whether they were.
        """
        known = removed or {}
        return PruningSummary(
            what="checkpoints" if self.checkpoints else "runs",
            rows=tuple(one.as_row(known.get(one.row.run)) for one in self.chosen),
            at_work=self.at_work,
            resumable=self.resumable,
        )


def age_seconds(text: str) -> int:
    """Return the age that `12h`, `30d` or `8w` states.

    Raises:
        UserError: if it states none.
    """
    parts = _AGE.fullmatch(text)
    if parts is None:
        days = f"{text}d" if text.isdecimal() and text.isascii() else "30d"
        raise UserError(
            f"'{text}' is no age: a number of hours, days or weeks.",
            where="--older-than",
            choices=["12h", "30d", "8w"],
            hint=f"--older-than {days}",
        )
    return int(parts[1]) * _SECONDS[parts[2]]


def plan_pruning(runs_dir: Path, asked: Pruning, now: datetime | None = None) -> PruningPlan:
    """Return what can be removed from `runs_dir`, the newest first. Links are left alone.

    Raises:
        UserError: for a condition that no run could fulfil.
    """
    chosen, refused = choose(runs_dir, asked.where)
    at_work, resumable, prunable = [], [], []
    for facts in chosen:
        found = facts.found
        if found.path.is_symlink() or not _is_asked_for(facts, asked, now or datetime.now(UTC)):
            continue
        if is_at_work(found):
            at_work.append(found.name)
            continue
        try:
            if asked.checkpoints:
                refuse_links(found.path)
        except UserError as error:
            refused.append(error)
            continue
        size = _size(found, checkpoints=asked.checkpoints)
        if asked.checkpoints and size == 0:
            if any(map(checkpoint_paths, _directories(found))):
                resumable.append(found.name)
        else:
            prunable.append(Prunable(found, facts.row, size, asked.checkpoints))
    return PruningPlan(
        asked.checkpoints, tuple(prunable), tuple(at_work), tuple(resumable), tuple(refused)
    )


def prune(one: Prunable) -> bool:
    """Remove what was announced of a run or a comparison.

    Returns:
        Whether that was done. It was not if it is at work now, or its size has changed.

    Raises:
        OperatingSystemError: if a file cannot be deleted.
    """
    if is_at_work(one.found) or _size(one.found, checkpoints=one.checkpoints) != one.size_bytes:
        return False
    if not one.checkpoints:
        remove(one.found)
        return True
    try:
        if isinstance(one.found, Run):
            reduce_checkpoints(one.found.path)
            return True
        with RunLock(one.found.path):
            for trial in _ended(one.found):
                reduce_checkpoints(trial)
    except OSError as error:
        raise OperatingSystemError(
            f"{error.filename or one.found.path} cannot be deleted: {error.strerror}.",
            where=str(one.found.path),
        ) from None
    return True


def _is_asked_for(facts: Facts, asked: Pruning, now: datetime) -> bool:
    if asked.lost and facts.row.status != "lost":
        return False
    if asked.older_than is None:
        return True
    found, is_old = facts.found, _age(facts.state, now) > asked.older_than
    if not is_old or not isinstance(found, ComparisonDirectory):
        return is_old
    return all(_age(trial.state, now) > asked.older_than for trial in found.trials())


def _age(state: Mapping[str, Any], now: datetime) -> float:
    """Return the seconds since a run or a comparison last recorded its state."""
    last = state.get("heartbeat", state["started"])
    return (now - datetime.fromisoformat(last).astimezone()).total_seconds()


def _size(found: Run | ComparisonDirectory, *, checkpoints: bool) -> int:
    if not checkpoints:
        return size_bytes(found)
    files = (path for directory in _ended(found) for path in checkpoint_paths(directory))
    return sum(path.lstat().st_size for path in files)


def _directories(found: Run | ComparisonDirectory) -> list[Path]:
    return found.trial_paths() if isinstance(found, ComparisonDirectory) else [found.path]


def _ended(found: Run | ComparisonDirectory) -> Iterator[Path]:
    """Yield the directories of the runs that nothing will continue.

    In a comparison that is finished these are all of its trials, those that halving has stopped
    among them. One that failed tries again what has not ended.
    """
    if isinstance(found, Run):
        yield from [found.path] if found.status in _ENDED else []
    elif found.status == "finished":
        yield from found.trial_paths()
    elif found.status == "failed":
        yield from (one.path for one in found.trials() if one.status in _ENDED)
