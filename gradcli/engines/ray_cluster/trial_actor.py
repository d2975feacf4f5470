"""What runs on a node: a worker process, as on this machine, and the actor that looks after it.

A process that Ray starts blocks signals, has threads and cannot be forked. The worker has none of
that: a trial stops for a signal there, its data may be loaded by other processes, and when it dies,
the actor says how. When the actor dies, the worker's input closes, and it ends.
"""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradcli
from gradcli.comparison.engine import Job
from gradcli.engines.ray_cluster.shipped_code import CONFIGS, MODULES, ShippedCode
from gradcli.engines.ray_cluster.trial_files import Changes, Outbox
from gradcli.engines.worker_process import WorkerProcess

#: How long a call waits for news; as often the files of a trial are sent.
_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has said, how it died if it did, and what has changed in its trial's files."""

    messages: tuple[dict[str, Any], ...]
    death: str = ""
    changes: Changes | None = None

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to come."""
        ends = {"ended", "planned", "mistake", "failure"}
        return bool(self.death) or any(ends & set(message) for message in self.messages)


class TrialActor:
    """Runs one trial after another in a worker process on its node.

    One call at a time waits for news; `stop`, `interrupt` and `leave` come in between.

    Args:
        code: the user's own code.
        environment: variables of the worker.
        folder: its working directory, if the node has it.
    """

    def __init__(self, code: ShippedCode, environment: Mapping[str, str], folder: str) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="gradcli-"))
        self._code, self._environment, self._folder = code, environment, Path(folder)
        self._outbox: Outbox | None = None
        self._has_left = False
        code.unpack(self._root)
        self._worker = self._started()

    def host(self) -> str:
        """Return the name of the node's machine."""
        return socket.gethostname()

    def sees(self, probe: str, token: str) -> bool:
        """Whether a file with the content `token` is here, in a folder that can be written."""
        path = Path(probe)
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                return path.read_text(encoding="ascii") == token
        except OSError:
            return False

    def plan(self, request: dict[str, Any]) -> Report:
        """Plan a comparison, and return the first report."""
        if request["config_dir"] is not None:
            (self._root / CONFIGS).mkdir(exist_ok=True)  # it may hold nothing that travels
            request = {**request, "config_dir": str(self._root / CONFIGS)}
        self._worker.send({"plan": request})
        return self.report()

    def run(self, job: dict[str, Any], files: Mapping[str, bytes] | None) -> Report:
        """Run a trial, or resume it, and return the first report.

        Args:
            job: a `Job` as plain values.
            files: those of the trial's directory, which this node does not see; None if it does.
        """
        if files is not None:
            directory = self._copy / "trials" / Path(job["directory"]).name
            directory.mkdir(parents=True)
            for name, content in files.items():
                path = directory / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            self._outbox = Outbox(directory, files)
            job = {**job, "directory": str(directory)}
        self._worker.give(Job(**job))
        return self.report()

    def report(self) -> Report:
        """Return what the worker says next, or after a while that it has said nothing."""
        messages, death = self._worker.wait(_SECONDS), ""
        if messages is None:
            self._worker.end()
            messages, death = [], self._worker.ending
            if not self._has_left:
                self._worker = self._started()
        said = tuple(self._code.named_as_here(message, self._root) for message in messages)
        report = Report(said, death, self._outbox.changes() if self._outbox else None)
        if report.has_ended:
            self._outbox = None
            shutil.rmtree(self._copy, ignore_errors=True)
        return report

    def stop(self) -> None:
        """Let the trial save its state and end."""
        self._worker.stop()

    def interrupt(self) -> None:
        """Let the worker clean up, for example a download, and end."""
        self._worker.interrupt()

    def leave(self) -> None:
        """End the worker, and leave nothing on the node."""
        self._has_left = True
        self._worker.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def _copy(self) -> Path:
        """The folder of a comparison, for a trial whose own directory this node does not see."""
        return self._root / "comparison"

    def _started(self) -> WorkerProcess:
        # Ray blocks SIGINT in what it starts, and a process inherits that of the thread.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        package = Path(gradcli.__file__).parents[1]
        return WorkerProcess(
            search_path=[str(self._root / MODULES), str(package), *self._code.search_path],
            environment=self._environment,
            folder=self._folder if self._folder.is_dir() else None,
        )
