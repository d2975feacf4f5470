"""The actors of a cluster: each takes one order after another, and is replaced if it is lost."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gradcli.comparison.engine import Job, PlanRequest
from gradcli.engines.ray_cluster.shipped_code import pack
from gradcli.engines.ray_cluster.trial_actor import Report, TrialActor
from gradcli.engines.ray_cluster.trial_files import TrialCopy, files_of
from gradcli.errors import UserError, exception_in_words
from gradcli.system.locks import is_locked

Order = Job | PlanRequest
Say = Callable[..., None]

_PLANNERS = 2  # this many actors may be lost while planning before it is an error
_STARTS = 3  # as many times in a row each actor may be lost before it has done anything
_CONCURRENT_CALLS = 4  # one that waits for news, and those that come in between
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_COUNTS = 5.0
_SECONDS_WITHOUT_ROOM = 60.0
_SECONDS_TO_LEAVE = 2.0
_GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Each:
    """What Ray reserves for each trial, and whether the nodes see the folder of runs."""

    cpus: float
    gpus: float
    memory: float | None
    shared: bool | Literal["auto"]

    def options(self) -> dict[str, Any]:
        """Return the options of an actor."""
        memory = {} if self.memory is None else {"memory": int(self.memory * _GIGABYTE)}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}

    def room(self, resources: Mapping[str, float]) -> float:
        """Return how many trials fit on a node; infinite if they need nothing that is counted."""
        needs = {"CPU": self.cpus, "memory": (self.memory or 0.0) * _GIGABYTE}
        rooms = [
            _whole(resources.get(name, 0.0) / need) for name, need in needs.items() if need > 0
        ]
        if 0 < self.gpus < 1:  # no trial has parts of two
            rooms.append(_whole(resources.get("GPU", 0.0)) * _whole(1 / self.gpus))
        elif self.gpus:
            rooms.append(_whole(resources.get("GPU", 0.0) / self.gpus))
        return min(rooms, default=float("inf"))

    def in_words(self) -> str:
        """Say what a trial needs."""
        memory = "" if self.memory is None else f", {self.memory:g} GB"
        return f"engine.cpus={self.cpus:g}, engine.gpus={self.gpus:g}{memory}"


class Actors:
    """Actors on a cluster that this process is connected to.

    Args:
        ray: the module.
        each: what each trial needs.
        say: is called with each message for the process that gives the orders.
        group: runs a task for each actor.
    """

    def __init__(self, ray: Any, each: Each, say: Say, group: asyncio.TaskGroup) -> None:
        self._ray, self._each, self._say, self._group = ray, each, say, group
        self._class = ray.remote(TrialActor).options(
            **each.options(), max_restarts=0, max_concurrency=_CONCURRENT_CALLS
        )
        self._most = 1
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: deque[Order] = deque()
        self._arrived = asyncio.Event()
        self._members: list[_Member] = []
        self._code: Any = None
        self._failed_starts = 0
        self._failed_plans = 0

    def scale(self, most: int) -> int:
        """Have up to `most` actors, as far as the nodes have room; return how many.

        Raises:
            UserError: if a trial fits on none.
        """
        room = self._room()
        if room < 1:
            raise UserError(
                f"A trial fits on no node of the Ray cluster: {self._each.in_words()}.",
                where="engine=ray",
                hint="less for each trial, such as engine.cpus=1; `ray status` shows what there is",
            )
        self._most = int(min(most, room))
        return self._most

    def take(self, order: Order, config_dir: str | None = None) -> None:
        """Carry out an order as soon as an actor is free, after those that came before."""
        if self._code is None:
            self._code = self._ray.put(pack(config_dir, order.allow_import, Path.cwd()))
            self._tasks.append(self._group.create_task(self._refuse_to_wait_in_vain()))
            for _ in range(self._most):
                self._tasks.append(self._group.create_task(self._attend()))
        self._waiting.append(order)
        self._arrived.set()

    def cancel(self, job_id: str) -> None:
        """Forget a waiting job; let a running one save its state and end."""
        self._waiting = deque(
            order for order in self._waiting if not isinstance(order, Job) or order.id != job_id
        )
        for member in self._members:
            if isinstance(member.order, Job) and member.order.id == job_id:
                member.is_cancelled = True
                if member.has_begun:
                    member.actor.stop.remote()

    async def interrupt_plan(self) -> None:
        """Let who plans clean up and end."""
        for member in self._members:
            if isinstance(member.order, PlanRequest):
                await member.actor.interrupt.remote()

    async def close(self) -> None:
        """End every actor."""
        self._waiting.clear()
        leaving = [asyncio.ensure_future(self._left(member.actor)) for member in self._members]
        if leaving:
            await asyncio.wait(leaving, timeout=_SECONDS_TO_LEAVE)
        for task in [*leaving, *self._tasks]:
            task.cancel()

    async def _left(self, actor: Any) -> None:
        with suppress(self._ray.exceptions.RayError):  # it is lost, and its worker with it
            await actor.leave.remote()

    @property
    def _are_at_work(self) -> bool:
        return any(member.host for member in self._members)

    def _room(self) -> float:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(self._each.room(resources) for resources in nodes)

    async def _attend(self) -> None:
        """Have an actor whenever there is work, and let it work until it is lost."""
        while True:
            await self._work()
            member = self._new_member()
            self._members.append(member)
            try:
                member.host = await member.actor.host.remote()
                self._failed_starts = 0
                while True:
                    await self._work()
                    member.order = self._waiting.popleft()
                    await self._carry_out(member, member.order)
                    member.order, member.has_begun, member.is_cancelled = None, False, False
            except self._ray.exceptions.RayError as error:
                if not member.host:
                    self._note_failed_start(error)
            finally:
                self._ray.kill(member.actor)
                self._members.remove(member)

    async def _work(self) -> None:
        """Wait until an order is waiting."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()

    def _new_member(self) -> _Member:
        """Ask Ray for an actor, which waits until there is room for it."""
        hidden = {} if self._each.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        own = {name: value for name, value in os.environ.items() if name.startswith("GRADCLI_")}
        actor = self._class.remote(self._code, {**own, **hidden}, str(Path.cwd()))
        return _Member(actor)

    def _note_failed_start(self, error: Exception) -> None:
        """Give up if actors are lost before they have done anything, again and again.

        Raises:
            UserError: with the reason of the last one.
        """
        self._failed_starts += 1
        if self._failed_starts >= _STARTS * self._most:
            raise UserError(
                f"No worker starts on the Ray cluster: {_first_line(error)}",
                where="engine=ray",
                hint="gradcli's dependencies on every node, in the versions of this machine",
            )

    async def _refuse_to_wait_in_vain(self) -> None:
        """Watch whether work is waiting that no node is left for.

        Raises:
            UserError: if that lasts.
        """
        since = time.monotonic()
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_COUNTS)
            if not self._waiting or self._are_at_work or self._room() >= 1:
                since = time.monotonic()
            elif time.monotonic() - since > _SECONDS_WITHOUT_ROOM:
                raise UserError(
                    f"No node of the Ray cluster is left that a trial fits on: "
                    f"{self._each.in_words()}.",
                    where="engine=ray",
                    hint="the same command again once nodes are back: it goes on from there",
                )

    async def _carry_out(self, member: _Member, order: Order) -> None:
        if isinstance(order, PlanRequest):
            await self._plan(member, order)
        else:
            await self._run(member, order)

    async def _plan(self, member: _Member, request: PlanRequest) -> None:
        """Pass on what an actor says while it plans; if it is lost, another one tries."""
        try:
            report = await member.actor.plan.remote(asdict(request))
            while True:
                for message in report.messages:
                    self._say(**message)
                if report.death:
                    self._plan_again(request, f"its worker on {member.host} {report.death}")
                if report.has_ended:
                    return
                report = await member.actor.report.remote()
        except self._ray.exceptions.RayError as error:
            self._plan_again(request, f"{member.host}: {_first_line(error)}")
            raise

    def _plan_again(self, request: PlanRequest, problem: str) -> None:
        self._failed_plans += 1
        if self._failed_plans < _PLANNERS:
            self._waiting.appendleft(request)
            self._arrived.set()
        else:
            self._say(failure=problem)

    async def _run(self, member: _Member, job: Job) -> None:
        """Run a trial on an actor. However that goes, the trial is then said to have ended."""
        problem, lost = "", None
        try:
            problem = await self._worked(member, job)
        except UserError as error:  # somebody else works in its directory
            problem = error.problem
        except self._ray.exceptions.RayError as error:
            problem, lost = f"its actor on {member.host} was lost: {_first_line(error)}", error
        if problem:
            await _until_free(Path(job.directory))
        self._say(ended=job.id, problem=problem)
        if lost is not None:
            raise lost

    async def _worked(self, member: _Member, job: Job) -> str:
        """Run a trial to its end, and return how its process died; empty if it did not.

        Raises:
            UserError: if its directory cannot be written, as if another process works there.
        """
        directory = Path(job.directory)
        if member.sees_runs is None:
            member.sees_runs = await self._sees(member.actor, directory.parent)
        if member.is_cancelled:
            return ""
        copy = None if member.sees_runs else TrialCopy(directory)
        try:
            files = None if copy is None else files_of(directory)
            member.has_begun = True
            report: Report = await member.actor.run.remote(asdict(job), files)
            while True:
                if copy is not None and report.changes is not None:
                    copy.apply(report.changes)
                if report.has_ended:
                    return f"its worker on {member.host} {report.death}" if report.death else ""
                report = await member.actor.report.remote()
        finally:
            if copy is not None:
                copy.release()

    async def _sees(self, actor: Any, folder: Path) -> bool:
        """Whether an actor's node sees the folder of the trials, and may write there."""
        if self._each.shared != "auto":
            return self._each.shared
        folder.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(16)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".probe.") as probe:
            probe.write(token)
            probe.flush()
            os.fsync(probe.fileno())
            sees: bool = await actor.sees.remote(probe.name, token)
        return sees


@dataclass(eq=False)
class _Member:
    """An actor, and what it does.

    `host` is the name of its machine, empty until it has answered; `sees_runs` is whether that sees
    the folder of runs, None until it is known.
    """

    actor: Any
    host: str = ""
    sees_runs: bool | None = None
    order: Order | None = None
    has_begun: bool = False
    is_cancelled: bool = False


async def _until_free(directory: Path) -> None:
    """Wait until whoever worked in a directory is known to be gone.

    The next attempt would find it locked. What a lost machine held is free after a while.
    """
    while is_locked(directory):
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


def _first_line(error: Exception) -> str:
    """Return what an exception of Ray says, without the advice that follows."""
    return exception_in_words(getattr(error, "cause", None) or error).splitlines()[0]


def _whole(number: float) -> int:
    """Round down, but not because of the last bits."""
    return int(number + 1e-9)
