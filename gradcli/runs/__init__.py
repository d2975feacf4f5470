"""Run directories: the only room that writes and reads the files of the runs directory."""

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
from gradcli.runs.pruning import Prunable, Pruning, PruningPlan, age_seconds, plan_pruning, prune
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
