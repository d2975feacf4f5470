"""What differs between two trees of plain values and arrays, and which of it is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

#: What a document is parsed into: None, bool, int, float, str, an array, or lists and dicts.
Tree = Any


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


@dataclass(frozen=True)
class Difference:
    """A value that is not the same on both sides.

    Args:
        path: to the value in its document, as in `layers[0].name`.
        change: `old -> new`, for the reader.
        of_numbers: an array changed or vanished, which nothing may allow.
        document: the name of the document.
    """

    path: str
    change: str
    of_numbers: bool = False
    document: str = ""

    def __str__(self) -> str:
        return f"{self.document}: {self.path}: {self.change}"


def all_differences(old: Mapping[str, Tree], new: Mapping[str, Tree]) -> list[Difference]:
    """Return the differences of the documents of both sides.

    A document that one side lacks is a difference of `files` alone.
    """
    return [
        replace(difference, document=document)
        for document in old
        if document in new
        for difference in differences(old[document], new[document])
    ]


def differences(old: Tree, new: Tree, path: str = "") -> Iterator[Difference]:
    """Yield what differs between two trees; the order of a dict's keys does not count."""
    match old, new:
        case dict(), dict():
            for key in dict.fromkeys([*old, *new]):
                below = f"{path}.{key}" if path else str(key)
                yield from differences(old.get(key, _ABSENT), new.get(key, _ABSENT), below)
        case list(), list():
            for index, (one, other) in enumerate(zip_longest(old, new, fillvalue=_ABSENT)):
                yield from differences(one, other, f"{path}[{index}]")
        case np.ndarray(), np.ndarray():
            change = _array_change(old, new)
            if change:
                yield Difference(path, change, of_numbers=True)
        case _:
            # `repr` tells 1 from 1.0 and from True, 0.0 from -0.0, and knows one nan.
            if type(old) is not type(new) or repr(old) != repr(new):
                yield Difference(path, f"{_short(old)} -> {_short(new)}", _holds_array(old))


def _array_change(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> str:
    """Return how two arrays differ; empty if they are the same to the bit."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{_short(old)} -> {_short(new)}"
    # The bytes of each element: a nan equals itself, and 0.0 is not -0.0.
    shape = (old.size, old.itemsize)
    one, other = (np.frombuffer(side.tobytes(), np.uint8).reshape(shape) for side in (old, new))
    where = np.flatnonzero((one != other).any(axis=1))
    if not len(where):
        return ""
    first = np.unravel_index(where[0], old.shape)
    index = f"[{', '.join(map(str, first))}]"
    return (
        f"{len(where)} of {old.size} elements differ, first {index}: "
        f"{old[first].item()!r} -> {new[first].item()!r}"
    )


def _holds_array(tree: Tree) -> bool:
    match tree:
        case np.ndarray():
            return True
        case dict():
            return any(map(_holds_array, tree.values()))
        case list():
            return any(map(_holds_array, tree))
    return False


def _short(value: Tree) -> str:
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype} {value.shape}"
    text = repr(value)
    return text if len(text) <= 200 else text[:199] + "…"


def is_allowed(difference: Difference, allowed: Sequence[str]) -> bool:
    """Whether one of the keys that `--allow` names covers the difference."""
    if difference.of_numbers:
        return False
    path = re.sub(r"\[\d+\]", "[]", difference.path)
    for word in allowed:
        document, _, key = word.rpartition(":")
        if document in ("", Path(difference.document).name) and (
            path == key or path.startswith((f"{key}.", f"{key}["))
        ):
            return True
    return False
