"""The engine of a Ray cluster, as a comparison sees it: requests to the process that knows Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from gradcli.comparison.engine import Download, Ended, Job, PlanRequest
from gradcli.engines.worker_process import WorkerProcess, pass_on
from gradcli.errors import UserError

_CONNECTION = "gradcli.engines.ray_cluster.connection"
_SECONDS_TO_LEAVE = 10.0


class RayEngine:
    """An engine of actors on a Ray cluster, each with a worker process as on this machine.

    Every node needs gradcli's dependencies in the same versions, and whatever a config names by a
    path outside the folder of runs: data, and the file of a problem. gradcli itself, the config
    folder and the modules that the user allows travel, unless they are installed packages.

    Args:
        workers: how many trials run at the same time; None is as many as the cluster has room for.
        address: `auto` joins a running cluster, else starts one on this machine; None always starts
            one; or the address of a cluster, `HOST:PORT` or `ray://HOST:PORT`.
        cpus: the CPUs that Ray reserves for each trial.
        gpus: the GPUs, or the fraction of one, that Ray reserves for each trial; 0 hides them.
        memory: the gigabytes that Ray reserves for each trial; None reserves none.
        shared: whether the nodes see the folder of runs; `auto` looks.

    Raises:
        UserError: if Ray is not installed, or the cluster cannot be joined.
    """

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = "auto",
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory: float | None = None,
        shared: bool | Literal["auto"] = "auto",
    ) -> None:
        _check(cpus, gpus, memory)
        self._is_open = True
        self._ended: list[Ended] = []
        self._process = WorkerProcess(module=_CONNECTION)
        each = {"cpus": cpus, "gpus": gpus, "memory": memory, "shared": shared}
        try:
            self._ask({"join": {"address": address, "each": each}}, "joined")
        except BaseException:
            self.close()
            raise

    def scale(self, jobs: int) -> int:
        """Run up to `jobs` trials at the same time, as far as the nodes have room for them.

        Raises:
            UserError: if not even one trial fits on a node.
        """
        scaled: int = self._ask({"scale": jobs}, "scaled")
        return scaled

    def plan(self, request: PlanRequest, download: Download) -> dict[str, Any]:
        """Let an actor plan a comparison; see `Engine.plan`."""
        try:
            return dict(self._ask({"plan": asdict(request)}, "planned", download))
        except KeyboardInterrupt:
            self._process.interrupt()
            raise

    def submit(self, job: Job) -> None:
        """Run a job as soon as an actor is free."""
        self._process.send({"job": asdict(job)})

    def poll(self, timeout: float) -> Sequence[Ended]:
        """Return the jobs that have ended; wait `timeout` seconds for one.

        Raises:
            UserError: if the cluster is lost, or no node is left that a trial fits on.
        """
        messages = self._process.wait(0.0 if self._ended else timeout)
        if messages is None:
            raise self._lost()
        for message in messages:
            self._hear(message, _no_download)
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job; let a running one save its state and end."""
        self._process.send({"cancel": job_id})

    def close(self) -> None:
        """End every actor immediately, and the cluster if it was started for this."""
        if self._is_open:
            self._is_open = False
            self._process.dismiss(_SECONDS_TO_LEAVE)

    def _ask(self, request: dict[str, Any], answer: str, download: Download | None = None) -> Any:
        """Send a request and wait for its answer."""
        self._process.send(request)
        while (messages := self._process.wait()) is not None:
            for message in messages:
                if answer in message:
                    return message[answer]
                self._hear(message, download or _no_download)
        raise self._lost()

    def _hear(self, message: dict[str, Any], download: Download) -> None:
        if "ended" in message:
            self._ended.append(Ended(message["ended"], message["problem"]))
        else:
            pass_on(message, download)

    def _lost(self) -> UserError:
        self._process.end()
        return UserError(
            f"The connection to the Ray cluster was lost: its process {self._process.ending}.",
            where="engine=ray",
            hint="the same command again, which goes on from what is saved",
        )


def _check(cpus: float, gpus: float, memory: float | None) -> None:
    """Refuse what Ray cannot reserve.

    Raises:
        UserError: for a number below 0, or a part of a GPU beside a whole one.
    """
    for name, value in {"cpus": cpus, "gpus": gpus, "memory": memory or 0.0}.items():
        if not value >= 0:
            raise UserError(
                f"engine.{name} is {value:g}; it must be 0 or more.",
                where=f"engine.{name}",
                hint=f"engine.{name}=1",
            )
    if gpus > 1 and gpus != int(gpus):
        raise UserError(
            f"engine.gpus is {gpus:g}; Ray reserves a part of one GPU, or whole GPUs.",
            where="engine.gpus",
            hint=f"engine.gpus={int(gpus)}",
        )


def _no_download(done_bytes: int, total_bytes: int, name: str) -> None:
    """Show nothing: only a plan downloads."""
