"""Conditions on runs: `optimizer=adam lr<0.01 tag!=old` holds where each of them holds."""

from __future__ import annotations

import json
import math
import operator
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from gradcli.errors import UserError, nearest
from gradcli.runs.choosing.facts import Facts, Values

_CONDITION = re.compile(r"([\w.-]+)(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """That a key of a run has one of several values, has none of them, or lies above or below."""

    key: str
    relation: str
    """`=`, `!=`, `<`, `<=`, `>` or `>=`."""
    values: tuple[str, ...]
    """As typed. With `=` and `!=`, a pattern may stand for many: `name=a-*`."""

    def holds(self, facts: Facts) -> bool:
        """Whether a run fulfils it. A run that has no such key fulfils `!=` alone."""
        known = facts.of(self.key)
        match self.relation:
            case "=":
                return self._matches(known)
            case "!=":
                return not self._matches(known)
            case _:
                (limit,) = self.values
                return any(_in_order(value, self.relation, limit) for value in known)

    def _matches(self, known: Values) -> bool:
        return any(_equals(value, typed) for value in known for typed in self.values)


def conditions(texts: Iterable[str], *, where: str = "--where") -> tuple[Condition, ...]:
    """Return the conditions that texts such as `optimizer=adam status=finished` state.

    Raises:
        UserError: if one is none.
    """
    found = []
    for text in texts:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UserError(f"{text!r} cannot be read: {error}.", where=where) from None
        if not words:
            raise UserError("The condition is empty.", where=where, hint=_example(where))
        found += [_condition(word, where) for word in words]
    return tuple(found)


def is_condition(text: str) -> bool:
    """Whether a text states conditions, and is no name of a run."""
    return bool(text.split()) and all(map(_CONDITION.fullmatch, text.split()))


def refuse_unknown_keys(keys: Sequence[str], known: Sequence[Facts], *, where: str) -> None:
    """Refuse a key that no run has.

    Raises:
        UserError: with the nearest keys.
    """
    for key in keys:
        if known and not any(facts.of(key) for facts in known):
            every = set().union(*(facts.keys() for facts in known))
            if key not in every:
                likely = nearest(key, sorted(every))
                raise UserError(
                    f"No run has a key '{key}'.",
                    where=where,
                    choices=likely,
                    hint=f"{where} {likely[0]}{'=VALUE' if where == '--where' else ''}"
                    if likely
                    else _example("--where"),
                )


def _condition(word: str, where: str) -> Condition:
    parts = _CONDITION.fullmatch(word)
    if parts is None or not parts[3]:
        raise UserError(
            f"'{word}' is no condition.",
            where=where,
            choices=["KEY=VALUE", "KEY!=VALUE", "KEY<NUMBER", "KEY>NUMBER"],
            hint=_example(where),
        )
    key, relation, text = parts.groups()
    relation = "=" if relation == "==" else relation
    values = tuple(_separated(text)) if relation in ("=", "!=") else (text,)
    return Condition(key, relation, values)


def _example(where: str) -> str:
    return f"{where} 'optimizer=adam,sgd status=finished test_acc>0.9'"


def _separated(text: str) -> list[str]:
    """Return the values of a list `a,b`; commas within brackets separate nothing."""
    parts = re.split(r",(?![^\[]*\])", text)
    return [part for part in parts if part]


def _equals(value: Any, typed: str) -> bool:
    if isinstance(value, str):
        return fnmatchcase(value.casefold(), typed.casefold())
    if isinstance(value, bool) or value is None:
        return json.dumps(value) == typed.casefold()
    if isinstance(value, int | float):
        given = _number(typed)
        # As close as a screen shows it: 0.941 is meant by 0.941, whatever it is to the last bit.
        return given is not None and math.isclose(value, given, rel_tol=1e-9, abs_tol=0)
    return json.dumps(value, separators=(",", ":")) == "".join(typed.split())


def _in_order(value: Any, relation: str, limit: str) -> bool:
    if isinstance(value, str):  # a time, as the list shows it
        return _ORDER[relation](value, limit)
    given = _number(limit)
    if given is None or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return _ORDER[relation](value, given)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
