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
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from gradcli.comparison.engine import Download, Job
from gradcli.engines.environment import THREADS
from gradcli.errors import user_error_from_json
from gradcli.system.processes import considerate_threads
from gradcli.system.windows import even_if_nobody_reads, out_of_reach_of_ctrl_c

Message = dict[str, Any]
Arrived = queue.SimpleQueue[tuple["WorkerProcess", Message | None]]
"""Which worker said what; None if it says nothing more."""

_SECONDS_TO_DIE = 5.0
_SECONDS_TO_TIDY = 3.0
_TAIL_CHARACTERS = 2000


class WorkerProcess:
    """A process that answers requests, and its current job.

    Args:
        arrived: receives what it says, beside what others say; None is a queue of its own, which
            `wait` reads.
        module: what it runs; it must answer lines of JSON with such lines.
        search_path: where it looks for modules; None is where this process does.
        environment: variables that it has besides those of this process.
        folder: its working directory; None is that of this process.
    """

    def __init__(
        self,
        arrived: Arrived | None = None,
        module: str = "gradcli.engines.worker",
        *,
        search_path: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.job: str | None = None
        self.ending = ""
        """How it ended, as the rest of a sentence about it."""
        self.environment = environment or {}
        self._arrived: Arrived = queue.SimpleQueue() if arrived is None else arrived
        self._is_silent = False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see release()
        paths = sys.path if search_path is None else search_path
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                **considerate_threads(),
                # The worker finds every module that this process finds, those of the user's
                # own folder included.
                "PYTHONPATH": os.pathsep.join(path for path in paths if path),
                **THREADS,
                **self.environment,
            },
            cwd=folder,
            # A worker must not receive Ctrl-C: this process decides what is saved.
            **out_of_reach_of_ctrl_c(),
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._requests = self.process.stdin
        # It reads until the worker and all of its children are gone, which nothing waits for.
        threading.Thread(
            target=_listen, args=(self, self.process.stdout, self._arrived), daemon=True
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

    def wait(self, seconds: float | None = None) -> list[Message] | None:
        """Return what it has said since the last call; None if it will say nothing more.

        Args:
            seconds: how long to wait for the first message; None is as long as it takes.
        """
        messages: list[Message] = []
        with suppress(queue.Empty):
            while not self._is_silent:
                waits = not messages and (seconds is None or seconds > 0)
                _, message = self._arrived.get(waits, seconds if waits else None)
                if message is None:
                    self._is_silent = True
                else:
                    messages.append(message)
        return None if self._is_silent and not messages else messages

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

    def dismiss(self, seconds: float) -> None:
        """Close its input, at which it ends by itself; after `seconds` it is killed."""
        with even_if_nobody_reads():
            self._requests.close()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.release()

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
        self.ending = how + (f": {lines[-1]}" if lines else "")
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


def pass_on(message: Message, download: Download) -> None:
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
