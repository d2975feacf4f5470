"""Trials in worker processes on this machine; each worker runs one trial after another.

A worker is a fresh interpreter, not a fork, so the caller may be any program that has threads or
uses a graphics card. It loads torch and the data once. It ends when its stdin closes, so it
never outlives this process.
"""

from __future__ import annotations

import os
import queue
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from gradcli.comparison.engine import Download, Ended, Job, PlanRequest
from gradcli.engines.worker_process import Arrived, Message, WorkerProcess, pass_on
from gradcli.errors import ScarceMemoryWarning, UserError
from gradcli.system import resources

_PLANNERS = 2  # this many workers may die while planning before it is an error
_SECONDS_BETWEEN_SIGNALS = 0.2  # on Windows, Ctrl-C is noticed between two waits
#: In GB. Measured at the end of a trial (resident set, Linux, torch 2.13 for CPUs): 0.29 with the
#: default MLP on the sample, 0.34 on MNIST, 0.58 with the CNN on MNIST.
_USUAL_MEMORY = 0.6
_GB = 1e9


class LocalEngine:
    """An engine of worker processes, which start immediately and end with `close`.

    Args:
        jobs: the number of workers until `scale` changes it; None starts one, which loads torch
            while the caller finds out how many it needs.
        gpus: which graphics cards a worker sees, of those that this process may use: one, in turn,
            or all.
        affinity: whether each worker keeps to its own cores. Only Linux can do that.
        memory_per_trial: what a worker takes, in GB; None is the usual.
    """

    def __init__(
        self,
        jobs: int | None = None,
        gpus: Literal["one", "all"] = "one",
        affinity: bool = False,
        memory_per_trial: float | None = None,
    ) -> None:
        if memory_per_trial is not None and not memory_per_trial > 0:
            raise UserError(
                f"engine.memory_per_trial is {memory_per_trial}; it must be above 0.",
                where="engine.memory_per_trial",
                hint="engine.memory_per_trial=null",
            )
        self._affinity = affinity and hasattr(os, "sched_setaffinity")
        self._memory = memory_per_trial or _USUAL_MEMORY
        cards = resources.graphics_cards() if gpus == "one" else ()
        self._cards = cards if len(cards) > 1 else ()
        self._jobs = 0
        self._waiting: deque[Job] = deque()
        self._workers: list[WorkerProcess] = []
        self._arrived: Arrived = queue.SimpleQueue()
        self.scale(jobs or 1)

    def scale(self, jobs: int) -> int:
        """Have `jobs` workers, or as many as the memory allows; missing ones start immediately.

        Returns:
            How many there are.
        """
        self._jobs = self._affordable(jobs)
        self._fill()
        return self._jobs

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Let the first worker plan a comparison; see `Engine.plan`.

        Raises:
            UserError: if the config or the data is wrong.
            RuntimeError: if planning fails in any other way, or two workers die while planning.
        """
        for _ in range(_PLANNERS):
            self._fill()
            planner = self._workers[0]
            planner.send({"plan": asdict(request)})
            try:
                while planner in self._workers:
                    for worker, message in self._messages(_SECONDS_BETWEEN_SIGNALS):
                        if message is None:
                            self._reap(worker)
                        elif "planned" in message:
                            return dict(message["planned"])
                        else:
                            pass_on(message, download)
            except KeyboardInterrupt:
                planner.interrupt()
                raise
        raise RuntimeError(f"The comparison was not planned: its worker {planner.ending}.")

    def submit(self, job: Job) -> None:
        """Run a job as soon as a worker is free."""
        self._waiting.append(job)
        self._assign()

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended; wait `timeout` seconds for one."""
        ended: list[Ended] = []
        for worker, message in self._messages(timeout):
            if message is None:
                ended += self._reap(worker)
            elif "ended" in message:
                worker.job = None
                ended.append(Ended(message["ended"]))
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
            worker.release()
        self._workers = []

    def _assign(self) -> None:
        """Give waiting jobs to free workers; replace dead workers if there is work."""
        if self._waiting:
            self._fill()
        for worker in self._workers:
            if worker.job is None and self._waiting:
                worker.give(self._waiting.popleft())

    def _affordable(self, jobs: int) -> int:
        """Return how many of `jobs` workers there is memory for, at least 1; warn if not for all.

        Those that there are have just started, and have taken nothing yet.
        """
        free = resources.available_memory()
        if free is None or jobs <= max(len(self._workers), 1):
            return jobs
        most = max(1, int(free / (self._memory * _GB)))
        if most < jobs:
            warnings.warn(
                f"{most} of {jobs} trials will run at the same time: {free / _GB:.1f} GB of memory "
                f"are available, and each is taken to need {self._memory:g} "
                "(engine.memory_per_trial).",
                ScarceMemoryWarning,
                stacklevel=3,
            )
        return min(jobs, most)

    def _fill(self) -> None:
        """Start the workers that are missing, each in place of one that is gone."""
        while len(self._workers) < self._jobs:
            taken = [worker.environment for worker in self._workers]
            self._workers.append(WorkerProcess(self._arrived, environment=self._least_used(taken)))
        if self._affinity:
            cores = resources.shares(self._jobs, resources.allowed_cores())
            for worker, own in zip(self._workers, cores, strict=False):
                with suppress(ProcessLookupError):  # it is dead, which its pipe will say
                    os.sched_setaffinity(worker.process.pid, own)

    def _least_used(self, taken: Sequence[Mapping[str, str]]) -> dict[str, str]:
        """Return the variable that shows a worker the card which the fewest workers use."""
        if not self._cards:
            return {}
        choices = [{"CUDA_VISIBLE_DEVICES": card} for card in self._cards]
        return min(choices, key=taken.count)

    def _messages(self, timeout: float) -> Iterator[tuple[WorkerProcess, Message | None]]:
        """Yield what workers have said; wait `timeout` seconds for the first of them."""
        with suppress(queue.Empty):
            yield self._arrived.get(timeout=timeout)
            while True:
                yield self._arrived.get_nowait()

    def _reap(self, worker: WorkerProcess) -> list[Ended]:
        """Remove a dead worker and return its job, if it had one, as ended."""
        self._workers.remove(worker)
        worker.end()
        return [] if worker.job is None else [Ended(worker.job, f"its worker {worker.ending}")]
