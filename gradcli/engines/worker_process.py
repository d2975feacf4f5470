"""A worker process from outside: it is started, spoken to, listened to, and ended.

Messages are lines of JSON. A thread for each worker waits for its lines, because Windows has no
other way to wait for several pipes at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from gradcli.comparison.engine import Job
from gradcli.system.processes import considerate_threads
from gradcli.system.windows import even_if_nobody_reads, out_of_reach_of_ctrl_c

Message = dict[str, Any]
Arrived = queue.SimpleQueue[tuple["WorkerProcess", Message | None]]
"""Which worker said what; None if it says nothing more."""

_SECONDS_TO_DIE = 5.0
_SECONDS_TO_TIDY = 3.0
_TAIL_CHARACTERS = 2000


class WorkerProcess:
    """A worker process and its current job.

    Args:
        arrived: receives what it says.
        environment: variables that it has besides those of this process.
    """

    def __init__(self, arrived: Arrived, environment: Mapping[str, str]) -> None:
        self.job: str | None = None
        self.exit_reason = ""
        self.environment = environment
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see release()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gradcli.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                **considerate_threads(),
                # The worker finds every module that this process finds, those of the user's
                # own folder included.
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                # Trials set their own number; this is for everything else in the process.
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                **environment,
            },
            # A worker must not receive Ctrl-C: this process decides what is saved.
            **out_of_reach_of_ctrl_c(),
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._requests = self.process.stdin
        # It reads until the worker and all of its children are gone, which nothing waits for.
        threading.Thread(
            target=_listen, args=(self, self.process.stdout, arrived), daemon=True
        ).start()

    def give(self, job: Job) -> None:
        """Send a job. If the worker is already dead, the job ends with it."""
        self.job = job.id
        self.send({"job": asdict(job)})

    def send(self, message: Message) -> None:
        """Send a message; a dead worker does not receive it, and says nothing more."""
        with even_if_nobody_reads():
            self._requests.write(json.dumps(message).encode() + b"\n")
            self._requests.flush()

    def stop(self) -> None:
        """Let its job save its state and end."""
        self.send({"stop": self.job})

    def interrupt(self) -> None:
        """Let the process clean up, for example a download, and end."""
        self.send({"interrupt": True})
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
        """Wait for the ended process, and close what this process has open of it."""
        self.process.wait(_SECONDS_TO_DIE)
        self._errors.close()
        with even_if_nobody_reads():  # it died before it read a job
            self._requests.close()


def _listen(worker: WorkerProcess, replies: IO[bytes], arrived: Arrived) -> None:
    """Pass on what a worker says, until it is dead. A line that it did not finish is nothing."""
    with replies:
        for line in replies:
            if line.endswith(b"\n"):
                arrived.put((worker, json.loads(line)))
    arrived.put((worker, None))
