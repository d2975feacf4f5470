"""The lock of a run directory. It ends with its process, however the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

LOCK_FILE = "lock"


class RunLock:
    """An exclusive lock on a run directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        self._file = os.fdopen(_opened(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT), "rb")
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
        descriptor = _opened(directory / LOCK_FILE, os.O_RDONLY)
    except (FileNotFoundError, FileExistsError, NotADirectoryError):  # nothing that can be held
        return False
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _opened(path: Path, flags: int) -> int:
    """Open the file of a lock without waiting, as a named pipe would make its opener do.

    Raises:
        FileExistsError: if something else than a file has its name.
    """
    file = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileExistsError(errno.EEXIST, "It is not a regular file", str(path))
    return file
