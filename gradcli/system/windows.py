"""What Windows does otherwise, in one place.

A file that a process has open cannot be replaced or deleted there, nor can a folder that holds one
be renamed. Ctrl-C reaches every process of a console. And a pipe whose reader is gone says so with
another error.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IS_WINDOWS = os.name == "nt"
#: Which characters no name of a file may hold.
NOT_IN_NAMES = '<>:"/\\|?*\0' if IS_WINDOWS else "/\0"
_CREATE_NEW_PROCESS_GROUP = 0x200  # which `subprocess` names on Windows only
#: A reader has a file of ours open for milliseconds. A virus scanner takes longer.
_PATIENCE = 2.0
_PAUSE = 0.01


def replace_file(path: Path, target: Path) -> None:
    """Rename a file over another one; on Windows, as soon as nobody reads that.

    Raises:
        PermissionError: if somebody has had it open for two seconds; or if the folder is not ours.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            path.replace(target)
            return
        except PermissionError:
            if not IS_WINDOWS or time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)


def out_of_reach_of_ctrl_c() -> dict[str, Any]:
    """Return the keywords of `Popen` with which Ctrl-C in the terminal misses the new process."""
    if IS_WINDOWS:
        return {"creationflags": _CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}


@contextmanager
def even_if_nobody_reads() -> Iterator[None]:
    """Write to a pipe, whether or not the process at its other end has ended."""
    try:
        yield
    except BrokenPipeError:
        pass
    except OSError as error:  # what Windows calls it (python/cpython issue 19612)
        if error.errno != errno.EINVAL:
            raise
