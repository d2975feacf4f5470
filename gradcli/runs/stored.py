"""The boundary to stored files, which anything may have happened to: read as meant, or named.

Every file of the runs directory is read through here. What comes back has the types that the code
counts on; anything else is a `DamagedFileError`, which names the file and what is wrong with it.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
)

from gradcli.errors import DamagedFileError
from gradcli.records import ACCURACY, Metric

_NOT_FINITE = ("nan", "inf", "-inf")
# Larger ones are not counts, and do not fit into arrays.
_INTEGERS = range(-(2**63), 2**63)


class MalformedError(ValueError):
    """A value is not of the type that is needed; the message says which, as part of a sentence."""


def damaged(path: Path, how: str) -> DamagedFileError:
    """Return the error that says what is wrong with a file.

    Args:
        path: the file.
        how: the rest of a sentence that begins with the path.
    """
    return DamagedFileError(
        f"{path} {how}. gradcli did not write it like this.",
        where=str(path),
        hint=f"restore the file, or move {path.parent} elsewhere",
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file into a `DamagedFileError` that names it."""
    try:
        yield
    except MalformedError as error:
        raise damaged(path, str(error)) from None
    except (ValueError, RecursionError) as error:  # also bytes that are not text
        raise damaged(path, f"is not valid JSON: {error}") from None
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        DamagedFileError: if it is missing, no file, or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise damaged(path, "is not text") from None
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """Return the value that a JSON file holds.

    Raises:
        DamagedFileError: if it is missing, no file, or not JSON.
    """
    with reading(path):
        return json.loads(path.read_bytes())


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none.

    Raises:
        DamagedFileError: if there is something else in its place, such as a folder.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from None
    if not path.is_file():
        raise damaged(path, "is not a file")
    return size


def decoded(kind: Any, value: Any, name: str = "") -> Any:
    """Return a value that was stored as JSON as the type that it has in memory.

    Args:
        kind: a dataclass, a `TypedDict`, a type of the standard library, or one composed of such
            types. `datetime` is ISO 8601 text. A float may be "nan", "inf" or "-inf". Of a
            `TypedDict` only the keys that it names are decoded.
        value: what `json.loads` returned, or parts that are decoded already.
        name: of the value, for the error.

    Raises:
        MalformedError: if the value has another type.
    """
    if kind is Any:
        return value
    if kind in _PLAIN:  # most values: asked first, because a thousand runs have many
        return _simple(kind, value, name)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, kind):
        return value
    if is_dataclass(kind):
        return _record(kind, value, name)
    if typing.is_typeddict(kind):
        return _known_keys(kind, value, name)
    if origin is Literal:
        return value if value in inner else _refuse(value, name, _choices(inner))
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, name)
    if origin is tuple:
        return _tuple(inner, value, name)
    if origin is list:
        _require(list, value, name)
        return [decoded(inner[0], one, f"{name}[{at}]") for at, one in enumerate(value)]
    if origin is not None and issubclass(origin, Mapping):
        _require(dict, value, name)
        if inner == (str, Any):
            return value
        return {_key(inner[0], key, name): decoded(inner[1], value[key], key) for key in value}
    return _simple(kind, value, name)


def _record(kind: Any, value: Any, name: str) -> Any:
    """Build a dataclass. Keys that it does not have are refused: a name may have been garbled."""
    _require(dict, value, name)
    hints = _hints(kind)
    if unknown := next((key for key in value if key not in hints), None):
        raise MalformedError(f"has an unknown key '{unknown}'")
    if missing := next((key for key in _needed(kind) if key not in value), None):
        raise MalformedError(f"has no key '{missing}'")
    return kind(**{key: decoded(hints[key], value[key], key) for key in value})


def _known_keys(kind: Any, value: Any, name: str) -> dict[str, Any]:
    _require(dict, value, name)
    keys = _keys(kind)
    if missing := next((key for key, one in keys.items() if one.needed and key not in value), None):
        raise MalformedError(f"has no key '{missing}'")
    known = {key: one.kind for key, one in keys.items() if key in value}
    return {**value, **{key: decoded(kind, value[key], key) for key, kind in known.items()}}


def _one_of(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    (kind,) = (kind for kind in kinds if kind is not types.NoneType)
    return decoded(kind, value, name)


def _tuple(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        return _refuse(value, name, "a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        if kinds[0] is float and set(map(type, value)) <= {float}:
            return tuple(value)  # the many numbers of a long run
        return tuple(decoded(kinds[0], one, f"{name}[{at}]") for at, one in enumerate(value))
    if len(value) != len(kinds):
        return _refuse(value, name, f"{len(kinds)} values")
    return tuple(decoded(kind, one, name) for kind, one in zip(kinds, value, strict=True))


def _key(kind: Any, key: str, name: str) -> Any:
    """Return a key of a JSON object, which is always text there."""
    if kind is not int:
        return key
    return int(key) if key.isdecimal() else _refuse(key, name, "a whole number as its key")


def _simple(kind: Any, value: Any, name: str) -> Any:
    if kind is float and (value in _NOT_FINITE or type(value) in (int, float)):
        return _float(value, name)
    if kind is int and (type(value) is not int or value not in _INTEGERS):
        return _refuse(value, name, "a whole number")
    if kind is datetime:
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return _refuse(value, name, "a time")
    _require(kind, value, name)
    return value


def _float(value: Any, name: str) -> float:
    """Return a number. One that was written as a whole number stays one: hashes depend on it."""
    if type(value) is int and value not in _INTEGERS:
        return _refuse(value, name, "a number of this size")
    return value if type(value) is int else float(value)


#: Types that contain no others.
_PLAIN: Final = frozenset({bool, float, int, str})
_IN_WORDS = {
    bool: "true or false",
    dict: "an object",
    float: "a number",
    list: "a list",
    str: "text",
}


def _require(kind: type, value: Any, name: str) -> None:
    if type(value) is not kind:
        _refuse(value, name, _IN_WORDS.get(kind, str(kind)))


def _refuse(value: Any, name: str, needed: str) -> typing.NoReturn:
    text = json.dumps(value, default=str)
    text = text if len(text) <= 40 else f"{text[:37]}..."
    raise MalformedError(
        f"has {name}: {text}, not {needed}" if name else f"holds {text}, not {needed}"
    )


def _choices(words: tuple[Any, ...]) -> str:
    return f"one of {', '.join(map(str, words))}"


def stored_metric(info: Mapping[str, Any]) -> Metric:
    """Return the metric that a stored header names; schema 1 knew none but the accuracy."""
    if "metric" not in info:
        return ACCURACY
    metric: Metric = decoded(Metric, info["metric"], "metric")
    return metric


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


class _Key(NamedTuple):
    kind: Any
    needed: bool


@cache
def _keys(kind: Any) -> dict[str, _Key]:
    """Return the keys of a `TypedDict`. Python 3.11 does not find `Required` in postponed hints."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        key: _Key(get_args(hint)[0], get_origin(hint) is Required)
        if get_origin(hint) in (Required, NotRequired)
        else _Key(hint, kind.__total__)
        for key, hint in hints.items()
    }


@cache
def _needed(kind: Any) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in fields(kind)
        if one.init and one.default is MISSING and one.default_factory is MISSING
    )
