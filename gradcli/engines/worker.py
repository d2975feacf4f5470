"""What a local worker process runs: one trial after another, as requests arrive on stdin.

A job is a line of JSON, answered by a line when it has ended. A comparison to plan is another such
line, answered by the plan or the mistake in it. The process ends when its input does, even in the
middle of a trial: the process that started it is gone.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from gradcli.comparison.engine import Job, PlanRequest
from gradcli.errors import UserError
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
    answers = _private_output()
    requests: Requests = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(_private_input(), requests), daemon=True).start()
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


def _private_output() -> IO[bytes]:
    """Keep stdout for answers; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return answers


def _private_input() -> IO[bytes]:
    """Keep stdin for requests; what else reads from it finds it empty.

    A process that is forked from this one, as a data loader's is, closes `sys.stdin` first. It
    would wait forever if a thread were reading from that at the time.
    """
    requests = os.fdopen(os.dup(0), "rb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return requests


def _listen(lines: IO[bytes], requests: Requests) -> None:
    """Queue the requests; end the process when the input ends."""
    for line in lines:
        requests.put(_request(**json.loads(line)))
    os._exit(0)


def _request(*, job: dict[str, Any] | None = None, plan: dict[str, Any] | None = None) -> Request:
    if job is not None:
        return Job(**job)
    assert plan is not None
    return PlanRequest(**plan)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        # Python's own shutdown would abort: a thread is reading from stdin.
        os._exit(1)
