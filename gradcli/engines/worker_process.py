"""A worker process as its parent sees it: started, asked, heard, interrupted and ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from gradcli.comparison.engine import Download, Job
from gradcli.errors import user_error_from_json

_SECONDS_TO_DIE = 5.0
_SECONDS_TO_TIDY = 3.0
_TAIL_CHARACTERS = 2000


class WorkerProcess:
    """A process that answers requests, its current job, and the pipes to it.

    Args:
        module: what it runs; it must answer lines of JSON with such lines.
        search_path: where it looks for modules; None is where this process does.
        environment: its variables that differ from those of this process.
        folder: its working directory; None is that of this process.
    """

    def __init__(
        self,
        module: str = "gradcli.engines.worker",
        *,
        search_path: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.job: str | None = None
        self.ending = ""
        """How it ended, as the rest of a sentence about it."""
        self._partial = b""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see release()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                # The worker finds every module that this process finds, those of the user's
                # own folder included.
                "PYTHONPATH": os.pathsep.join(
                    path for path in (sys.path if search_path is None else search_path) if path
                ),
                # Trials set their own number; this is for everything else in the process.
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                **(environment or {}),
            },
            cwd=folder,
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

    def wait(self, seconds: float | None = None) -> list[dict[str, Any]] | None:
        """Wait for its next messages, at most `seconds`, and return them as `read` does."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.replies, selectors.EVENT_READ)
            selector.select(seconds)
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
        self.stop(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_SECONDS_TO_TIDY)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask the process to stop what it does: a trial saves its state and ends."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the process, if it has not ended."""
        self.process.kill()

    def dismiss(self, seconds: float) -> None:
        """Close its input, at which it ends by itself; after `seconds` it is killed."""
        with suppress(BrokenPipeError):
            self._jobs.close()
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
        """Wait for the ended process and close the pipes to it."""
        self.process.wait(_SECONDS_TO_DIE)
        for pipe in (self._jobs, self.replies, self._errors):
            with suppress(BrokenPipeError):  # it died before it read a job
                pipe.close()


def pass_on(message: dict[str, Any], download: Download) -> None:
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
