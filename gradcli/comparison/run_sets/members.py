"""The runs that a word names, and what each scored.

A word is a pattern of names (`a-*`), conditions (`optimizer=adam lr<0.01`), a run's directory, or
an arm of a comparison (`COMPARISON:adam`).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from gradcli.comparison.statistics import DIVERGED
from gradcli.comparison.trial_store import TrialStore
from gradcli.errors import UserError, nearest
from gradcli.records import Metric
from gradcli.runs import ComparisonDirectory, Run, conditions, list_any, list_runs, load_run
from gradcli.runs.choosing.conditions import is_condition, refuse_unknown_keys
from gradcli.runs.choosing.listing import facts_of
from gradcli.runs.comparisons import is_comparison
from gradcli.runs.files import number

Score = Literal["test", "val", "train_loss", "seconds_train"]
_LAST_PART: Final = 10  # of the steps: their mean loss is the training loss of a run
#: Of a run that counts, if it has a score.
ENDED: Final = ("finished", "diverged")
#: Settings that make no difference to a training, or only to which one it is.
_NOT_COMPARED: Final = ("name", "seed", "monitor", "checkpoint", "recorders")


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
    def all_overrides(self) -> tuple[str, ...]:
        """Those that began it, and those with which it was resumed."""
        resumed = (part.get("overrides", ()) for part in self.run.state.get("parts", ()))
        return tuple(dict.fromkeys(chain(self.run.overrides, *resumed)))


@dataclass(frozen=True, slots=True)
class FoundSet:
    """The runs that a word names, the oldest first."""

    name: str
    runs: tuple[FoundRun, ...]


def find_set(word: str, runs_dir: Path) -> FoundSet:
    """Return the runs that a word names.

    Raises:
        UserError: if it names none, or a comparison without an arm.
    """
    if not word.strip():
        raise UserError(
            "The set has no name.", where="SET", hint="gradcli runs compare 'a-*' 'b-*'"
        )
    if is_condition(word):
        runs = _fulfilling(word, runs_dir)
    elif Path(word).is_dir() and not is_comparison(Path(word)):
        runs = [load_run(word)]
    else:
        runs = _of_arm(word, runs_dir) or _named(word, runs_dir)
    if not runs:
        raise _no_run(word, runs_dir)
    ordered = sorted(runs, key=_begun)
    return FoundSet(word, tuple(_found(run) for run in ordered))


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


def _fulfilling(word: str, runs_dir: Path) -> list[Run]:
    known, _ = facts_of(list_runs(runs_dir))
    wanted = conditions([word], where="SET")
    refuse_unknown_keys([one.key for one in wanted], known, where="SET")
    return [
        load_run(runs_dir / facts.row.run)
        for facts in known
        if all(one.holds(facts) for one in wanted)
    ]


def _named(word: str, runs_dir: Path) -> list[Run]:
    """Return the runs whose name, or the name of whose directory, fits a pattern."""
    pattern = word if any(sign in word for sign in "*?[") else f"*{word}*"
    known, _ = facts_of(list_runs(runs_dir))
    exact = [one for one in known if word in (one.row.run, one.row.name)]
    fitting = exact or [
        one
        for one in known
        if fnmatchcase(one.row.name, pattern) or fnmatchcase(one.row.run, pattern)
    ]
    return [load_run(runs_dir / one.row.run) for one in fitting]


def _of_arm(word: str, runs_dir: Path) -> list[Run]:
    """Return the measuring trials of an arm of a comparison; none if the word names no comparison.

    Raises:
        UserError: if the comparison has no such arm, or none is named.
    """
    name, colon, arm = word.partition(":")
    comparison = _comparison(name, runs_dir)
    if comparison is None:
        return []
    store = TrialStore(comparison.opened())
    arms = {state.arm.name: state for state in store.states()}
    if arm not in arms:
        problem = f"{comparison.name} has no arm '{arm}'" if colon else f"{name} is a comparison"
        raise UserError(
            f"{problem}. A set is one of its arms.",
            where="SET",
            choices=[f"{name}:{one}" for one in nearest(arm, arms) or arms],
            hint=shlex.join(
                ["gradcli", "runs", "compare", *(f"{name}:{one}" for one in [*arms][:2])]
            ),
        )
    trials = (comparison.trial(trial.id) for trial in arms[arm].measuring)
    return [run for run in trials if run is not None]


def _comparison(name: str, runs_dir: Path) -> ComparisonDirectory | None:
    if is_comparison(Path(name)):
        return ComparisonDirectory(Path(name))
    found = [one for one in list_any(runs_dir) if isinstance(one, ComparisonDirectory)]
    if name == "latest":
        return found[0] if found else None
    return next((one for one in found if name == one.name), None)


def _begun(run: Run) -> tuple[datetime, str]:
    return datetime.fromisoformat(run.state["started"]).astimezone(), str(run.path)


def _found(run: Run) -> FoundRun:
    stored = run.state.get("settings", {})
    settings = {
        key: value for key, value in stored.items() if key.partition(".")[0] not in _NOT_COMPARED
    }
    seed = stored.get("seed", run.state.get("seed"))
    return FoundRun(run, seed if isinstance(seed, int) else None, settings)


def _no_run(word: str, runs_dir: Path) -> UserError:
    rows = [run.row() for run in list_runs(runs_dir) if run.is_readable]
    if not rows:
        return UserError(f"There are no runs in {runs_dir}.", where="SET", hint="gradcli train")
    names: Iterable[str] = dict.fromkeys(row.name or row.run for row in rows)
    listed: Sequence[str] = [*names]
    return UserError(
        f"No run in {runs_dir} is meant by '{word}'.",
        where="SET",
        choices=nearest(word, listed) or listed[:5],
        hint="gradcli runs list",
    )
