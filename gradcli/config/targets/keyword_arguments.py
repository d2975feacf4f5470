"""The keyword arguments of a class: which it takes, and a config's values checked against them."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradcli.config.schema import MOST, Section
from gradcli.config.targets.annotations import accepts, in_words, named_choices
from gradcli.errors import UserError, nearest

#: The arguments that gradcli fills in itself, so that a config cannot set them.
_FILLED_IN = {
    "model": {"input_shape", "classes", "activation"},
    "optimizer": {"params"},
    "schedule": {"optimizer"},
}

#: The arguments that gradcli fills in if a config does not: the length of the run.
_FILLED_IN_IF_MISSING = {"schedule": {"T_max", "total_steps", "total_iters"}}


@dataclass(frozen=True)
class Keyword:
    """A keyword argument that a class takes."""

    name: str
    annotation: Any
    default: Any


def keywords(target: type, group: str) -> dict[str, Keyword]:
    """Return the keyword arguments that a config may set for a class, by name."""
    try:
        hints = typing.get_type_hints(target.__init__)  # type: ignore[misc]
    except (NameError, TypeError):
        hints = {}  # annotations that only a type checker can resolve are not checked
    found = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            annotation = hints.get(parameter.name, Any)
            if annotation is Any and parameter.default not in (inspect.Parameter.empty, None):
                annotation = type(parameter.default)
            found[parameter.name] = Keyword(parameter.name, annotation, parameter.default)
    return {name: found[name] for name in found if name not in _FILLED_IN.get(group, ())}


def check_arguments(section: Section, target: type, file: str) -> None:
    """Check a section's arguments against the signature of its class.

    Raises:
        UserError: if the class does not take an argument, or needs one that is missing, or the
            value has the wrong type or can never be right.
    """
    known = keywords(target, section.group)
    for name, value in section.arguments.items():
        key = f"{section.key}.{name}"
        if name not in known:
            likely = nearest(name, known) or sorted(known)
            raise UserError(
                f"{target.__name__} takes no '{name}'.",
                where=f"{key} in {file}",
                choices=[f"{section.key}.{option}" for option in likely],
            )
        is_rate = section.group == "optimizer" and name == "lr"
        objection = _objection(known[name], value, target, is_rate=is_rate)
        if objection:
            default = known[name].default
            likely = nearest(str(value), named_choices(known[name].annotation))
            raise UserError(
                f"{key} is {value!r}; {objection}.",
                where=f"{key} in {file}",
                choices=[f"{key}={option}" for option in likely],
                hint=f"{key}={likely[0]}"
                if likely
                else None
                if default is inspect.Parameter.empty or default is None
                else f"{key}={_as_override(default)}",
            )
    optional = _FILLED_IN_IF_MISSING.get(section.group, set())
    for keyword in known.values():
        missing = keyword.name not in section.arguments and keyword.name not in optional
        if missing and keyword.default is inspect.Parameter.empty:
            raise UserError(
                f"{target.__name__} needs a value for '{keyword.name}'.",
                where=f"{section.key}.{keyword.name} in {file}",
                hint=f"{section.key}.{keyword.name}=VALUE",
            )


def configured_rate(target: type, arguments: Mapping[str, Any]) -> float | None:
    """Return the learning rate that an optimizer's arguments set, or its class; None without."""
    value: Any = arguments.get("lr")
    if value is None:
        keyword = keywords(target, "optimizer").get("lr")
        value = None if keyword is None else keyword.default
    return float(value) if isinstance(value, int | float) else None


def _objection(keyword: Keyword, value: Any, target: type, *, is_rate: bool) -> str:
    """Say why an argument cannot have this value; empty if it can.

    Infinity may make sense to a class, as "no limit"; as a learning rate it cannot.
    """
    if not accepts(keyword.annotation, value):
        return f"{target.__name__} expects {in_words(keyword.annotation)}"
    if _has_nan(value):
        return "NaN is not a value to compute with"
    if _has_too_large_integer(value):
        exponent = "; a larger number needs an exponent, as 1e+23 has"
        limits = f"a whole number must be from {-MOST - 1:,} to {MOST:,}"
        return limits + exponent * accepts(keyword.annotation, float(MOST))
    if is_rate and isinstance(value, int | float) and not 0 <= value < math.inf:
        return "a learning rate must be a finite number, 0 or more"
    return ""


def _has_nan(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def _has_too_large_integer(value: Any) -> bool:
    """Whether a whole number is in it that torch cannot take, which is limited to 64 bits."""
    if isinstance(value, list | tuple):
        return any(map(_has_too_large_integer, value))
    return isinstance(value, int) and not -MOST - 1 <= value <= MOST


def _as_override(value: Any) -> str:
    """Return a value as an override writes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(_as_override(item) for item in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
