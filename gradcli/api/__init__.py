"""The commands as Python functions: one call does what one command does."""

from gradcli.api.functions import compare, compare_runs, find_lr, inspect, inspect_step, train

__all__ = ["compare", "compare_runs", "find_lr", "inspect", "inspect_step", "train"]
