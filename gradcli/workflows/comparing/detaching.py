"""A comparison that outlives the terminal: another process leads it, with the same command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradcli.errors import OperatingSystemError
from gradcli.runs import ComparisonDirectory
from gradcli.system.locks import is_locked
from gradcli.system.paths import Paths
from gradcli.workflows.comparing.leading import leading_command, start_leading

LOG = "leader.log"
_SECONDS_TO_BEGIN = 120.0
_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class GoesOn:
    """A comparison that goes on without this process."""

    path: Path
    paths: Paths
    signal: int | None = None
    """What ended the watching of it, if it was watched."""


def detach(directory: ComparisonDirectory, paths: Paths, engine_words: Sequence[str]) -> GoesOn:
    """Start a process that leads the comparison, and wait until it does.

    Args:
        directory: of the comparison.
        paths: those that its config needs.
        engine_words: the overrides that name its engine.

    Raises:
        OperatingSystemError: if it ends before it leads.
    """
    log = directory.path / LOG
    with log.open("ab") as output:
        process = start_leading(
            leading_command(directory, paths, engine_words),
            stdout=output,
            stderr=output,
            start_new_session=True,  # closing the terminal ends only what belongs to it
        )
    deadline = time.monotonic() + _SECONDS_TO_BEGIN
    while not is_locked(directory.path) and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    # It may have had little to do, and have ended well.
    if process.poll() not in (None, 0) and not is_locked(directory.path):
        raise OperatingSystemError(
            "The process that was to lead the comparison ended before it did.",
            where=str(log),
            hint=f"cat {log}; or the same command without --detach",
        )
    return GoesOn(directory.path, paths)
