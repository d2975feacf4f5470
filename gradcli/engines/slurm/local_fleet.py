"""Pilots as processes of this machine: the way through submitit, without a cluster."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from gradcli.engines.pilots.fleet import LOGS
from gradcli.engines.pilots.pilot import Orders, run_pilot
from gradcli.engines.pilots.queue import QUEUE, JobQueue, PilotFolder
from gradcli.engines.slurm.logs import last_line


class LocalFleet:
    """The pilots of the comparison in `directory`, as processes of submitit's local executor.

    Args:
        directory: of the comparison, absolute.
        minutes: the time limit of a pilot.
        warning_seconds: how long before it a pilot is told.
    """

    job_id_variable: ClassVar[str] = "SUBMITIT_LOCAL_JOB_ID"

    def __init__(self, directory: Path, minutes: float, warning_seconds: int) -> None:
        self._queue, self._logs = JobQueue(directory), directory / QUEUE / LOGS
        self._limits = {"timeout_min": minutes, "signal_delay_s": warning_seconds}
        self._jobs: list[Any] = []

    def start(self, pilots: int, orders: Orders) -> None:
        """Start pilots."""
        import submitit

        executor = submitit.LocalExecutor(folder=self._logs)
        executor.update_parameters(**self._limits)
        self._jobs += [executor.submit(run_pilot, orders) for _ in range(pilots)]

    def count(self) -> int:
        """Return how many pilots live; an earlier leader may have started some of them."""
        self._jobs = [job for job in self._jobs if not job.done()]
        elsewhere = [one for one in self._living() if one.host != socket.gethostname()]
        return len(self._scheduled()) + len(elsewhere)

    def end(self, scheduled_as: str) -> None:
        """Let a pilot of this machine save its trial and end."""
        if scheduled_as not in self._scheduled():
            return
        with suppress(ProcessLookupError):
            os.kill(int(scheduled_as), signal.SIGTERM)  # which its controller passes on

    def end_all(self, *, also_those_at_work: bool) -> None:
        """End the pilots; none of them is pending."""
        if also_those_at_work:
            for scheduled_as in self._scheduled():
                self.end(scheduled_as)

    def last_words(self) -> str:
        """Return the last line that a pilot wrote to its stderr."""
        return last_line(self._logs)

    def _scheduled(self) -> set[str]:
        """Return what the pilots of this machine are called: the ids of their processes."""
        here = {one.scheduled_as for one in self._living() if one.host == socket.gethostname()}
        return here | {job.job_id for job in self._jobs}

    def _living(self) -> list[PilotFolder]:
        return [pilot for pilot in self._queue.pilots() if pilot.is_alive()]
