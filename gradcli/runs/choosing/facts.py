"""What can be asked of a run or a comparison in a condition, as the words of a key.

Keys are the columns of the list of runs, and those of the config, as an override types them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gradcli.records import RunRow
from gradcli.runs.comparisons import ComparisonDirectory
from gradcli.runs.files import number
from gradcli.runs.reader import Run

SPLITS: Final = ("test", "val")
#: A key with no, one or several values, such as tags.
Values = tuple[Any, ...]
#: Other words for a key.
_SYNONYMS: Final = {
    "tags": "tag",
    "finding": "findings",
    "lr": "learning_rate",
    "seconds": "seconds_total",
}
#: Values of the header that is kept in `run.json`.
_OF_HEADER: Final = (
    *("activation", "batch_size", "clip", "device", "model_size", "schedule", "threads"),
    "total_steps",
)
_OF_STATE: Final = ("seconds_total", "seconds_train", "seconds_first_step", "host")


class Facts:
    """What is known of a run or a comparison, read when it is asked for.

    Args:
        found: the run or the comparison.
        row: its row in the list of runs.
    """

    def __init__(self, found: Run | ComparisonDirectory, row: RunRow) -> None:
        self.found = found
        self.row = row

    def of(self, key: str) -> Values:
        """Return the values of a key; none if it has no such key, or nothing is known of it."""
        split, _, metric = key.partition("_")
        if split in SPLITS and metric and metric not in ("score", *self._names_of_metric):
            return ()
        key = plain_key(key)
        if key in _OWN:
            values = tuple(_OWN[key](self))
        elif key in _OF_HEADER:
            values = (self.state.get("info", {}).get(key),)
        elif key in _OF_STATE:
            values = (self.state.get(key),)
        elif key in self._settings:
            return (self._settings[key],)  # whose null is a value, too
        else:
            values = tuple(_rates(self)) if key == "optimizer.lr" else ()
        return tuple(value for value in values if not _is_nothing(value))

    def keys(self) -> set[str]:
        """Return all keys that could be asked for."""
        scores = {f"{split}_{name}" for split in SPLITS for name in self._names_of_metric}
        return {*KEYS, *scores, *self._settings}

    @property
    def state(self) -> Mapping[str, Any]:
        """The content of the state file."""
        return self.found.state

    @property
    def kind(self) -> str:
        """Whether it is a run or a comparison."""
        return "run" if isinstance(self.found, Run) else "comparison"

    @property
    def _names_of_metric(self) -> tuple[str, ...]:
        metric = self.row.metric
        return (metric.name, "acc") if metric.is_accuracy else (metric.name,)

    @property
    def _settings(self) -> Mapping[str, Any]:
        """By the keys with which an override sets them.

        A comparison has none, because its trials have their own, and neither has a run of an
        older release.
        """
        settings: Mapping[str, Any] = self.state.get("settings", {})
        return settings


def plain_key(key: str) -> str:
    """Return the usual word for a key; that of a score, such as `test_acc`, without the metric."""
    split, _, metric = key.partition("_")
    return split if split in SPLITS and metric else _SYNONYMS.get(key, key)


def _is_nothing(value: Any) -> bool:
    return value in (None, "") or (isinstance(value, float) and math.isnan(value))


def _result(facts: Facts, key: str) -> Iterable[Any]:
    return [number(facts.state.get("result", {}).get(key, "nan"))]


def _rates(facts: Facts) -> Iterable[Any]:
    """Yield the rate of each parameter group."""
    groups = facts.state.get("parameter_groups") or [facts.state.get("info", {})]
    return dict.fromkeys(number(one.get("learning_rate", "nan")) for one in groups)


_OWN: Final[Mapping[str, Callable[[Facts], Iterable[Any]]]] = {
    "run": lambda facts: [facts.row.run],
    "kind": lambda facts: [facts.kind],
    "name": lambda facts: [facts.row.name],
    "status": lambda facts: [facts.row.status],
    "when": lambda facts: [facts.row.when],
    "data": lambda facts: [facts.row.data],
    "model": lambda facts: [facts.row.model],
    "optimizer": lambda facts: facts.row.optimizer.split(", "),
    "learning_rate": _rates,
    "epochs": lambda facts: [facts.row.epochs],
    "steps": lambda facts: [facts.state.get("progress", {}).get("steps")],
    "test": lambda facts: [facts.row.test_score],
    "val": lambda facts: _result(facts, "val"),
    "train_loss": lambda facts: _result(facts, "train_loss"),
    "metric": lambda facts: [facts.row.metric.name],
    "findings": lambda facts: facts.row.findings,
    "tag": lambda facts: facts.row.tags,
    "note": lambda facts: [facts.row.note],
}
#: What can be asked of any run, apart from its settings and its scores by their metric.
KEYS: Final = (*_OWN, *_OF_HEADER, *_OF_STATE, *_SYNONYMS, "optimizer.lr")
