"""Trials in worker processes on this machine; each worker runs one trial after another.

A worker is a fresh interpreter, not a fork, so the caller may be any program that has threads or
uses a graphics card. It loads torch and the data once. It ends when its stdin closes, so it
never outlives this process.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from gradcli.comparison.engine import Download, Ended, Job, PlanRequest
from gradcli.errors import user_error_from_json

_SECONDS_TO_DIE = 5.0
_SECONDS_TO_TIDY = 3.0
_TAIL_CHARACTERS = 2000
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
        self._workers: list[_Worker] = []
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
                        _pass_on(message, download)
            except KeyboardInterrupt:
                worker.interrupt()
                raise
            self._reap(worker)
        raise RuntimeError(f"The comparison was not planned: {worker.exit_reason}.")

    def submit(self, job: Job) -> None:
        """Run a job as soon as a worker is free."""
        self._waiting.append(job)
        self._assign()

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended; wait `timeout` seconds for one."""
        ended: list[Ended] = []
        for key, _ in self._selector.select(timeout):
            worker: _Worker = key.data
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
                worker.process.send_signal(signal.SIGTERM)

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
        worker = _Worker()
        self._workers.append(worker)
        self._selector.register(worker.replies, selectors.EVENT_READ, worker)

    def _reap(self, worker: _Worker) -> list[Ended]:
        """Remove a dead worker and return its job, if it had one, as ended."""
        self._workers.remove(worker)
        self._selector.unregister(worker.replies)
        worker.end()
        return [] if worker.job is None else [Ended(worker.job, worker.exit_reason)]


def _pass_on(message: dict[str, Any], download: Download) -> None:
    """Repeat in this process what a worker reports while planning.

    Raises:
        UserError: the user's mistake that the worker found.
        RuntimeError: any other failure of the worker.
    """
    match message:
        case {"download": [done_bytes, total_bytes, name]}:
            download(done_bytes, total_bytes, name)
        case {"warning": text}:
            warnings.warn(text, stacklevel=2)
        case {"mistake": mistake}:
            raise user_error_from_json(mistake)
        case {"failure": report}:
            raise RuntimeError(f"The comparison was not planned:\n{report}")


class _Worker:
    """A worker process, its current job, and the pipes to it."""

    def __init__(self) -> None:
        self.job: str | None = None
        self.exit_reason = ""
        self._partial = b""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see release()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gradcli.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                # The worker finds every module that this process finds, those of the user's
                # own folder included.
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                # Trials set their own number; this is for everything else in the process.
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
            },
            # Ctrl-C reaches the terminal's process group. A worker must not receive it: this
            # process decides what is saved.
            process_group=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._jobs, self.replies = self.process.stdin, self.process.stdout
        os.set_blocking(self.replies.fileno(), False)

    def give(self, job: Job) -> None:
        """Send a job. If the worker is already dead, the job ends with it."""
        self.job = job.id
        self.send({"job": asdict(job)})

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a dead worker does not receive it."""
        with suppress(BrokenPipeError):  # `read` notices that it is dead
            self._jobs.write(json.dumps(message).encode() + b"\n")
            self._jobs.flush()

    def wait(self) -> list[dict[str, Any]] | None:
        """Wait for its next messages, and return them as `read` does."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.replies, selectors.EVENT_READ)
            selector.select()
        return self.read()

    def read(self) -> list[dict[str, Any]] | None:
        """Return the messages that have arrived; None if the worker is dead."""
        block = self.replies.read()
        if not block:
            return None if block == b"" else []
        *lines, self._partial = (self._partial + block).split(b"\n")
        messages = [json.loads(line) for line in lines]
        if any("ended" in message for message in messages):
            self.job = None
        return messages

    def interrupt(self) -> None:
        """Let the process clean up, for example a download, and end."""
        self.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_SECONDS_TO_TIDY)

    def kill(self) -> None:
        """End the process, if it has not ended."""
        self.process.kill()

    def end(self) -> None:
        """Wait for the ending process; note how it ended and the last line of its stderr."""
        try:
            code = self.process.wait(_SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self.process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL_CHARACTERS))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.exit_reason = f"its worker {how}" + (f": {lines[-1]}" if lines else "")
        self.release()

    def release(self) -> None:
        """Wait for the ended process and close the pipes to it."""
        self.process.wait(_SECONDS_TO_DIE)
        for pipe in (self._jobs, self.replies, self._errors):
            with suppress(BrokenPipeError):  # it died before it read a job
                pipe.close()
