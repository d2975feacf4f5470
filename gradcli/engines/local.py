"""Trials in worker processes on this machine; each worker runs one trial after another.

A worker is a fresh interpreter, not a fork, so the caller may be any program that has threads or
uses a graphics card. It loads torch and the data once. It ends when its stdin closes, so it
never outlives this process.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gradcli.comparison.engine import Download, Ended, Job, PlanRequest
from gradcli.engines.worker_process import WorkerProcess, pass_on

_PLANNERS = 2  # this many workers may die while planning before it is an error


class LocalEngine:
    """An engine of worker processes, which start immediately and end with `close`.

    Args:
        jobs: the number of workers until `scale` changes it; None starts one, which loads torch
            while the caller finds out how many it needs.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self._jobs = 0
        self._waiting: deque[Job] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess] = []
        self.scale(jobs or 1)

    def scale(self, jobs: int) -> int:
        """Have `jobs` workers and return `jobs`; missing workers start immediately."""
        self._jobs = jobs
        while len(self._workers) < jobs:
            self._start_worker()
        return jobs

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Let the first worker plan a comparison; see `Engine.plan`.

        Raises:
            UserError: if the config or the data is wrong.
            RuntimeError: if planning fails in any other way, or two workers die while planning.
        """
        for _ in range(_PLANNERS):
            self.scale(self._jobs)
            worker = self._workers[0]
            worker.send({"plan": asdict(request)})
            try:
                while (messages := worker.wait()) is not None:
                    for message in messages:
                        if "planned" in message:
                            return dict(message["planned"])
                        pass_on(message, download)
            except KeyboardInterrupt:
                worker.interrupt()
                raise
            self._reap(worker)
        raise RuntimeError(f"The comparison was not planned: its worker {worker.ending}.")

    def submit(self, job: Job) -> None:
        """Run a job as soon as a worker is free."""
        self._waiting.append(job)
        self._assign()

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended; wait `timeout` seconds for one."""
        ended: list[Ended] = []
        for key, _ in self._selector.select(timeout):
            worker: WorkerProcess = key.data
            messages = worker.read()
            if messages is None:
                ended += self._reap(worker)
            else:
                ended += [Ended(message["ended"]) for message in messages if "ended" in message]
        self._assign()
        return ended

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job; let a running one save its state and end."""
        self._waiting = deque(job for job in self._waiting if job.id != job_id)
        for worker in self._workers:
            if worker.job == job_id:
                worker.stop()

    def close(self) -> None:
        """End every worker immediately."""
        self._waiting.clear()
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            self._selector.unregister(worker.replies)
            worker.release()
        self._workers = []
        self._selector.close()

    def _assign(self) -> None:
        """Give waiting jobs to free workers; replace dead workers if there is work."""
        if self._waiting:
            self.scale(self._jobs)
        for worker in self._workers:
            if worker.job is None and self._waiting:
                worker.give(self._waiting.popleft())

    def _start_worker(self) -> None:
        worker = WorkerProcess()
        self._workers.append(worker)
        self._selector.register(worker.replies, selectors.EVENT_READ, worker)

    def _reap(self, worker: WorkerProcess) -> list[Ended]:
        """Remove a dead worker and return its job, if it had one, as ended."""
        self._workers.remove(worker)
        self._selector.unregister(worker.replies)
        worker.end()
        return [] if worker.job is None else [Ended(worker.job, f"its worker {worker.ending}")]
