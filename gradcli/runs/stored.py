"""The boundary to stored files, which anything may have happened to: read as meant, or named.

Every file of the runs directory is read through here. What comes back has the types that the code
counts on; anything else is a `DamagedFileError`, which names the file and what is wrong with it.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
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
    return _decoder(kind)(value, name)


#: Decodes a value, whose name is for the error.
_Decoder = Callable[[Any, str], Any]


@cache
def _decoder(kind: Any) -> _Decoder:
    """Return what decodes a type, built once: a list of a thousand runs decodes 100,000 values."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value, _: value
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if is_dataclass(kind):
        return _record_decoder(kind)
    if typing.is_typeddict(kind):
        return _typed_dict_decoder(kind)
    if origin is Literal:
        return _literal_decoder(inner)
    if origin in (Union, types.UnionType):
        return _union_decoder(inner)
    if origin is tuple:
        return _tuple_decoder(inner)
    if origin is list:
        return _list_decoder(_decoder(inner[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_decoder(*inner)
    return _exact_decoder(kind)


def _record_decoder(kind: Any) -> _Decoder:
    """Build a dataclass. Keys that it does not have are refused: a name may have been garbled."""
    hints = typing.get_type_hints(kind)
    needed = {
        one.name
        for one in fields(kind)
        if one.init and one.default is MISSING and one.default_factory is MISSING
    }
    decoders = {key: _decoder(hint) for key, hint in hints.items()}

    def decode(value: Any, name: str) -> Any:
        if isinstance(value, kind):
            return value
        _require(dict, value, name)
        if not value.keys() <= decoders.keys():
            unknown = next(key for key in value if key not in decoders)
            raise MalformedError(f"has an unknown key '{unknown}'")
        if not value.keys() >= needed:
            raise MalformedError(f"has no key '{min(needed - value.keys())}'")
        return kind(**{key: decoders[key](one, key) for key, one in value.items()})

    return decode


def _typed_dict_decoder(kind: Any) -> _Decoder:
    """Decode the keys that a `TypedDict` names.

    Python 3.11 does not find `Required` in postponed hints, so `__required_keys__` is no help.
    """
    decoders, needed = {}, []
    for key, hint in typing.get_type_hints(kind, include_extras=True).items():
        is_marked = get_origin(hint) in (Required, NotRequired)
        decoders[key] = _decoder(get_args(hint)[0] if is_marked else hint)
        if get_origin(hint) is Required or (kind.__total__ and not is_marked):
            needed.append(key)

    def decode(value: Any, name: str) -> Any:
        _require(dict, value, name)
        if missing := next((key for key in needed if key not in value), None):
            raise MalformedError(f"has no key '{missing}'")
        known = {key: decoders[key](one, key) for key, one in value.items() if key in decoders}
        return {**value, **known}

    return decode


def _literal_decoder(choices: tuple[Any, ...]) -> _Decoder:
    def decode(value: Any, name: str) -> Any:
        return value if value in choices else _refuse(value, name, _choices(choices))

    return decode


def _union_decoder(kinds: tuple[Any, ...]) -> _Decoder:
    """Decode a type that may be None."""
    (other,) = (_decoder(kind) for kind in kinds if kind is not types.NoneType)

    def decode(value: Any, name: str) -> Any:
        return None if value is None else other(value, name)

    return decode if types.NoneType in kinds else other


def _tuple_decoder(kinds: tuple[Any, ...]) -> _Decoder:
    of_any_length = len(kinds) == 2 and kinds[1] is Ellipsis
    decoders = [_decoder(kind) for kind in kinds if kind is not Ellipsis]
    plain = kinds[0] if of_any_length and kinds[0] in (float, int, str, bool) else None

    def decode(value: Any, name: str) -> Any:
        if not isinstance(value, list | tuple):
            return _refuse(value, name, "a list")
        if set(map(type, value)) <= {plain} and (
            plain is not int or all(one in _INTEGERS for one in value)
        ):
            return tuple(value)  # the many numbers of a long run: without a name for each
        if of_any_length:
            return tuple(decoders[0](one, f"{name}[{at}]") for at, one in enumerate(value))
        if len(value) != len(kinds):
            return _refuse(value, name, f"{len(kinds)} values")
        return tuple(decoder(one, name) for decoder, one in zip(decoders, value, strict=True))

    return decode


def _list_decoder(of_one: _Decoder) -> _Decoder:
    def decode(value: Any, name: str) -> Any:
        _require(list, value, name)
        return [of_one(one, f"{name}[{at}]") for at, one in enumerate(value)]

    return decode


def _mapping_decoder(key_kind: Any, value_kind: Any) -> _Decoder:
    if (key_kind, value_kind) == (str, Any):
        return _exact_decoder(dict)
    of_value = _decoder(value_kind)

    def decode(value: Any, name: str) -> Any:
        _require(dict, value, name)
        return {_key(key_kind, key, name): of_value(one, key) for key, one in value.items()}

    return decode


def _exact_decoder(kind: type) -> _Decoder:
    def decode(value: Any, name: str) -> Any:
        return value if type(value) is kind else _require(kind, value, name)

    return decode


def _key(kind: Any, key: str, name: str) -> Any:
    """Return a key of a JSON object, which is always text there."""
    if kind is not int:
        return key
    return int(key) if key.isdecimal() else _refuse(key, name, "a whole number as its key")


def _int(value: Any, name: str) -> int:
    if type(value) is int and value in _INTEGERS:
        return value
    return _refuse(value, name, "a whole number")


def _float(value: Any, name: str) -> float:
    """Return a number. One that was written as a whole number stays one: hashes depend on it."""
    if type(value) is float:
        return value
    if type(value) is int:
        return value if value in _INTEGERS else _refuse(value, name, "a number of this size")
    return float(value) if value in _NOT_FINITE else _refuse(value, name, _IN_WORDS[float])


def _datetime(value: Any, name: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return _refuse(value, name, "a time")


#: Of the types for which "is it one?" is not the whole question.
_SIMPLE: Final[Mapping[Any, _Decoder]] = {int: _int, float: _float, datetime: _datetime}
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
