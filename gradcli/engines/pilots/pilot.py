"""What a pilot does: claim trials and run them, and see that somebody leads the comparison.

A pilot ends when the comparison is over, when it was idle for long, or when its scheduler asks it
to: then it saves the trial that it runs and gives it back, and another pilot goes on from there.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gradcli.comparison.engine import Job
from gradcli.engines.environment import THREADS
from gradcli.engines.pilots.queue import NoQueueError, PilotDesk
from gradcli.errors import LostLeaseError
from gradcli.runs import ComparisonDirectory, load_run
from gradcli.runs.reader import is_run
from gradcli.system.interrupts import signal_main_thread
from gradcli.system.locks import is_locked
from gradcli.system.processes import considerate_threads
from gradcli.workflows.comparing.leading import start_leading
from gradcli.workflows.comparing.stopping import is_to_stop

#: How long to wait between two looks for work: longer and longer, to be gentle to the disk.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
#: How often an idle pilot looks whether somebody leads.
_SECONDS_BETWEEN_CHECKS = 5.0
#: How long to leave alone a trial whose directory is not free yet.
_SECONDS_IN_USE = 5.0
#: How often to look whether the trial that is to stop can be told to.
_SECONDS_BETWEEN_TRIES = 0.1
#: What ends a pilot, besides SIGTERM: schedulers announce a time limit with one of these.
_ANNOUNCED = ("SIGUSR1", "SIGUSR2")


@dataclass(frozen=True)
class Orders:
    """What a pilot is told when it is scheduled; plain values."""

    directory: str
    """The comparison's, absolute."""
    import_path: tuple[str, ...]
    """Where modules are looked for, besides the usual places: `sys.path` of the submitter."""
    lead: tuple[str, ...]
    """The arguments of `gradcli` that lead the comparison."""
    named_by: str
    """The variable of the environment that tells a pilot what its scheduler calls it."""
    idle_seconds: float
    """How long to wait for work before ending."""


def run_pilot(orders: Orders) -> None:
    """Be a pilot until the comparison is over, nothing is to do, or the scheduler asks to end."""
    sys.path += [folder for folder in orders.import_path if folder not in sys.path]
    os.environ |= {**considerate_threads(), **THREADS}  # before torch is loaded
    directory = Path(orders.directory)
    # Whoever leads knows, and starts another; or the comparison is removed, or elsewhere by now.
    with _asked_to_end() as asked, suppress(LostLeaseError, NoQueueError):
        desk = PilotDesk(directory, os.environ[orders.named_by])
        lead = _Leader(directory, orders.lead)
        try:
            _work(directory, desk, lead, orders.idle_seconds, asked)
        finally:
            lead.end()
            desk.leave()


def _work(
    directory: Path, desk: PilotDesk, leader: _Leader, idle_seconds: float, asked: list[int]
) -> None:
    """Run trial after trial, until there is a reason to end."""
    pause, idle_since, next_check = _FIRST_PAUSE, time.monotonic(), 0.0
    while not (asked or desk.is_closed() or is_to_stop(directory)):
        if (job := desk.claim()) is not None:
            if _run(job, asked):
                desk.end(job)
            else:
                desk.give_back(job)
            pause, idle_since = _FIRST_PAUSE, time.monotonic()
            continue
        now = time.monotonic()
        if now >= next_check:
            if _is_over(directory):
                return
            leader.start_if_nobody_leads()
            next_check = now + _SECONDS_BETWEEN_CHECKS
        if now - idle_since > idle_seconds and not leader.is_at_work():
            return
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _run(job: Job, asked: list[int]) -> bool:
    """Run a trial; return whether it is over, rather than to be continued by another pilot."""
    from gradcli.engines import work  # torch
    from gradcli.runs.provenance import provenance

    directory = Path(job.directory)
    load_data = functools.partial(work.load_once, data_dir=job.data_dir, download=_show_nothing)
    # The run directory says how a trial failed; the next one needs this process.
    with suppress(Exception):
        work.run(job, load_data, provenance())
    if is_locked(directory):  # by the pilot that had it before, and may still live
        time.sleep(_SECONDS_IN_USE)
        return False
    if not is_run(directory):
        return not asked
    run = load_run(directory)
    if run.status == "interrupted" and run.state.get("signal") is not None:
        asked.append(run.state["signal"])
        return False
    return not asked or run.status != "interrupted"


def _show_nothing(done_bytes: int, total_bytes: int, name: str) -> None:
    """Show nothing of a download: nobody looks at a pilot."""


def _is_over(directory: Path) -> bool:
    """Whether nobody works on a comparison, and nobody has to."""
    comparison = ComparisonDirectory(directory)
    return not directory.is_dir() or comparison.state["status"] != "running"


class _Leader:
    """The process that leads the comparison, once a pilot has found that nobody does.

    It is the command that the user could type, too. No signal of the scheduler reaches it: a pilot
    that is asked to end must not end the comparison. It is killed with its pilot, and the next
    pilot that finds nobody leading starts another one.
    """

    def __init__(self, directory: Path, arguments: tuple[str, ...]) -> None:
        self._directory, self._arguments = directory, arguments
        self._process: subprocess.Popen[bytes] | None = None

    def is_at_work(self) -> bool:
        """Whether this pilot's own process leads."""
        return self._process is not None and self._process.poll() is None

    def start_if_nobody_leads(self) -> None:
        """Start the process if no other is at work in the comparison."""
        if self.is_at_work() or is_locked(self._directory):
            return
        time.sleep(random.uniform(0, _LONGEST_PAUSE))  # other pilots have just seen the same
        if is_locked(self._directory):
            return
        blocked = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        blocked |= {getattr(signal, name) for name in _ANNOUNCED}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)  # which a child inherits
        try:
            self._process = start_leading(self._arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self) -> None:
        """Kill the process, which leaves everything as if its machine had failed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """Note the signals that ask a pilot to end, and pass them on to the trial that it runs.

    A trial handles SIGTERM itself while it trains. One that comes earlier waits for that.
    """
    asked: list[int] = []
    over = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            threading.Thread(target=pass_on, daemon=True).start()

    def note_and_stop(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)
        asked.append(number)

    def pass_on() -> None:
        while not over.wait(_SECONDS_BETWEEN_TRIES):
            if signal.getsignal(signal.SIGTERM) is not note:
                signal_main_thread(signal.SIGTERM)
                return

    handlers = {signal.SIGTERM: note, signal.SIGINT: note}
    handlers |= {getattr(signal, name): note_and_stop for name in _ANNOUNCED}
    before = {number: signal.signal(number, handle) for number, handle in handlers.items()}
    try:
        yield asked
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
