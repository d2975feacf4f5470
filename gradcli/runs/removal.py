"""Deleting runs and comparisons."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from gradcli.errors import AtWorkError, OperatingSystemError
from gradcli.runs.checkpoints import LAST, compact_checkpoint, drop_checkpoints
from gradcli.runs.comparisons import ComparisonDirectory
from gradcli.runs.directory import TRIALS, how_to_stop
from gradcli.runs.reader import Run
from gradcli.system.locks import LEASE_FILE, LOCK_FILE, RunLock, is_locked
from gradcli.system.windows import IS_WINDOWS


def size_bytes(found: Run | ComparisonDirectory) -> int:
    """Return the size of all files of a run, or of a comparison and its trials; 0 for a link."""
    if found.path.is_symlink():
        return 0
    return sum(path.lstat().st_size for path in found.path.rglob("*") if not path.is_dir())


def is_at_work(found: Run | ComparisonDirectory) -> bool:
    """Whether a process is working in a run or a comparison, or in one of its trials.

    A link to one may go at any time: nothing works in the link.
    """
    if found.path.is_symlink():
        return False
    paths = [found.path]
    if isinstance(found, ComparisonDirectory):
        paths += [*found.trial_paths(), *found.pilot_paths()]
    parent = found.path.resolve().parent
    if parent.name == TRIALS:  # the process of the comparison may resume the trial
        paths.append(parent.parent)
    return any(map(is_locked, paths))


def refuse_if_at_work(found: Run | ComparisonDirectory) -> None:
    """Refuse a run or a comparison if a process is working in it or in one of its trials.

    Raises:
        UserError: if so.
    """
    if is_at_work(found):
        raise AtWorkError(f"A process is working in {found.path}.", hint=how_to_stop(found.path))


def remove(found: Run | ComparisonDirectory) -> None:
    """Delete a run, or a comparison with its trials.

    `run.json` or `comparison.json` is deleted after all other files: if the removal is interrupted,
    the rest is still found and can be removed. The lock is deleted last, so that no process
    starts to work there earlier; on Windows, which deletes no open file, after its release. Of a
    symbolic link only the link is deleted, never its target.

    Raises:
        UserError: if a process is working in it.
        OperatingSystemError: if a file cannot be deleted.
    """
    refuse_if_at_work(found)
    directory = own_path(found)
    try:
        if directory.is_symlink():
            directory.unlink()
            return
        lock = directory / LOCK_FILE
        if lock.is_symlink() or lock.is_fifo():  # gradcli makes none; locking would follow it
            lock.unlink()
        with RunLock(directory):
            kept = (found.state_file, LOCK_FILE, LEASE_FILE)  # which goes as it is released
            entries = [path for path in directory.iterdir() if path.name not in kept]
            for path in (*entries, directory / found.state_file):
                _delete(path)
            if not IS_WINDOWS:
                lock.unlink()
        if IS_WINDOWS:
            lock.unlink()
        directory.rmdir()
    except OSError as error:
        raise OperatingSystemError(
            f"{error.filename or directory} cannot be deleted: {error.strerror}.",
            where=str(directory),
        ) from None


def reduce_checkpoints(
    directory: Path,
    *,
    last_stays: bool = False,
    lock: Callable[[Path], AbstractContextManager[object]] = RunLock,
) -> None:
    """Delete the checkpoints of a run that has ended. The last one may stay, in less room.

    Args:
        directory: the run directory.
        last_stays: whether the last checkpoint stays.
        lock: what keeps others away meanwhile. `momentary_lock` is enough for a trial if this
            process leads its comparison: no other then begins the trial again.

    Raises:
        OSError: if they cannot be deleted; a `BlockingIOError` if a process is working there.
    """
    with lock(directory):
        drop_checkpoints(directory, keep=(LAST,) if last_stays else ())
        if last_stays:
            compact_checkpoint(directory)


def own_path(found: Run | ComparisonDirectory) -> Path:
    """Return the absolute path of a directory, or of the symbolic link that stands for it."""
    return found.path.parent.resolve() / found.path.name


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
