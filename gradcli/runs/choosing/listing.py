"""The rows of the list of runs: those that fulfil conditions, in an order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradcli.errors import UserError
from gradcli.records import RunRow
from gradcli.runs.choosing.conditions import (
    Condition,
    refuse_meaningless,
    refuse_unknown_keys,
)
from gradcli.runs.choosing.facts import SPLITS, Facts, plain_key
from gradcli.runs.choosing.finding import list_any
from gradcli.runs.comparisons import ComparisonDirectory
from gradcli.runs.reader import Run

#: Columns that the list always has.
_ALWAYS = (
    *("run", "name", "status", "when", "data", "model", "optimizer", "epochs", "test"),
    *("findings", "tag", "note"),
)


@dataclass(frozen=True)
class Order:
    """By which key the list is sorted."""

    key: str
    is_reversed: bool = False
    """Instead of best first, newest first, or smallest first."""


def list_rows(
    runs_dir: Path,
    where: Sequence[Condition] = (),
    order: Order | None = None,
    shown: Sequence[str] = (),
) -> tuple[list[RunRow], list[UserError]]:
    """Return a row for each run and comparison in `runs_dir` that fulfils the conditions.

    Args:
        runs_dir: where runs are.
        where: all must hold.
        order: None lists the newest first.
        shown: further keys that the rows show. Those of the conditions and of the order are shown,
            too.

    Returns:
        The rows, and an error for each run that is broken or that a newer gradcli wrote.

    Raises:
        UserError: for a key that no run has.
    """
    known, refused = facts_of(list_any(runs_dir))
    refuse_meaningless(where, known, where="--where")
    refuse_unknown_keys([order.key] if order else [], known, where="--sort")
    refuse_unknown_keys(shown, known, where="--show")
    chosen = _fulfilling(where, known)
    if order is not None:
        chosen = ordered(chosen, order)
    asked = [one.key for one in where] + ([order.key] if order else []) + [*shown]
    keys = [key for key in dict.fromkeys(asked) if plain_key(key) not in _ALWAYS]
    return [_with_further(facts, keys) for facts in chosen], refused


def choose(runs_dir: Path, where: Sequence[Condition] = ()) -> tuple[list[Facts], list[UserError]]:
    """Return what is known of each run and comparison that fulfils the conditions, newest first.

    Returns:
        The facts, and an error for each run that is broken or that a newer gradcli wrote.

    Raises:
        UserError: for a condition that no run could fulfil.
    """
    known, refused = facts_of(list_any(runs_dir))
    refuse_meaningless(where, known, where="--where")
    return _fulfilling(where, known), refused


def _fulfilling(where: Sequence[Condition], known: Iterable[Facts]) -> list[Facts]:
    return [facts for facts in known if all(one.holds(facts) for one in where)]


def facts_of(
    found: Iterable[Run | ComparisonDirectory],
) -> tuple[list[Facts], list[UserError]]:
    """Return what is known of runs and comparisons, and an error for each that cannot be read."""
    known, refused = [], []
    for one in found:
        try:
            known.append(Facts(one, one.row()))
        except UserError as error:
            refused.append(error)
    return known, refused


def _with_further(facts: Facts, keys: Sequence[str]) -> RunRow:
    if not keys:
        return facts.row
    return replace(facts.row, further={key: facts.of(key) for key in keys})


def ordered(known: list[Facts], order: Order) -> list[Facts]:
    """Sort: best scores first, newest first, else the smallest first; those without a value last.

    Runs with equal values stay in the order of the list.
    """
    key = plain_key(order.key)

    def place(facts: Facts) -> tuple[bool, Any]:
        (value, *_) = facts.of(order.key) or (None,)
        if key in SPLITS and isinstance(value, float):
            value = -facts.row.metric.merit(value)
        return isinstance(value, str), value

    def is_known(facts: Facts) -> bool:
        value = (facts.of(order.key) or (None,))[0]
        return isinstance(value, int | float | str) and not (
            isinstance(value, float) and math.isnan(value)
        )

    backwards = order.is_reversed != (key == "when")
    with_value = sorted(filter(is_known, known), key=place, reverse=backwards)
    return with_value + [facts for facts in known if not is_known(facts)]
