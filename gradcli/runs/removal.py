"""Taking a run or a comparison off the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from gradcli.errors import UserError
from gradcli.runs.comparisons import ComparisonDirectory
from gradcli.runs.directory import TRIALS
from gradcli.runs.reader import Run
from gradcli.system.locks import LOCK_FILE, RunLock, is_locked


def size_bytes(found: Run | ComparisonDirectory) -> int:
    """Return what the files of a run, or of a comparison and its trials, take."""
    return sum(path.lstat().st_size for path in found.path.rglob("*") if not path.is_dir())


def refuse_if_at_work(found: Run | ComparisonDirectory) -> None:
    """Refuse what a living process works in, be it in a comparison's trial.

    Raises:
        UserError: where one does.
    """
    trials = found.trials() if isinstance(found, ComparisonDirectory) else []
    paths = [found.path, *(trial.path for trial in trials)]
    parent = found.path.resolve().parent
    if parent.name == TRIALS:  # which the comparison's own process may come back to
        paths.append(parent.parent)
    if any(map(is_locked, paths)):
        raise UserError(
            f"A process is working in {found.path}.",
            hint="wait for it to end, or stop it with Ctrl-C",
        )


def remove(found: Run | ComparisonDirectory) -> None:
    """Delete a run, or a comparison with its trials.

    The file that makes the directory what it is goes after all others: whatever interrupts the
    removal, what is left is still found, and can be removed. The lock goes last, so that until
    then nobody begins to work there.

    Raises:
        UserError: where a living process works in it, or a file cannot be deleted.
    """
    refuse_if_at_work(found)
    directory = found.path.resolve()
    try:
        with RunLock(directory):
            last = (found.state_file, LOCK_FILE)
            entries = [path for path in directory.iterdir() if path.name not in last]
            for path in (*entries, *(directory / name for name in last)):
                _delete(path)
        directory.rmdir()
    except OSError as error:
        raise UserError(
            f"{error.filename or directory} cannot be deleted: {error.strerror}.",
            where=str(directory),
        ) from None


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
