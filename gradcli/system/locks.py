"""The lock of a run directory. It ends with its process, however the process ends."""

from __future__ import annotations

import fcntl
from pathlib import Path

LOCK_FILE = "lock"


class RunLock:
    """An exclusive lock on a run directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / LOCK_FILE).open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *reason: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the directory; safe to call again."""
        self._file.close()


def is_locked(directory: Path) -> bool:
    """Whether a living process on this machine holds the lock of `directory`."""
    try:
        file = (directory / LOCK_FILE).open()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
