"""What an engine is: the few calls that a comparison makes, whatever runs its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to be run, or gone on with; plain values, so that it can be sent anywhere."""

    id: str
    directory: str
    """The trial's run directory, absolute."""
    config: str
    """The resolved config as YAML."""
    until: int | None = None
    """The step after which to pause; None is the end."""
    data_dir: str | None = None
    allow_import: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that runs no more, however it ended."""

    id: str
    problem: str = ""
    """Where the process died instead of ending the trial: how, in words."""


class Engine(Protocol):
    """Runs jobs. Their results are in their run directories, and nowhere else."""

    def submit(self, job: Job) -> None:
        """Run a job as soon as there is room for it, after those that were submitted before."""

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended since the last call; wait `timeout` seconds for one."""

    def cancel(self, job_id: str) -> None:
        """Forget a job that waits; let one that runs save its state and end."""

    def close(self) -> None:
        """End at once whatever still runs, and release everything. Safe to call again."""
