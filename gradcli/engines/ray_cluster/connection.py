"""What the process runs that is connected to Ray: requests as lines of JSON in, answers out.

It ends when its input does, and the actors with it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable
from typing import IO, Any

from gradcli.comparison.engine import Job, PlanRequest
from gradcli.engines.pipes import private_input, private_output
from gradcli.engines.ray_cluster.actors import Actors, Each, Say
from gradcli.engines.ray_cluster.joining import join
from gradcli.errors import UserError

Requests = asyncio.Queue[dict[str, Any] | None]


def main() -> None:
    """Answer requests until the input ends, or something of the user's is wrong."""
    answers, requests = private_output(), private_input()

    def say(**message: Any) -> None:
        answers.write(json.dumps(message).encode() + b"\n")

    try:
        asyncio.run(_serve(requests, say))
    except* UserError as mistakes:
        say(mistake=_first(mistakes).as_json())


async def _serve(lines: IO[bytes], say: Say) -> None:
    requests: Requests = asyncio.Queue()
    put = asyncio.get_running_loop().call_soon_threadsafe
    threading.Thread(target=_listen, args=(lines, put, requests), daemon=True).start()
    first = await requests.get()
    if first is None:
        return
    ray = join(first["join"]["address"])
    say(joined=True)
    try:
        async with asyncio.TaskGroup() as group:
            actors = Actors(ray, Each(**first["join"]["each"]), say, group)
            try:
                await _answer(requests, actors, say)
            finally:
                await actors.close()
    finally:
        ray.shutdown()


async def _answer(requests: Requests, actors: Actors, say: Say) -> None:
    """Answer requests until they end."""
    loop = asyncio.get_running_loop()
    interrupted = lambda: requests.put_nowait({"interrupt": True})  # noqa: E731
    loop.add_signal_handler(signal.SIGINT, interrupted)
    while (request := await requests.get()) is not None:
        match request:
            case {"scale": jobs}:
                say(scaled=actors.scale(jobs))
            case {"plan": plan}:
                order = PlanRequest(**plan)
                actors.take(order, order.config_dir)
            case {"job": job}:
                actors.take(Job(**job))
            case {"cancel": job_id}:
                actors.cancel(job_id)
            case {"interrupt": _}:
                await actors.interrupt_plan()
                return


def _listen(lines: IO[bytes], put: Callable[..., object], requests: Requests) -> None:
    for line in lines:
        put(requests.put_nowait, json.loads(line))
    put(requests.put_nowait, None)


def _first(group: BaseExceptionGroup[UserError]) -> UserError:
    first = group.exceptions[0]
    return first if isinstance(first, UserError) else _first(first)


if __name__ == "__main__":
    main()
