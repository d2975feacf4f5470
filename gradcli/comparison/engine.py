"""What an engine is: the few calls that a comparison makes, whatever runs its trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Download = Callable[[int, int, str], None]
"""Is told of a download: the bytes that are there, those of the whole or 0, and the file."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A comparison to be planned, for `workflows.planning`; plain values, as in a `Job`."""

    overrides: Sequence[str]
    vary: Sequence[str]
    jobs: int
    config_dir: str | None = None
    data_dir: str | None = None
    allow_import: Sequence[str] = ()


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
    allow_import: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that runs no more, however it ended."""

    id: str
    problem: str = ""
    """Where the process died instead of ending the trial: how, in words."""


class Engine(Protocol):
    """Runs jobs. Their results are in their run directories, and nowhere else."""

    def scale(self, jobs: int) -> None:
        """Run up to `jobs` trials at the same time from now on."""

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Plan a comparison where its trials will run, and return `Plan.as_json`.

        Planning takes torch, the data and the model, and so does every trial: whoever asks for
        the plan need have neither.

        Args:
            request: what was asked for.
            download: is told of one, where the data must be had first.

        Raises:
            UserError: for whatever a trial cannot be run with.
            RuntimeError: for any other failure.
        """

    def submit(self, job: Job) -> None:
        """Run a job as soon as there is room for it, after those that were submitted before."""

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended since the last call; wait `timeout` seconds for one."""

    def cancel(self, job_id: str) -> None:
        """Forget a job that waits; let one that runs save its state and end."""

    def close(self) -> None:
        """End at once whatever still runs, and release everything. Safe to call again."""
