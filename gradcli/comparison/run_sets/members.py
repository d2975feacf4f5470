"""The runs of a set, and what each scored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from gradcli.comparison.statistics import DIVERGED
from gradcli.records import Metric
from gradcli.runs import Run
from gradcli.runs.files import number

Score = Literal["test", "val", "train_loss", "seconds_train"]
_LAST_PART: Final = 10  # of the steps: their mean loss is the training loss of a run
#: Of a run that counts, if it has a score.
ENDED: Final = ("finished", "diverged")
#: Settings that make no difference to a training, or only to which one it is.
_NOT_COMPARED: Final = (
    *("name", "seed", "monitor", "checkpoint"),
    *("recorders", "track", "track_layers"),
)


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run of a set, as it stands."""

    run: Run
    seed: int | None
    settings: Mapping[str, Any]
    """Without those that make no difference."""

    @property
    def metric(self) -> Metric:
        """What its models are scored by."""
        return self.run.row().metric

    @property
    def steps(self) -> int:
        """The updates that it made."""
        steps: int = self.run.state.get("progress", {}).get("steps", 0) or len(self.run.steps)
        return steps

    @property
    def is_own_loop(self) -> bool:
        """Whether it was trained by a loop of the user's own."""
        return "info" in self.run.state and self.run.info.data.name == "own"

    @property
    def training(self) -> str:
        """What it trained, apart from the seed, as text: that of equal trainings is equal."""
        return json.dumps(self.settings, sort_keys=True, default=str)

    @property
    def all_overrides(self) -> tuple[str, ...]:
        """Those that began it, and those with which it was resumed."""
        resumed = (part.get("overrides", ()) for part in self.run.state.get("parts", ()))
        return tuple(dict.fromkeys(chain(self.run.overrides, *resumed)))


@dataclass(frozen=True, slots=True)
class FoundSet:
    """The runs that a word names, the oldest first."""

    name: str
    runs: tuple[FoundRun, ...]
    runs_dir: Path
    """Where it was looked for."""
    result_conditions: tuple[str, ...] = ()
    """Its conditions on what the runs became, such as `test_acc>0.9`."""
    passed_over: tuple[Run, ...] = ()
    """The runs that ended and are left out by these conditions alone."""


def found_run(run: Run) -> FoundRun:
    """Return a run as one of a set."""
    stored = run.state.get("settings", {})
    settings = {
        key: value for key, value in stored.items() if key.partition(".")[0] not in _NOT_COMPARED
    }
    seed = stored.get("seed", run.state.get("seed"))
    return FoundRun(run, seed if isinstance(seed, int) else None, settings)


def score_of(found: FoundRun, by: Score) -> float:
    """Return the score of a run; `DIVERGED` if it diverged, and NaN if it has none."""
    run = found.run
    if run.status == "diverged":
        return DIVERGED
    return BY[by](run)


def _result(key: str) -> Callable[[Run], float]:
    return lambda run: number(run.state.get("result", {}).get(key, "nan"))


def _train_loss(run: Run) -> float:
    """Return the mean loss of the last tenth of the steps."""
    loss = run.steps.loss
    return float(np.mean(loss[-max(len(loss) // _LAST_PART, 1) :])) if len(loss) else math.nan


def _seconds(run: Run) -> float:
    return number(run.state.get("seconds_train", math.nan))


#: What runs can be compared by: a number of each.
BY: Final[Mapping[Score, Callable[[Run], float]]] = {
    "test": _result("test"),
    "val": _result("val"),
    "train_loss": _train_loss,
    "seconds_train": _seconds,
}
