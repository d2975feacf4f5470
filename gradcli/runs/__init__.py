"""Run directories: the only writer and reader of what lies under `runs/`."""

from gradcli.runs.reader import Run, find_run, list_runs, load_run
from gradcli.runs.writer import RunWriter, create_run_directory, load_checkpoint

__all__ = [
    "Run",
    "RunWriter",
    "create_run_directory",
    "find_run",
    "list_runs",
    "load_checkpoint",
    "load_run",
]
