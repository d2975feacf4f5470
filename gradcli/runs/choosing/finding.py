"""Which run or comparison a target names: a directory, a name, a unique part of one, or `latest`.

`latest` means the same to every command: the run or comparison in the runs directory that was begun
last. The trials of a comparison are inside it and are never the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from gradcli.errors import DamagedFileError, UserError, nearest
from gradcli.runs.choosing.glances import given_name
from gradcli.runs.comparisons import ComparisonDirectory, is_comparison, list_comparisons
from gradcli.runs.directory import StateDirectory, newest_first
from gradcli.runs.reader import Run, is_run, list_runs

LATEST = "latest"
_Found = TypeVar("_Found", bound=StateDirectory)


def list_any(runs_dir: Path) -> list[Run | ComparisonDirectory]:
    """Return the runs and the comparisons in `runs_dir`, the newest first."""
    return [found for path in newest_first(runs_dir) if (found := _at(path)) is not None]


def find_any(target: str, runs_dir: Path) -> Run | ComparisonDirectory:
    """Find a run or a comparison by its directory, its name, a unique part of it, or `latest`.

    Raises:
        UserError: if there is none, or more than one, or a newer gradcli wrote it.
    """
    return _any(target, runs_dir).opened()


def find_to_remove(target: str, runs_dir: Path) -> Run | ComparisonDirectory:
    """Find a run or a comparison, as `find_any` does, even if its state file is damaged.

    Raises:
        UserError: if there is none, or more than one, or a newer gradcli wrote it.
    """
    found = _any(target, runs_dir)
    try:
        return found.opened()
    except DamagedFileError:
        return found


def find_run(target: str, runs_dir: Path) -> Run:
    """Find a run, as `find_any` does; a part of a name need only be unique among the runs.

    Raises:
        UserError: if there is none, more than one, or if the target is a comparison.
    """
    _require_name(target)
    found = _at(Path(target)) or (find_any(LATEST, runs_dir) if target == LATEST else None)
    if found is None:
        found = _match_kind(target, list_runs(runs_dir), runs_dir)
    if isinstance(found, Run):
        return found.opened()
    raise _wrong_kind(found, list_runs(runs_dir), "gradcli train")


def find_comparison(target: str, runs_dir: Path) -> ComparisonDirectory:
    """Find a comparison, as `find_any` does; a part of a name need only be unique among them.

    Raises:
        UserError: if there is none, more than one, or if the target is a run.
    """
    _require_name(target)
    found = _at(Path(target)) or (find_any(LATEST, runs_dir) if target == LATEST else None)
    if found is None:
        found = _match_kind(target, list_comparisons(runs_dir), runs_dir)
    if isinstance(found, ComparisonDirectory):
        return found.opened()
    raise _wrong_kind(found, list_comparisons(runs_dir), "gradcli compare-optimizers")


def _require_name(target: str) -> None:
    """Refuse an empty name, such as an unset shell variable: every name contains it.

    Raises:
        UserError: if it is empty.
    """
    if not target.strip():
        raise UserError("The run name is empty.", hint="gradcli runs list")


def _any(target: str, runs_dir: Path) -> Run | ComparisonDirectory:
    _require_name(target)
    return _at(Path(target)) or _match(target, list_any(runs_dir), runs_dir)


def _at(path: Path) -> Run | ComparisonDirectory | None:
    """Return the run or the comparison whose directory this is."""
    if is_run(path):
        return Run(path)
    return ComparisonDirectory(path) if is_comparison(path) else None


def _match_kind(
    target: str, found: Sequence[_Found], runs_dir: Path
) -> _Found | Run | ComparisonDirectory:
    """Return what `target` names among `found`; if nothing, what it names among all."""
    kind = [one for one in found if target in one.name]
    return _match(target, found, runs_dir) if kind else find_any(target, runs_dir)


def _match(target: str, found: Sequence[_Found], runs_dir: Path) -> _Found:
    """Return the one of `found`, the newest first, that `target` names.

    Raises:
        UserError: if it names none, or more than one.
    """
    if not found:
        raise UserError(f"There are no runs in {runs_dir}.", hint="gradcli train")
    if target == LATEST:
        return found[0]
    matches = (
        [run for run in found if run.name == target]
        or [run for run in found if given_name(run.name) == target]
        or [run for run in found if run.name.startswith(target) or run.name.endswith(f"-{target}")]
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


def _wrong_kind(
    found: Run | ComparisonDirectory, others: Sequence[StateDirectory], command: str
) -> UserError:
    """Say that a run was given instead of a comparison, or the other way round.

    Args:
        found: what was given.
        others: all that could be used instead, the newest first.
        command: makes one.
    """
    given, needed = "run", "comparison"
    if isinstance(found, ComparisonDirectory):
        given, needed = needed, given
    return UserError(
        f"{found.path} is a {given}, but a {needed} is needed here."
        + (f" The latest {needed} is {others[0].name}." if others else ""),
        hint=str(others[0].path) if others else command,
    )
