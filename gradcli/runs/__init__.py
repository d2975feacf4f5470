"""Run directories: the only room that writes and reads the files of the runs directory.

What is named here loads on first use, so that `choosing.glances` comes without the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcli.runs.checkpoints import Resumable, checkpoint_to_resume, load_checkpoint
    from gradcli.runs.choosing.conditions import Condition, conditions
    from gradcli.runs.choosing.finding import (
        find_any,
        find_comparison,
        find_run,
        find_to_remove,
        list_any,
    )
    from gradcli.runs.choosing.listing import Order, list_rows
    from gradcli.runs.comparisons import (
        PILOTS,
        ComparisonDirectory,
        begin_comparison,
        list_comparisons,
        set_aside,
    )
    from gradcli.runs.labels import NO_LABELS, Labels, add_labels, given_labels, write_labels
    from gradcli.runs.pruning import (
        Prunable,
        Pruning,
        PruningPlan,
        age_seconds,
        plan_pruning,
        prune,
    )
    from gradcli.runs.reader import Run, is_run, list_runs, load_run
    from gradcli.runs.removal import (
        own_path,
        reduce_checkpoints,
        refuse_if_at_work,
        remove,
        size_bytes,
    )
    from gradcli.runs.writer import RunWriter, claim_run, create_run_directory

__all__ = [
    "NO_LABELS",
    "PILOTS",
    "ComparisonDirectory",
    "Condition",
    "Labels",
    "Order",
    "Prunable",
    "Pruning",
    "PruningPlan",
    "Resumable",
    "Run",
    "RunWriter",
    "add_labels",
    "age_seconds",
    "begin_comparison",
    "checkpoint_to_resume",
    "claim_run",
    "conditions",
    "create_run_directory",
    "find_any",
    "find_comparison",
    "find_run",
    "find_to_remove",
    "given_labels",
    "is_run",
    "list_any",
    "list_comparisons",
    "list_rows",
    "list_runs",
    "load_checkpoint",
    "load_run",
    "own_path",
    "plan_pruning",
    "prune",
    "reduce_checkpoints",
    "refuse_if_at_work",
    "remove",
    "set_aside",
    "size_bytes",
    "write_labels",
]

_HOMES = {
    "NO_LABELS": "labels",
    "PILOTS": "comparisons",
    "ComparisonDirectory": "comparisons",
    "Condition": "choosing.conditions",
    "Labels": "labels",
    "Order": "choosing.listing",
    "Prunable": "pruning",
    "Pruning": "pruning",
    "PruningPlan": "pruning",
    "Resumable": "checkpoints",
    "Run": "reader",
    "RunWriter": "writer",
    "add_labels": "labels",
    "age_seconds": "pruning",
    "begin_comparison": "comparisons",
    "checkpoint_to_resume": "checkpoints",
    "claim_run": "writer",
    "conditions": "choosing.conditions",
    "create_run_directory": "writer",
    "find_any": "choosing.finding",
    "find_comparison": "choosing.finding",
    "find_run": "choosing.finding",
    "find_to_remove": "choosing.finding",
    "given_labels": "labels",
    "is_run": "reader",
    "list_any": "choosing.finding",
    "list_comparisons": "comparisons",
    "list_rows": "choosing.listing",
    "list_runs": "reader",
    "load_checkpoint": "checkpoints",
    "load_run": "reader",
    "own_path": "removal",
    "plan_pruning": "pruning",
    "prune": "pruning",
    "reduce_checkpoints": "removal",
    "refuse_if_at_work": "removal",
    "remove": "removal",
    "set_aside": "comparisons",
    "size_bytes": "removal",
    "write_labels": "labels",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradcli.runs' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"gradcli.runs.{_HOMES[name]}"), name)
