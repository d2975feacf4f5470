"""A command-line laboratory for gradients: see what they do in every layer that trains.

`train` does what `gradcli train` does, `compare` what `gradcli compare-optimizers` does, `inspect`
what `gradcli inspect-gradients` does and `inspect_step` what its `--step` does, `find_lr` what
`gradcli find-lr` does and `compare_runs` what `gradcli runs compare` does; `load_run` opens a run
directory; `GradientMonitor` watches your own loop; your own `Recorder` receives the records of a
run, and your own `Tracker` its numbers by name.
Importing this package is light: the heavy parts load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcli.api import compare, compare_runs, find_lr, inspect, inspect_step, train
    from gradcli.comparison.best_rate import FoundRate
    from gradcli.data.problem import Problem
    from gradcli.errors import UserError
    from gradcli.inspection.inspection import Inspection
    from gradcli.inspection.one_step.step_inspection import StepInspection
    from gradcli.monitor.gradient_monitor import GradientMonitor
    from gradcli.records import Recorder
    from gradcli.runs import Run, load_run
    from gradcli.trackers import Tracker
    from gradcli.workflows.compare import Comparison

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "FoundRate",
    "GradientMonitor",
    "Inspection",
    "Problem",
    "Recorder",
    "Run",
    "StepInspection",
    "Tracker",
    "UserError",
    "compare",
    "compare_runs",
    "find_lr",
    "inspect",
    "inspect_step",
    "load_run",
    "train",
]

_HOMES = {
    "Comparison": "gradcli.workflows.compare",
    "FoundRate": "gradcli.comparison.best_rate",
    "GradientMonitor": "gradcli.monitor.gradient_monitor",
    "Inspection": "gradcli.inspection.inspection",
    "Problem": "gradcli.data.problem",
    "Recorder": "gradcli.records",
    "Run": "gradcli.runs",
    "StepInspection": "gradcli.inspection.one_step.step_inspection",
    "Tracker": "gradcli.trackers",
    "UserError": "gradcli.errors",
    "compare": "gradcli.api",
    "compare_runs": "gradcli.api",
    "find_lr": "gradcli.api",
    "inspect": "gradcli.api",
    "inspect_step": "gradcli.api",
    "load_run": "gradcli.runs",
    "train": "gradcli.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradcli' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
