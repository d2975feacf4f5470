"""What every engine's process does with a request: plan a comparison, or run a trial."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradcli.comparison.engine import Download, Job, PlanRequest
from gradcli.config import DataConfig
from gradcli.data import Dataset
from gradcli.system.paths import Paths
from gradcli.workflows.building import obtain_data
from gradcli.workflows.train import run_trial


def plan(request: PlanRequest, load_data: Callable[[DataConfig], Dataset]) -> dict[str, Any]:
    """Plan a comparison, and return the plan as plain values.

    Raises:
        UserError: for anything wrong with the config or the data.
    """
    from gradcli.workflows.comparing.planning import plan_comparison  # only one process plans

    paths = Paths(
        config_dir=Path(request.config_dir) if request.config_dir else None,
        allow_import=request.allow_import,
    )
    arguments = request.overrides, request.vary
    return plan_comparison(*arguments, paths, load_data, jobs=request.jobs).as_json()


def run(job: Job, load_data: Callable[[DataConfig], Dataset], facts: dict[str, Any]) -> None:
    """Run a trial, or resume it. Its run directory says how it went.

    Raises:
        Exception: whatever the trial raised that is not a mistake in its config.
    """
    run_trial(
        Path(job.directory),
        job.config,
        load_data,
        facts=facts,
        allow_import=job.allow_import,
        until=job.until,
        validates=job.validates,
    )


@functools.lru_cache(maxsize=1)
def load_once(data: DataConfig, *, data_dir: str | None, download: Download) -> Dataset:
    """Load a data set; return the last one if the request is the same."""
    return obtain_data(data, Path(data_dir) if data_dir else None, download)
