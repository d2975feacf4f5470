"""The engine of a comparison whose trials pilots run, whoever starts the pilots."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from gradcli.comparison.engine import Download, Ended, Job, PlanRequest
from gradcli.engines.local import LocalEngine
from gradcli.engines.pilots.fleet import LOGS, Fleet
from gradcli.engines.pilots.pilot import Orders
from gradcli.engines.pilots.queue import JobQueue, PilotFolder
from gradcli.errors import MissingPilotsWarning, UserError
from gradcli.runs import ComparisonDirectory
from gradcli.workflows.comparing.leading import leading_command

#: How many jobs wait on the disk for each pilot. The others wait here: whoever claims a job lists
#: all that wait.
_WAITING_PER_PILOT = 4
#: How often the leader looks at the pilots themselves.
_SECONDS_BETWEEN_MUSTERS = 5.0
#: After how many pilots, for each that there should be, it is useless to start further ones.
_ERRORS_PER_PILOT, _DEATHS_PER_PILOT = 2, 10

_SILENT_CLUSTER = (
    "The cluster does not say how many pilots live. Those that do go on; missing ones are started "
    "once it answers."
)


class PilotEngine:
    """An engine whose jobs wait in a `JobQueue` for pilots, which a `Fleet` starts.

    Pilots outlive the process that leads the comparison. If it dies, one of them leads.

    Args:
        make_fleet: makes the fleet of a comparison from its directory.
        pilots: how many there are at the same time, unless `scale` changes it.
        idle_seconds: after how long without work a pilot ends; others are started if there is work.
    """

    def __init__(
        self, make_fleet: Callable[[Path], Fleet], *, pilots: int, idle_seconds: float
    ) -> None:
        self._make_fleet, self._pilots, self._idle_seconds = make_fleet, pilots, idle_seconds
        self._open: _Open | None = None

    def scale(self, jobs: int) -> int:
        """Have up to `jobs` pilots and return `jobs`."""
        self._pilots = jobs
        return jobs

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Plan a comparison on this machine; see `Engine.plan`."""
        with closing(LocalEngine()) as planner:
            return planner.plan(request, download)

    def submit(self, job: Job) -> None:
        """Let a job wait for a pilot; the first one has the pilots started."""
        if self._open is None:
            directory = Path(job.directory).parent.parent
            fleet = self._make_fleet(directory)
            orders = self._orders(directory, fleet.job_id_variable)
            self._open = _Open(JobQueue(directory), fleet, orders)
        self._open.submit(job)

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended; wait `timeout` seconds for one."""
        if self._open is None:
            time.sleep(timeout)
            return []
        if not (ended := self._open.poll(self._pilots)):
            # Last of all: whoever stood still meanwhile must not touch the queue before it knows
            # whether it still leads.
            time.sleep(timeout)
        return ended

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job; ask the pilot of a running one to save it and end."""
        if self._open is not None:
            self._open.cancel(job_id)

    def leave(self) -> None:
        """Leave the pilots and their jobs to another process that leads the comparison now."""
        self._open = None

    def close(self) -> None:
        """End all pilots; if no job is left, those at work end by themselves."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _orders(self, directory: Path, named_by: str) -> Orders:
        """Return what pilots are told. What the config needs was recorded by whoever leads now."""
        comparison = ComparisonDirectory(directory)
        paths = comparison.paths.made_absolute()
        words = comparison.state.get("engine_words", ())
        return Orders(
            directory=str(directory),
            import_path=tuple(filter(None, sys.path)),
            lead=tuple(leading_command(comparison, paths, words)),
            named_by=named_by,
            idle_seconds=self._idle_seconds,
        )


class _Open:
    """The queue and the fleet of one comparison, while this process leads it."""

    def __init__(self, queue: JobQueue, fleet: Fleet, orders: Orders) -> None:
        self._queue, self._fleet, self._orders = queue, fleet, orders
        self._backlog: dict[str, Job] = {}
        self._on_disk = set(queue.lead())
        self._submitted: set[str] = set()
        self._cancelled: set[str] = set()
        self._hands: dict[str, PilotFolder] | None = None
        self._next_muster = 0.0
        self._started_in_vain = 0
        self._has_answered = False

    def submit(self, job: Job) -> None:
        """Let a job wait, unless a pilot has it since an earlier leader."""
        self._submitted.add(job.id)
        if job.id not in self._on_disk:
            self._backlog[job.id] = job

    def poll(self, pilots: int) -> list[Ended]:
        """Fill the queue, see that there are pilots, and return what has ended."""
        self._hands = None
        ended = [Ended(job) for job in self._queue.take_ended()]
        if (now := time.monotonic()) >= self._next_muster:
            ended += [Ended(job, f"{pilot} is gone") for job, pilot in self._queue.bury_the_dead()]
            self._fill(pilots)
            self._muster(pilots)
            self._next_muster = now + _SECONDS_BETWEEN_MUSTERS
        else:
            self._fill(pilots)
        ended += [Ended(job) for job in self._given_back()]
        self._on_disk -= {one.id for one in ended}
        if ended:
            self._started_in_vain = 0
        # A pilot may end what only an earlier leader asked for, or what two have asked for.
        mine = {one.id: one for one in ended if one.id in self._submitted}
        self._submitted -= mine.keys()
        return list(mine.values())

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job; ask the pilot of a running one to end."""
        if self._backlog.pop(job_id, None) is not None or job_id not in self._on_disk:
            return
        self._queue.withdraw(job_id)
        if self._hands is None:
            self._hands = self._queue.hands()
        if (pilot := self._hands.get(job_id)) is not None:
            self._cancelled.add(job_id)
            self._fleet.end(pilot.scheduled_as)

    def close(self) -> None:
        """End what is left of the fleet; a pilot that has just been started finds no job."""
        self._queue.close()
        try:
            self._fleet.end_all(also_those_at_work=bool(self._backlog or self._on_disk))
        except UserError as error:  # which must not hide why this comparison ends
            if self._has_answered:
                said = f"{error.problem} Pilots that are left end once they find no job."
                warnings.warn(said, MissingPilotsWarning, stacklevel=2)

    def _given_back(self) -> list[str]:
        """Withdraw the cancelled jobs that pilots have saved and given back, and return them."""
        given_back = self._cancelled & set(self._queue.waiting()) if self._cancelled else set()
        for job in given_back:
            self._queue.withdraw(job)
        self._cancelled -= given_back
        return sorted(given_back)

    def _fill(self, pilots: int) -> None:
        """Move jobs from the backlog to the disk."""
        if not self._backlog:
            return
        room = _WAITING_PER_PILOT * pilots - len(self._queue.waiting())
        for job in list(islice(self._backlog.values(), max(room, 0))):
            self._queue.add(job)
            self._on_disk.add(job.id)
            del self._backlog[job.id]

    def _muster(self, pilots: int) -> None:
        """Start the pilots that are missing, as far as there is work for them.

        Raises:
            UserError: if there can be no pilots, or they end before they have claimed anything.
        """
        work, count = len(self._backlog) + len(self._on_disk), self._fleet.count()
        living = any(pilot.is_alive() for pilot in self._queue.pilots())
        if count is None and (self._has_answered or living):
            warnings.warn(_SILENT_CLUSTER, MissingPilotsWarning, stacklevel=2)
            return
        self._has_answered |= count is not None
        count = count or 0  # if it has never answered, it says why when it is asked for pilots
        if count >= min(pilots, work):
            return
        if self._queue.hands():
            self._started_in_vain = 0
        elif self._started_in_vain >= pilots:
            self._refuse_useless(words=self._fleet.last_words(), pilots=pilots)
        missing = min(pilots, work) - count
        try:
            self._fleet.start(missing, self._orders)
        except UserError as error:
            if count == 0:
                raise
            # A limit of the cluster may end later, and what lives goes on.
            warnings.warn(
                f"{count} of {min(pilots, work)} pilots are at work or pending. {error.problem}",
                MissingPilotsWarning,
                stacklevel=2,
            )
        else:
            self._started_in_vain += missing

    def _refuse_useless(self, words: str, pilots: int) -> None:
        """Raise an error if one pilot after another ends before it has claimed anything.

        One that was killed has written nothing, and may have been killed for any reason.
        """
        if self._started_in_vain >= pilots * (_ERRORS_PER_PILOT if words else _DEATHS_PER_PILOT):
            raise UserError(
                f"{self._started_in_vain} pilots have ended before they claimed a trial"
                + (
                    f". The last line that one of them wrote: {words}" if words else ", in silence."
                ),
                where=str(self._queue.directory / LOGS),
                hint="look at what they wrote there",
            )
