"""A run or a comparison as a mere watcher sees it: whether it is at work, without touching it."""

from __future__ import annotations

from pathlib import Path

from gradcli.records import Status
from gradcli.runs.comparisons import ComparisonDirectory, is_comparison
from gradcli.runs.directory import StateDirectory
from gradcli.runs.logs.log_blocks import STEPS_FILE
from gradcli.runs.logs.step_log import described_rows, read_last_steps
from gradcli.runs.reader import Run, is_run
from gradcli.system.locks import is_at_work


class WatchedRun(Run):
    """A run whose status is found by looking alone."""

    @property
    def status(self) -> Status:
        """The status; `lost` if no process seems to be at work that has not said how it ended."""
        return _status(self)

    def with_copied_steps(self, most_bytes: int) -> WatchedRun:
        """Return the run with its last steps as a copy, without those that are damaged.

        What would be mapped from the log may be cut off by a resume, and whoever reads it then is
        killed by a signal.

        Args:
            most_bytes: how much of the log to copy.

        Raises:
            UserError: if the log cannot be read.
        """
        run = WatchedRun(self.path)
        parameters = sum(len(layer.parameters) for layer in run.layers)
        dtype, _ = described_rows(self.path, parameters)
        # What a process at work has just written has no checksum yet.
        damaged = [] if run.status == "running" else run.damaged_parts()
        count = max(most_bytes // dtype.itemsize, 1)
        vars(run)["steps"] = read_last_steps(self.path, parameters, count, damaged)
        return run

    def damaged_parts(self) -> list[range]:
        """Return the parts of the log of steps that are not as they were written, in bytes."""
        return self._logs.left_out(STEPS_FILE)


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
