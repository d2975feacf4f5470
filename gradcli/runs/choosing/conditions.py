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
from gradcli.runs.choosing.facts import Facts, Values, plain_key

_CONDITION = re.compile(r"([\w.-]+)(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)
#: A set of `runs compare`.
SET: Final = "SET"
#: Of the options that take keys alone.
_EXAMPLES: Final = {"--sort": "test_acc", "--show": "lr,seed"}
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([ T]\d\d(:\d\d)?)?)?)?")
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
    """As typed. With `=` and `!=`, a pattern may stand for many: `name=a-*`; none is nothing:
    `tag=` holds for a run without tags."""

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
        if not self.values:
            return not known
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
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    return bool(words) and all(map(_CONDITION.fullmatch, words))


def refuse_meaningless(wanted: Sequence[Condition], known: Sequence[Facts], *, where: str) -> None:
    """Refuse conditions that no run could ever fulfil: an unknown key, or another kind of value.

    Raises:
        UserError: with what to type instead.
    """
    refuse_unknown_keys([one.key for one in wanted], known, where=where)
    for one in wanted:
        values = [value for facts in known for value in facts.of(one.key)]
        if one.relation in _ORDER:
            _refuse_order(one, values, where)


def _refuse_order(wanted: Condition, values: Sequence[Any], where: str) -> None:
    """Refuse `optimizer<5`, whose values have no order, and `seed>two`, which is no number."""
    (limit,) = wanted.values
    typed = f"{wanted.key}{wanted.relation}{limit}"
    if plain_key(wanted.key) == "when":
        if not _TIME.fullmatch(limit):
            raise UserError(
                f"'{typed}' compares a time with '{limit}'.",
                where=where,
                hint=_shown(where, f"{wanted.key}{wanted.relation}2026-01-31T09:30"),
            )
    elif values and not any(map(_is_number, values)):
        likely = ",".join(dict.fromkeys(str(value) for value in values[:2]))
        raise UserError(
            f"'{typed}' asks for an order, but the values of {wanted.key} are no numbers.",
            where=where,
            hint=_shown(where, f"{wanted.key}={likely}"),
        )
    elif _number(limit) is None:
        raise UserError(
            f"'{typed}' compares a number with '{limit}'.",
            where=where,
            hint=_shown(where, f"{wanted.key}{wanted.relation}0.1"),
        )


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
                    hint=_with_key(where, likely[0]) if likely else _example(where),
                )


def _condition(word: str, where: str) -> Condition:
    parts = _CONDITION.fullmatch(word)
    if parts is None or (not parts[3] and parts[2] in _ORDER) or parts[3][:1] in tuple("=<>"):
        raise UserError(
            f"'{word}' is no condition.",
            where=where,
            choices=["KEY=VALUE", "KEY!=VALUE", "KEY<NUMBER", "KEY>NUMBER"],
            hint=_example(where),
        )
    key, relation, text = parts.groups()
    relation = "=" if relation == "==" else relation
    if plain_key(key) == "when":  # as the list shows a time, as far as it is typed
        text = text.replace("T", " ") + ("*" if text and relation not in _ORDER else "")
    values = tuple(_separated(text)) if relation in ("=", "!=") else (text,)
    return Condition(key, relation, values)


def _shown(where: str, condition: str) -> str:
    """Return a condition as a shell takes it, at its option."""
    quoted = shlex.quote(condition)
    return quoted if where == SET else f"{where} {quoted}"


def _with_key(where: str, key: str) -> str:
    """Return what to type at an option, or as a set of `runs compare`, to name a key."""
    if where == SET:
        return f"{key}=VALUE"
    return f"{where} {key}=VALUE" if where == "--where" else f"{where} {key}"


def _example(where: str) -> str:
    if where in _EXAMPLES:
        return f"{where} {_EXAMPLES[where]}"
    conditions = "'optimizer=adam,sgd status=finished test_acc>0.9'"
    return conditions if where == SET else f"{where} {conditions}"


def _separated(text: str) -> list[str]:
    """Return the values of a list `a,b`; commas within brackets separate nothing."""
    parts = re.split(r",(?![^\[]*\])", text)
    return [part for part in parts if part]


def _equals(value: Any, typed: str) -> bool:
    if isinstance(value, str):
        value, typed = value.casefold(), typed.casefold()
        return value == typed or fnmatchcase(value, typed)
    if isinstance(value, bool) or value is None:
        return json.dumps(value) == typed.casefold()
    if isinstance(value, int | float):
        given = _number(typed)
        # As close as a screen shows it: 0.941 is meant by 0.941, whatever it is to the last bit.
        return given is not None and math.isclose(value, given, rel_tol=1e-9, abs_tol=0)
    return json.dumps(value, separators=(",", ":")) == "".join(typed.split())


def _in_order(value: Any, relation: str, limit: str) -> bool:
    if isinstance(value, str):  # a time
        return _ORDER[relation](value[: len(limit)], limit)
    given = _number(limit)
    return given is not None and _is_number(value) and _ORDER[relation](value, given)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    """Return a number, also one typed as a percentage; None if it is none."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
