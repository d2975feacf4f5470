"""What a local worker process runs: one trial after another, as they come on standard input.

A job is a line of JSON; the reply is a line with its id, when it has ended. The process ends
with its input, even in the middle of a trial: whoever asked for it is gone.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any

from gradcli.engines.engine import Job
from gradcli.process import keep_freed_memory, quick_imports

with quick_imports():
    import torch

    from gradcli.config import DataConfig
    from gradcli.data import Dataset, load_dataset
    from gradcli.experiment import run_trial
    from gradcli.optim.without_dynamo import Update, construct
    from gradcli.runs.provenance import provenance

Jobs = queue.SimpleQueue[Job]


def main() -> None:
    """Run the jobs that come, until there is nobody left to send any."""
    replies = _private_output()
    jobs: Jobs = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs), daemon=True).start()
    facts = provenance()
    keep_freed_memory()
    _warm_up()
    while True:
        job = jobs.get()
        run_trial(
            Path(job.directory),
            job.config,
            functools.partial(_load_data, data_dir=job.data_dir),
            facts=facts,
            allow_import=job.allow_import,
            until=job.until,
        )
        replies.write(f"{job.id}\n".encode())


def _warm_up() -> None:
    """Let torch import what it needs for its first update while no job has come yet."""
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    Update(construct(torch.optim.SGD, [{"params": [parameter]}], {"lr": 0.1}))()


def _private_output() -> IO[bytes]:
    """Keep standard output for replies: what libraries print goes to the error output."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return replies


def _listen(lines: IO[bytes], jobs: Jobs) -> None:
    """Take in jobs; end the process when no more can come."""
    for line in lines:
        jobs.put(_job(json.loads(line)))
    os._exit(0)


def _job(values: dict[str, Any]) -> Job:
    return Job(**{**values, "allow_import": tuple(values["allow_import"])})


def _load_data(data: DataConfig, data_dir: str | None) -> Dataset:
    return _load_once(data.name, data.val, data.folder, data_dir)


@functools.lru_cache(maxsize=1)
def _load_once(name: str, val: int | None, folder: str | None, data_dir: str | None) -> Dataset:
    """Load a data set; all trials of a comparison have the same."""
    return load_dataset(
        name,
        val=val,
        folder=Path(folder) if folder else None,
        data_dir=Path(data_dir) if data_dir else None,
    )


if __name__ == "__main__":
    main()
