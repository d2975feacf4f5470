"""What a worker process runs: one trial after another, as requests arrive on stdin.

A job is a line of JSON, answered by a line when it has ended. A comparison to plan is another such
line, answered by the plan or the mistake in it. A line that asks to stop becomes a signal: other
processes can send none on Windows. The process ends when its input does, even in the middle of a
trial: the process that started it is gone.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from gradcli.comparison.engine import Job, PlanRequest
from gradcli.engines.pipes import private_input, private_output
from gradcli.errors import UserError
from gradcli.system.interrupts import signal_main_thread
from gradcli.system.processes import keep_freed_memory, quick_imports

with quick_imports():
    import torch

    from gradcli.config import DataConfig
    from gradcli.data import Dataset
    from gradcli.engines.work import load_once, plan, run
    from gradcli.fast.without_dynamo import StepWithoutDynamo, construct
    from gradcli.runs.provenance import provenance

Request = Job | PlanRequest
Requests = queue.SimpleQueue[Request]


def main() -> None:
    """Answer requests until the input ends."""
    answers = private_output()
    requests: Requests = queue.SimpleQueue()
    unended: set[str] = set()
    threading.Thread(target=_listen, args=(private_input(), requests, unended), daemon=True).start()
    facts = provenance()
    keep_freed_memory()
    _warm_up()

    def say(**message: Any) -> None:
        answers.write(json.dumps(message).encode() + b"\n")

    def tell(done_bytes: int, total_bytes: int, name: str) -> None:
        say(download=[done_bytes, total_bytes, name])

    while True:
        request = requests.get()
        load_data = functools.partial(load_once, data_dir=request.data_dir, download=tell)
        if isinstance(request, PlanRequest):
            answer_with_plan(request, load_data, say)
        else:
            # The run directory says how a trial failed; the next one needs this process.
            with suppress(Exception):
                run(request, load_data, facts)
            unended.discard(request.id)
            say(ended=request.id)


def answer_with_plan(
    request: PlanRequest, load_data: Callable[[DataConfig], Dataset], say: Callable[..., None]
) -> None:
    """Answer with the plan or with what is wrong, after any warnings that Python gave."""
    with warnings.catch_warnings(record=True) as caught:
        try:
            answer: dict[str, Any] = {"planned": plan(request, load_data)}
        except UserError as mistake:
            answer = {"mistake": mistake.as_json()}
        except Exception:  # the other process raises it, with this traceback
            answer = {"failure": traceback.format_exc()}
    for warning in caught:
        say(warning=str(warning.message))
    say(**answer)


def _warm_up() -> None:
    """Let torch import what its first update needs before the first job arrives."""
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    StepWithoutDynamo(construct(torch.optim.SGD, [{"params": [parameter]}], {"lr": 0.1}))()


def _listen(lines: IO[bytes], requests: Requests, unended: set[str]) -> None:
    """Queue the requests, and signal what is to stop; end the process when the input ends.

    Args:
        lines: the input.
        requests: receives the jobs and the comparisons to plan.
        unended: receives the jobs' ids; whoever ends a job removes its id.
    """
    for line in lines:
        match json.loads(line):
            case {"job": job}:
                unended.add(job["id"])
                requests.put(Job(**job))
            case {"plan": plan}:
                requests.put(PlanRequest(**plan))
            case {"stop": job_id} if job_id in unended:
                signal_main_thread(signal.SIGTERM)
            case {"interrupt": True}:
                signal_main_thread(signal.SIGINT)
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        # Python's own shutdown would abort: a thread is reading from stdin.
        os._exit(1)
