"""The engine `slurm`: pilots are Slurm jobs, or processes of this machine to try it out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradcli.engines.environment import THREADS
from gradcli.engines.pilots.fleet import Fleet
from gradcli.engines.pilots.pilot_engine import PilotEngine
from gradcli.errors import UserError

_EXTRA = "gradcli[slurm]"
#: Slurm may warn so much earlier than it was asked to.
_EARLY_SECONDS = 60
_CLUSTERS = ("slurm", "local")


class SlurmEngine(PilotEngine):
    """An engine whose pilots are Slurm jobs; submitit submits them.

    The runs folder must be on a disk that the nodes share, and Python with gradcli too.

    Args:
        workers: the number of pilots; each runs one trial at a time.
        cluster: `slurm`, or `local` for pilots that are processes of this machine.
        partition: where to run; null is Slurm's default, as for all that follow.
        account: who is charged.
        minutes: the time limit of a pilot. Another one goes on where it ended.
        memory: of a pilot, as Slurm writes it: 4G.
        cpus: of a pilot.
        gpus: of a pilot.
        constraint: features that its node must have.
        setup: lines of shell to run before it, such as `module load python`.
        options: any other options of `sbatch`, without the dashes: {qos: low}.
        warning_seconds: how long before its time limit, or when it is pre-empted, a pilot is told,
            so that it saves its trial.
        idle_seconds: after how long without work a pilot ends.

    Raises:
        UserError: if submitit is not installed, or `cluster` is another word.
    """

    def __init__(
        self,
        workers: int = 4,
        *,
        cluster: str = "slurm",
        partition: str | None = None,
        account: str | None = None,
        minutes: int = 60,
        memory: str | None = None,
        cpus: int = 1,
        gpus: int = 0,
        constraint: str | None = None,
        setup: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        warning_seconds: int = 60,
        idle_seconds: float = 60.0,
    ) -> None:
        if cluster not in _CLUSTERS:
            raise UserError(
                f"There is no cluster {cluster}.",
                where="engine.cluster",
                choices=_CLUSTERS,
                hint="engine.cluster=slurm",
            )
        if minutes * 60 <= warning_seconds + _EARLY_SECONDS:
            raise UserError(
                f"With a time limit of {minutes:g} min and a warning {warning_seconds:g} s before, "
                "Slurm would warn pilots as soon as they begin.",
                where="engine.minutes",
                hint=f"engine.minutes={math.ceil((warning_seconds + _EARLY_SECONDS) / 60) + 1}",
            )
        if not idle_seconds > 0:
            raise UserError(
                f"engine.idle_seconds is {idle_seconds:g}; it must be above 0.",
                where="engine.idle_seconds",
                hint="engine.idle_seconds=60",
            )
        _require_submitit()
        asked = {
            "partition": partition,
            "account": account,
            "time": minutes,
            "mem": memory,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "constraint": constraint,
            "signal_delay_s": warning_seconds,
            "setup": [*setup, *(f"export {name}={value}" for name, value in THREADS.items())],
            "additional_parameters": dict(options or {}),
        }
        asked = {name: value for name, value in asked.items() if value is not None}

        def make_fleet(directory: Path) -> Fleet:
            if cluster == "local":
                from gradcli.engines.slurm.local_fleet import LocalFleet

                return LocalFleet(directory, minutes, warning_seconds)
            from gradcli.engines.slurm.slurm_fleet import SlurmFleet

            return SlurmFleet(directory, asked)

        super().__init__(make_fleet, pilots=workers, idle_seconds=idle_seconds)


def _require_submitit() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError(
            "engine=slurm needs the package submitit, which is not installed.",
            where="--engine slurm",
            hint=f"pip install '{_EXTRA}'",
        ) from None
