"""Who is working in a run directory: a lock that ends with its process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_FILE = "lock"


class RunLock:
    """An exclusive lock on a run directory, held until `release` or the process's end."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / _FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let go of the directory."""
        os.close(self._descriptor)


def is_locked(directory: Path) -> bool:
    """Whether a living process on this machine holds the lock of `directory`."""
    try:
        descriptor = os.open(directory / _FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
