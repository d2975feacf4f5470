"""The rows of the table: what is tried, how often, and by which function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from comparison_kills import DisturbedComparison, undisturbed
from crashes import CrashedRun
from damaged_runs import DamagedRun
from input_cases import cases as input_cases
from inputs import attempt, isolated, objection
from kills import Disturbed
from starts import NAMES, start_many, train_in, train_under_jumps
from worker_kills import kill_workers

# Loaded once, before a child is forked that would load it.
import gradcli.inspection.run_summary
import gradcli.training.trainer
import gradcli.workflows.compare
import gradcli.workflows.train  # noqa: F401

torch.set_num_threads(1)


@dataclass(frozen=True)
class Row:
    """A promise, and cases that try to break it."""

    what: str
    cases: int
    short: int
    """How many in the short form; the tests cover a row of 0 by themselves."""
    run: Callable[[int, Path], int]
    """Runs the case of a seed in an empty folder; returns how many trials that were.

    Raises AssertionError if the promise was broken.
    """


def _kills(seed: int, folder: Path) -> int:
    case = Disturbed(seed, folder)
    case.run()
    return len(case.kills)


def _comparisons(seed: int, folder: Path) -> int:
    case = DisturbedComparison(seed, folder / "killed", undisturbed(folder / "undisturbed"))
    case.run()
    return len(case.kills)


def _crashes(seed: int, folder: Path) -> int:
    CrashedRun(seed, folder).run(crashes=3)
    return 3


def _damage(seed: int, folder: Path) -> int:
    return DamagedRun(seed, folder).run(damages=6)


def _inputs(seed: int, folder: Path) -> int:
    number = 25
    for case in input_cases(seed, number):
        place = folder / str(case.number)
        place.mkdir()
        wrong = objection(case, isolated(partial(attempt, case), place))
        assert not wrong, f"{case}: {wrong}"
    return number


def _starts(seed: int, folder: Path) -> int:
    start_many(folder, 10)
    return 10


def _clocks(seed: int, folder: Path) -> int:
    train_under_jumps(seed, folder)
    return 1


def _names(seed: int, folder: Path) -> int:
    train_in(NAMES[seed], folder)
    return 1


ROWS = {
    "kills": Row("trainings killed at a random instant, and resumed", 136, 2, _kills),
    "comparisons": Row("comparisons whose parent or worker was killed", 22, 1, _comparisons),
    "workers": Row("workers of comparisons that were killed, ten of each", 2, 0, kill_workers),
    "crashes": Row("machines that crash, losing or tearing what was not synced", 40, 1, _crashes),
    "damage": Row("commands on a run with one damaged file", 16, 1, _damage),
    "inputs": Row("generated overrides and calls", 40, 1, _inputs),
    "starts": Row("trainings started ten at a time in one folder", 10, 0, _starts),
    "clocks": Row("trainings whose clock jumps by days", 10, 1, _clocks),
    "names": Row("folders with odd names", len(NAMES), 2, _names),
}
