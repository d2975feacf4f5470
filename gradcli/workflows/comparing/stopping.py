"""A request to stop a comparison, wherever it is led: a file in its directory."""

from __future__ import annotations

import time
from pathlib import Path

from gradcli.errors import OperatingSystemError
from gradcli.runs import ComparisonDirectory
from gradcli.system.locks import is_locked

_STOP = "stop"
#: How long whoever leads may take to save what runs, and a cluster to pass the request on.
_SECONDS_TO_STOP = 120.0
_SECONDS_BETWEEN_LOOKS = 0.5


def stop(directory: ComparisonDirectory) -> bool:
    """Have a comparison stopped as by Ctrl-C, and wait until it is.

    Returns:
        Whether it was at work.

    Raises:
        OperatingSystemError: if whoever leads it does not answer.
    """
    was_at_work = directory.status == "running"
    deadline = time.monotonic() + _SECONDS_TO_STOP
    if directory.state["status"] == "running":
        (directory.path / _STOP).touch()
    if is_locked(directory.path):
        while is_locked(directory.path):
            if time.monotonic() > deadline:
                raise OperatingSystemError(
                    f"{directory.path} has been asked to stop, and is still at work after "
                    f"{_SECONDS_TO_STOP:.0f} s. The request stays.",
                    where=str(directory.path),
                )
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    elif directory.state["status"] == "running":  # its process is gone; pilots must not go on
        with directory.lock():
            directory.update(status="interrupted")
    return was_at_work


def is_to_stop(directory: Path) -> bool:
    """Whether somebody has asked to stop the comparison."""
    return (directory / _STOP).exists()


def may_go_on(directory: Path) -> None:
    """Forget that somebody has asked."""
    (directory / _STOP).unlink(missing_ok=True)
