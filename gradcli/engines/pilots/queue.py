"""The jobs of a comparison as files, on a disk that all who work on it see.

    queue/waiting/      jobs that nobody has claimed; their names sort in the order of submission
    queue/pilots/NAME/  a pilot: its lock, its lease, and the job that it runs
    queue/ended/        jobs that have ended, until the leader has heard of them
    queue/closed        there will be no more jobs

A job is one file, and the folder that it is in says how it stands. It moves by a rename, which a
file system grants to one of all who try. So a job is never with two pilots, and never lost.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gradcli.comparison.engine import Job
from gradcli.errors import LostLeaseError, OperatingSystemError
from gradcli.runs import PILOTS
from gradcli.system.locks import LEASE_FILE, RunLock, is_locked

QUEUE = PILOTS.parts[0]
_CLOSED = "closed"
_SUFFIX = ".json"
#: Pilots that look at the same moment do not all try for the same job.
_TRIED_AT_ONCE = 8


class NoQueueError(OperatingSystemError):
    """A pilot that begins when its comparison has been removed or moved."""


class JobQueue:
    """The queue of the comparison in `directory`, as its leader sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / QUEUE
        self._waiting = self.directory / "waiting"
        self._ended = self.directory / "ended"
        self._pilots = directory / PILOTS
        self._closed = self.directory / _CLOSED
        self._added = 0

    def lead(self) -> set[str]:
        """Begin to lead: withdraw what an earlier leader left waiting.

        Returns:
            The ids of the jobs that living pilots are running, or have given back meanwhile.
        """
        for folder in (self._waiting, self._ended, self._pilots):
            folder.mkdir(parents=True, exist_ok=True)
        self._closed.unlink(missing_ok=True)
        for folder in (self._waiting, self._ended):
            for name in _jobs_in(folder):
                (folder / name).unlink(missing_ok=True)
        self.bury_the_dead()
        return {*self.hands(), *self.waiting()}

    def close(self) -> None:
        """Let no pilot claim anything any more, until somebody leads again."""
        self._closed.touch()

    def add(self, job: Job) -> None:
        """Let a job wait for a pilot, behind those that wait already."""
        self._added += 1
        name = f"{self._added:06d}-{job.id}{_SUFFIX}"
        unseen = self.directory / f".{name}.{secrets.token_hex(4)}"
        unseen.write_text(json.dumps(asdict(job)), encoding="utf-8")
        unseen.rename(self._waiting / name)

    def withdraw(self, job_id: str) -> None:
        """Forget a job, if it is still waiting."""
        for name in _jobs_in(self._waiting):
            if _id(name) == job_id:
                (self._waiting / name).unlink(missing_ok=True)

    def waiting(self) -> list[str]:
        """Return the ids of the jobs that wait for a pilot."""
        return [_id(name) for name in _jobs_in(self._waiting)]

    def take_ended(self) -> list[str]:
        """Return the ids of the jobs that have ended since the last call."""
        names = _jobs_in(self._ended)
        for name in names:
            (self._ended / name).unlink()
        return [_id(name) for name in names]

    def pilots(self) -> list[PilotFolder]:
        """Return all pilots, dead ones that are not buried yet included."""
        if not self._pilots.is_dir():
            return []
        return [PilotFolder(path) for path in sorted(self._pilots.iterdir())]

    def hands(self) -> dict[str, PilotFolder]:
        """Return the jobs that pilots have claimed, by id, each with its pilot."""
        return {job: pilot for pilot in self.pilots() for job in pilot.jobs()}

    def bury_the_dead(self) -> list[tuple[str, str]]:
        """Remove the pilots whose process is gone.

        Returns:
            The job that each of them was running, and the name of the pilot.
        """
        found = []
        for pilot in self.pilots():
            if pilot.is_dead():
                for name in _jobs_in(pilot.path):
                    with suppress(FileNotFoundError):  # it had ended after all
                        (pilot.path / name).unlink()
                        found.append((_id(name), pilot.name))
                shutil.rmtree(pilot.path, ignore_errors=True)
        return found


@dataclass(frozen=True)
class PilotFolder:
    """A pilot, as others see it."""

    path: Path

    @property
    def name(self) -> str:
        """The name that the pilot gave itself."""
        return self.path.name

    @property
    def scheduled_as(self) -> str:
        """What its scheduler calls the pilot."""
        return self.name.partition("@")[0]

    @property
    def host(self) -> str:
        """The machine that it runs on."""
        return self.name.partition("@")[2].rsplit("-", 2)[0]

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that it holds: one at most, unless it dies."""
        return [_id(name) for name in _jobs_in(self.path)]

    def is_alive(self) -> bool:
        """Whether its process lives, as its lock or its lease says."""
        return is_locked(self.path)

    def is_dead(self) -> bool:
        """Whether its process is gone; a pilot that has no lease yet is about to begin."""
        return (self.path / LEASE_FILE).exists() and not self.is_alive()


class PilotDesk:
    """A pilot's own place in the queue, until `leave`.

    Args:
        directory: of the comparison.
        scheduled_as: what its scheduler calls the pilot.

    Raises:
        NoQueueError: if the comparison is not there any more.
    """

    def __init__(self, directory: Path, scheduled_as: str) -> None:
        queue = directory / QUEUE
        self._waiting, self._ended = queue / "waiting", queue / "ended"
        self._closed = queue / _CLOSED
        own = f"{scheduled_as}@{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = directory / PILOTS / own
        try:
            self._folder.mkdir()
        except FileNotFoundError:
            raise NoQueueError(f"{queue} is gone.", where=str(directory)) from None
        self._lock = RunLock(self._folder)

    def is_closed(self) -> bool:
        """Whether there will be no more jobs."""
        return self._closed.exists()

    def claim(self) -> Job | None:
        """Take one of the jobs that have waited longest; None if none waits.

        Raises:
            LostLeaseError: if this pilot was taken for dead.
        """
        while names := _jobs_in(self._waiting):
            first = names[:_TRIED_AT_ONCE]
            for name in random.sample(first, len(first)):
                if self._move(self._waiting / name, self._folder / name):
                    return Job(**json.loads((self._folder / name).read_text(encoding="utf-8")))
        return None

    def end(self, job: Job) -> None:
        """Let the leader know that a job has ended; nothing if this pilot was taken for dead."""
        self._pass_on(job, self._ended)

    def give_back(self, job: Job) -> None:
        """Let another pilot go on with a job; nothing if this pilot was taken for dead."""
        self._pass_on(job, self._waiting)

    def leave(self) -> None:
        """Give up the place, and the job that is in hand; safe to call again."""
        for name in _jobs_in(self._folder):
            self._move(self._folder / name, self._waiting / name)
        self._lock.release()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pass_on(self, job: Job, folder: Path) -> None:
        for name in _jobs_in(self._folder):
            if _id(name) == job.id:
                self._move(self._folder / name, folder / name)

    def _move(self, source: Path, target: Path) -> bool:
        """Move a job; return False if somebody else has moved it.

        Raises:
            LostLeaseError: if this pilot was taken for dead.
        """
        try:
            source.rename(target)
        except FileNotFoundError:
            if not self._folder.is_dir():
                raise LostLeaseError(
                    f"The pilot {self._folder.name} stood still, and was taken for dead.",
                    where=str(self._folder),
                ) from None
            return False
        return True


def _jobs_in(folder: Path) -> list[str]:
    """Return the names of the jobs in a folder, those first that were submitted first."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))  # noqa: PTH208
    except FileNotFoundError:
        return []


def _id(name: str) -> str:
    return name.partition("-")[2].removesuffix(_SUFFIX)
