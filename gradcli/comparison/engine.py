"""What an engine is: the few calls that a comparison makes, whatever runs its trials.

An engine is a class with these methods. A config, `engine/NAME.yaml`, names it by `_target_`; its
other keys are the keyword arguments of the class; `jobs` is the number of trials that run at
the same time. The class needs no base class and must not import torch: the process that shows a
comparison starts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Download = Callable[[int, int, str], None]
"""Shows a download: the bytes received, the bytes in total or 0 if unknown, and the file."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A comparison to plan with `workflows.comparing.planning`; plain values, as in a `Job`."""

    overrides: Sequence[str]
    vary: Sequence[str]
    jobs: int
    config_dir: str | None = None
    data_dir: str | None = None
    allow_import: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to run or to resume; plain values, so that it can be sent anywhere."""

    id: str
    directory: str
    """The trial's run directory, absolute."""
    config: str
    """The resolved config as YAML."""
    until: int | None = None
    """The step after which to pause; None is the end."""
    validates: bool = False
    """Whether to validate within epochs, which times the target."""
    data_dir: str | None = None
    allow_import: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that no longer runs, however it ended."""

    id: str
    problem: str = ""
    """How its process died, as text; empty if the process ended the trial itself."""


@runtime_checkable
class Engine(Protocol):
    """Runs jobs. Their results are in their run directories, and nowhere else."""

    def scale(self, jobs: int) -> int:
        """Run up to `jobs` trials at the same time from now on.

        Returns:
            How many it will really run at the same time: at least 1, at most `jobs`.
        """

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Plan a comparison where its trials will run, and return `Plan.as_json`.

        Planning needs torch, the data and the model, as every trial does; the process that asks
        for the plan needs none of them.

        Args:
            request: what to plan.
            download: is called with the progress of a download, if the data must be fetched.

        Raises:
            UserError: if a trial could not run with the config or the data.
            RuntimeError: for any other failure.
        """

    def submit(self, job: Job) -> None:
        """Run a job as soon as there is room for it, after those submitted earlier."""

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended since the last call; wait `timeout` seconds for one."""

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job; let a running one save its state and end."""

    def close(self) -> None:
        """End whatever still runs immediately, and release everything. Safe to call again."""


@runtime_checkable
class OutlivesItsLeader(Protocol):
    """An engine whose jobs go on without this process, and which another one may lead."""

    def leave(self) -> None:
        """Leave everything as it is, because another process leads the comparison now."""


OpenEngine = Callable[[type, Mapping[str, Any]], Engine]
"""Makes an engine from its class and keyword arguments; its provider closes the engine."""
