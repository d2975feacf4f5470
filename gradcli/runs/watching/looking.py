"""A run or a comparison as a mere watcher sees it: whether it is at work, without touching it."""

from __future__ import annotations

from pathlib import Path

from gradcli.records import Status
from gradcli.runs.comparisons import ComparisonDirectory, is_comparison
from gradcli.runs.directory import StateDirectory
from gradcli.runs.reader import Run, is_run
from gradcli.system.locks import is_at_work


class WatchedRun(Run):
    """A run whose status is found by looking alone."""

    @property
    def status(self) -> Status:
        """The status; `lost` if no process seems to be at work that has not said how it ended."""
        return _status(self)


class WatchedComparison(ComparisonDirectory):
    """A comparison whose status is found by looking alone."""

    @property
    def status(self) -> Status:
        """The status; `lost` if no process seems to be at work that has not said how it ended."""
        return _status(self)


def _status(found: StateDirectory) -> Status:
    status: Status = found.state["status"]
    return "lost" if status == "running" and not is_at_work(found.path) else status


def look_at(path: Path) -> WatchedRun | WatchedComparison | None:
    """Return the run or the comparison in a directory; None if it holds neither."""
    if is_run(path):
        return WatchedRun(path)
    return WatchedComparison(path) if is_comparison(path) else None
