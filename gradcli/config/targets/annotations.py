"""Annotations of a signature: which plain values fit one, and what it takes, in words."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a plain `value` may be passed to a parameter with this annotation.

    An int passes as a float, and a list as a tuple or a sequence. Types that a config cannot
    hold (a tensor, say) accept nothing; annotations that are not understood accept everything.
    """
    if annotation is Any or annotation is inspect.Parameter.empty:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(part, value) for part in arguments)
    if origin is typing.Literal:
        return value in arguments
    if annotation in (None, type(None)):
        return value is None
    container = origin or annotation
    if not inspect.isclass(container):
        return True
    if container is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if container is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if issubclass(container, str | bool):
        return isinstance(value, container)
    if issubclass(container, Sequence):
        return _accepts_sequence(container, arguments, value)
    return isinstance(value, container)


def _accepts_sequence(container: type, arguments: tuple[Any, ...], value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    if issubclass(container, tuple) and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(accepts, arguments, value))
    return all(accepts(arguments[0], item) for item in value) if arguments else True


_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "integers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    bool: ("true or false", "values of true or false"),
    type(None): ("null", "nulls"),
    None: ("null", "nulls"),
}

_EXAMPLES: dict[Any, str] = {int: "[64]", float: "[0.9, 0.999]"}


def in_words(annotation: Any) -> str:
    """Say what an annotation takes: `a list of integers, such as [64]`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(part) for part in _writable(annotation))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if annotation in _WORDS:
        return _WORDS[annotation][0]
    container = origin or annotation
    if not inspect.isclass(container) or not issubclass(container, Sequence):
        return f"a value of the type {inspect.formatannotation(annotation).replace('typing.', '')}"
    items = [one for one in arguments if one is not Ellipsis]
    if not items:
        return "a list"
    many = _WORDS.get(_writable(items[0])[0], ("", "values"))[1]
    fixed = issubclass(container, tuple) and Ellipsis not in arguments
    if len(set(items)) == 1 and fixed:
        many = f"{len(items)} {many}"
    elif len(items) > 1:
        many = f"{len(items)} values"
    example = f", such as {_EXAMPLES[items[0]]}" if items[0] in _EXAMPLES and not fixed else ""
    return f"a list of {many}{example}"


def named_choices(annotation: Any) -> tuple[str, ...]:
    """Return the names that an annotation takes, `Literal["a", "b"]`, perhaps in a union."""
    if typing.get_origin(annotation) is typing.Literal:
        return tuple(one for one in typing.get_args(annotation) if isinstance(one, str))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = typing.get_args(annotation)
        return tuple(name for member in members for name in named_choices(member))
    return ()


def _writable(annotation: Any) -> tuple[Any, ...]:
    """Return those members of a union that a config can hold, or all if it can hold none."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return (annotation,)
    members = typing.get_args(annotation)
    return (
        tuple(one for one in members if one in _WORDS or typing.get_origin(one) is not None)
        or members
    )
