"""Pilots as Slurm jobs: all of a comparison have its name, so any node can count and end them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, ClassVar

from gradcli.engines.pilots.fleet import LOGS
from gradcli.engines.pilots.pilot import Orders, run_pilot
from gradcli.engines.pilots.queue import QUEUE
from gradcli.engines.slurm.logs import last_line
from gradcli.errors import UserError

_SECONDS_TO_ANSWER = 60.0
#: What to try, by a word in what Slurm says; the first that fits.
_HINTS = {
    "partition": "engine.partition=NAME, one that sinfo lists",
    "account": "engine.account=NAME",
    "time limit": "engine.minutes=N, at most what sinfo lists as TIMELIMIT",
    "memory": "engine.memory=4G, less than a node has",
    "processors": "engine.cpus=1, at most what a node has",
    "generic resource": "engine.gpus=N, at most what a node has; sinfo -o '%N %G' lists them",
    "feature": "engine.constraint=NAME, one that sinfo -o '%N %f' lists",
    "option": "engine.options={NAME: VALUE}, each an option of sbatch without its dashes",
    "": "sinfo, which says how the cluster is",
}


class SlurmFleet:
    """The pilots of the comparison in `directory`, as jobs of this user.

    Args:
        directory: of the comparison, absolute.
        asked: the options of `sbatch` for each pilot, as submitit names them.

    Raises:
        UserError: if this machine has no Slurm.
    """

    job_id_variable: ClassVar[str] = "SLURM_JOB_ID"

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

        try:
            # submitit prints what Slurm says, too.
            with redirect_stderr(io.StringIO()):
                executor = submitit.SlurmExecutor(folder=self._logs)
                executor.update_parameters(job_name=self._name, **self._asked)
                executor.map_array(run_pilot, [orders] * pilots)
        except RuntimeError as error:
            reason = _reason(str(error))
            raise UserError(
                f"Slurm refused the pilots: {reason.removesuffix('.')}.",
                where="--engine slurm",
                hint=next(hint for word, hint in _HINTS.items() if word in reason.lower()),
            ) from None
        finally:
            # submitit leaves links to its scripts, and no link is followed where gradcli writes.
            for file in self._logs.glob(".submission_file_*"):
                file.unlink(missing_ok=True)

    def count(self) -> int | None:
        """Return how many pilots are pending or at work; None if Slurm does not answer."""
        try:
            answer = self._answer("squeue", "--noheader", "--array", "--format=%i")
        except UserError:  # its controller restarts, for example, and jobs live on
            return None
        return len(answer.splitlines())

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
        problem = f"{command[0]} failed: {_reason(error.stderr)}."
    else:
        return answer.stdout
    raise UserError(problem, where="--engine slurm", hint=_HINTS[""])


def _reason(text: str) -> str:
    """Return what Slurm says is wrong, in one line, without the name of the program."""
    lines = [re.split(r"(?:error|fatal): ", line) for line in text.splitlines()]
    reasons = [line[-1].strip(". ") for line in lines if len(line) > 1]
    if (
        not reasons
    ):  # an option that it does not know, with a second line that says how to learn more
        reasons = [re.sub(r"^\w+: ", "", line).strip(". ") for line in text.splitlines()[:1]]
    return "; ".join(reasons)
