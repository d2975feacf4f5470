"""Trials one after another in this process: what a debugger or a test can follow.

A breakpoint in a model, an optimizer or a loss stops there, and an exception shows its own
traceback. Nothing is imported before it is needed: torch loads with the first request.
"""

from __future__ import annotations

import functools
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcli.comparison.engine import Download, Ended, Job, PlanRequest
from gradcli.runs import load_run
from gradcli.system.paths import returning_to

if TYPE_CHECKING:
    from gradcli.config import DataConfig
    from gradcli.data import Dataset


class SerialEngine:
    """An engine without any other process.

    Args:
        raise_errors: whether an exception in a trial ends the comparison, which can be resumed;
            else that trial has failed, as on every other engine.
    """

    def __init__(self, raise_errors: bool = True) -> None:
        self._raise_errors = raise_errors
        self._waiting: deque[Job] = deque()
        self._download: Download = _show_nothing

    def scale(self, jobs: int) -> int:
        """Return 1: it runs one trial at a time."""
        return 1

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Plan a comparison here; see `Engine.plan`."""
        from gradcli.engines import work

        self._download = download
        with returning_to(Path.cwd()):  # the caller's paths may be relative to it
            return work.plan(request, self._loader(request.data_dir))

    def submit(self, job: Job) -> None:
        """Keep a job for `poll`."""
        self._waiting.append(job)

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Run the next job to its end, however long that takes, and return it."""
        from gradcli.engines import work
        from gradcli.runs.provenance import provenance

        if not self._waiting:
            return []
        job = self._waiting.popleft()
        try:
            with returning_to(Path.cwd()):
                work.run(job, self._loader(job.data_dir), provenance())
        except Exception:
            if self._raise_errors:
                raise
            # Its run directory says what went wrong.
        _pass_on_signal(Path(job.directory))
        return [Ended(job.id)]

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job. None runs while this process does anything else."""
        self._waiting = deque(job for job in self._waiting if job.id != job_id)

    def close(self) -> None:
        """Forget all jobs."""
        self._waiting.clear()

    def _loader(self, data_dir: str | None) -> Callable[[DataConfig], Dataset]:
        from gradcli.engines import work

        return functools.partial(work.load_once, data_dir=data_dir, download=self._download)


def _pass_on_signal(directory: Path) -> None:
    """Raise again the signal that a trial stopped for: it was meant for the comparison, too."""
    run = load_run(directory)
    if run.status == "interrupted" and run.state.get("signal") is not None:
        signal.raise_signal(run.state["signal"])


def _show_nothing(done_bytes: int, total_bytes: int, name: str) -> None:
    """Show nothing of a download: the data was fetched for the plan."""
