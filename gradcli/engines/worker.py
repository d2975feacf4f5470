"""What a local worker process runs: one trial after another, as they come on standard input.

A job is a line of JSON, and so is what is said of it: that it has ended. A comparison to be
planned is another such line, and the plan, or the mistake in it, its answer. The process ends
with its input, even in the middle of a trial: whoever asked for it is gone.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from gradcli.comparison.engine import Download, Job, PlanRequest
from gradcli.errors import UserError
from gradcli.system.paths import Paths
from gradcli.system.processes import keep_freed_memory, quick_imports

with quick_imports():
    import torch

    from gradcli.config import DataConfig
    from gradcli.data import Dataset
    from gradcli.fast.without_dynamo import StepWithoutDynamo, construct
    from gradcli.runs.provenance import provenance
    from gradcli.workflows.building import obtain_data
    from gradcli.workflows.train import run_trial

Request = Job | PlanRequest
Requests = queue.SimpleQueue[Request]


def main() -> None:
    """Do what is asked for, until there is nobody left to ask."""
    answers = _private_output()
    requests: Requests = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
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
            run(request, load_data, facts)
            say(ended=request.id)


def answer_with_plan(
    request: PlanRequest, load_data: Callable[[DataConfig], Dataset], say: Callable[..., None]
) -> None:
    """Say the plan, or why there is none, after whatever Python warns of on the way."""
    with warnings.catch_warnings(record=True) as caught:
        try:
            answer: dict[str, Any] = {"planned": plan(request, load_data)}
        except UserError as mistake:
            answer = {"mistake": mistake.as_json()}
        except Exception:  # as much is said of it as is known here; nothing is passed over
            answer = {"failure": traceback.format_exc()}
    for warning in caught:
        say(warning=str(warning.message))
    say(**answer)


def plan(request: PlanRequest, load_data: Callable[[DataConfig], Dataset]) -> dict[str, Any]:
    """Plan a comparison, and return the plan as plain values.

    Raises:
        UserError: for anything wrong with the config or the data.
    """
    from gradcli.workflows.planning import plan_comparison  # one worker of all does it

    paths = Paths(
        config_dir=Path(request.config_dir) if request.config_dir else None,
        allow_import=request.allow_import,
    )
    arguments = request.overrides, request.vary
    return plan_comparison(*arguments, paths, load_data, jobs=request.jobs).as_json()


def run(job: Job, load_data: Callable[[DataConfig], Dataset], facts: dict[str, Any]) -> None:
    """Run a trial, or go on with it."""
    run_trial(
        Path(job.directory),
        job.config,
        load_data,
        facts=facts,
        allow_import=job.allow_import,
        until=job.until,
    )


@functools.lru_cache(maxsize=1)
def load_once(data: DataConfig, *, data_dir: str | None, download: Download) -> Dataset:
    """Load a data set, or return the last one where it is the same."""
    return obtain_data(data, Path(data_dir) if data_dir else None, download)


def _warm_up() -> None:
    """Let torch import what it needs for its first update while no job has come yet."""
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    StepWithoutDynamo(construct(torch.optim.SGD, [{"params": [parameter]}], {"lr": 0.1}))()


def _private_output() -> IO[bytes]:
    """Keep standard output for answers: what libraries print goes to the error output."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return answers


def _listen(lines: IO[bytes], requests: Requests) -> None:
    """Take in what is asked for; end the process when nothing more can come."""
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
        # Python's own way out would abort: a thread is reading from standard input.
        os._exit(1)
