"""Pilots as Slurm jobs: all of a comparison have its name, so any node can count and end them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradcli.engines.pilots.fleet import LOGS
from gradcli.engines.pilots.pilot import Orders, run_pilot
from gradcli.engines.pilots.queue import QUEUE
from gradcli.engines.slurm.logs import last_line
from gradcli.errors import UserError

_SECONDS_TO_ANSWER = 60.0


class SlurmFleet:
    """The pilots of the comparison in `directory`, as jobs of this user.

    Args:
        directory: of the comparison, absolute.
        asked: the options of `sbatch` for each pilot, as submitit names them.

    Raises:
        UserError: if this machine has no Slurm.
    """

    def __init__(self, directory: Path, asked: Mapping[str, Any]) -> None:
        if shutil.which("sbatch") is None:
            raise UserError(
                "This machine has no sbatch: jobs are submitted from a login node of the cluster.",
                where="--engine slurm",
                hint="--engine local; or engine.cluster=local, which tries it on this machine",
            )
        self._name, self._asked = f"gradcli-{directory.name}", dict(asked)
        self._logs = directory / QUEUE / LOGS

    def start(self, pilots: int, orders: Orders) -> None:
        """Submit pilots, as one array of jobs.

        Raises:
            UserError: if Slurm refuses them; it has no such partition, for example.
        """
        import submitit

        executor = submitit.SlurmExecutor(folder=self._logs)
        executor.update_parameters(job_name=self._name, **self._asked)
        try:
            executor.map_array(run_pilot, [orders] * pilots)
        except submitit.core.utils.FailedJobError as error:
            raise UserError(
                f"Slurm refused the pilots: {_reason(str(error))}",
                where="--engine slurm",
                hint="sinfo, which lists partitions and nodes; then engine.partition=NAME",
            ) from None

    def count(self) -> int:
        """Return how many pilots are pending or at work."""
        return len(self._answer("squeue", "--noheader", "--array", "--format=%i").splitlines())

    def end(self, scheduled_as: str) -> None:
        """Let Slurm end a job: it may save its trial first."""
        _run("scancel", scheduled_as)

    def end_all(self, *, also_those_at_work: bool) -> None:
        """Withdraw pending jobs, and perhaps end those at work."""
        self._answer("scancel", *([] if also_those_at_work else ["--state=PENDING"]))

    def last_words(self) -> str:
        """Return the last line that a job wrote to its stderr."""
        return last_line(self._logs)

    def _answer(self, program: str, *arguments: str) -> str:
        return _run(program, "--me", f"--name={self._name}", *arguments)


def _run(*command: str) -> str:
    """Run one of Slurm's programs, and return what it wrote.

    Raises:
        UserError: if it fails, or does not answer in time.
    """
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=True
        )
    except subprocess.TimeoutExpired:
        problem = f"{command[0]} did not answer within {_SECONDS_TO_ANSWER:.0f} s."
    except subprocess.CalledProcessError as error:
        problem = f"{command[0]} failed: {_reason(error.stderr)}"
    else:
        return answer.stdout
    raise UserError(problem, where="--engine slurm", hint="sinfo, which says how the cluster is")


def _reason(text: str) -> str:
    """Return what Slurm says is wrong, in one line, without the name of the program."""
    lines = [line for line in text.splitlines() if "error:" in line]
    return " ".join(line.partition("error:")[2].strip() for line in lines) or text.strip()
