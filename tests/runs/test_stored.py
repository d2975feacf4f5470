"""Stored values: they come back with the type that they had, or are refused with their name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, Required, TypedDict

import pytest

from gradcli.errors import DamagedFileError
from gradcli.runs.stored import MalformedError, decoded, file_size, read_json, read_text, reading


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    name: str = ""
    more: tuple[str, ...] = field(default_factory=tuple)


class State(TypedDict, total=False):
    status: Required[str]
    steps: int


class Whole(TypedDict):
    status: str
    steps: NotRequired[int]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, -3, -3),
        (int, 2**63 - 1, 2**63 - 1),
        (int, -(2**63), -(2**63)),
        (float, 1.5, 1.5),
        (float, 2, 2),
        (float, "inf", math.inf),
        (float, "-inf", -math.inf),
        (bool, True, True),
        (str, "text", "text"),
        (Any, {"a": [1]}, {"a": [1]}),
        (datetime, "2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (Literal["a", 1], "a", "a"),
        (int | None, None, None),
        (int | None, 5, 5),
        (list[int], [1, 2], [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[float, ...], [1.5, 2.5], (1.5, 2.5)),
        (tuple[float, ...], [1.5, 2], (1.5, 2)),
        (tuple[float, ...], [1.5, "inf"], (1.5, math.inf)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, int], [1, 2], (1, 2)),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[int, float], {"10": 0.5}, {10: 0.5}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Point, {"x": 1.0, "y": "inf"}, Point(1.0, math.inf)),
        (Point, {"x": 1.0, "y": 2.0, "more": ["a"]}, Point(1.0, 2.0, more=("a",))),
        (Point, Point(1.0, 2.0), Point(1.0, 2.0)),
        (State, {"status": "a", "other": [1]}, {"status": "a", "other": [1]}),
        (Whole, {"status": "a"}, {"status": "a"}),
    ],
)
def test_a_value_comes_back_with_its_type(kind, value, expected):
    found = decoded(kind, value)
    assert found == expected
    assert type(found) is type(expected)


def test_nan_comes_back_too():
    assert math.isnan(decoded(float, "nan"))


def test_a_number_that_was_written_whole_stays_whole():
    """Hashes depend on it."""
    assert type(decoded(float, 2)) is int


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, 1.0, "has it: 1.0, not a whole number"),
        (int, True, "has it: true, not a whole number"),
        (int, 2**63, f"has it: {2**63}, not a whole number"),
        (int, -(2**63) - 1, f"has it: {-(2**63) - 1}, not a whole number"),
        (float, True, "has it: true, not a number"),
        (float, "1", 'has it: "1", not a number'),
        (float, 2**63, f"has it: {2**63}, not a number of this size"),
        (bool, 1, "has it: 1, not true or false"),
        (str, 1, "has it: 1, not text"),
        (datetime, "yesterday", 'has it: "yesterday", not a time'),
        (datetime, 5, "has it: 5, not a time"),
        (Literal["a", 1], "b", 'has it: "b", not one of a, 1'),
        (int | None, "x", 'has it: "x", not a whole number'),
        (list[int], {}, "has it: {}, not a list"),
        (list[int], [1, "x"], 'has it[1]: "x", not a whole number'),
        (tuple[int, ...], "ab", 'has it: "ab", not a list'),
        (tuple[int, ...], [1, 2, "x"], 'has it[2]: "x", not a whole number'),
        (tuple[int, int], [1], "has it: [1], not 2 values"),
        (tuple[int, int], [1, 2, 3], "has it: [1, 2, 3], not 2 values"),
        (tuple[float, ...], [1.5, None], "has it[1]: null, not a number"),
        (dict[str, int], [], "has it: [], not an object"),
        (dict[str, int], {"a": "x"}, 'has a: "x", not a whole number'),
        (dict[int, int], {"a": 1}, 'has it: "a", not a whole number as its key'),
        (Point, {"x": 1.0}, "has no key 'y'"),
        (Point, {"x": 1.0, "y": 1.0, "z": 1.0}, "has an unknown key 'z'"),
        (Point, [], "has it: [], not an object"),
        (State, {}, "has no key 'status'"),
        (State, {"status": "a", "steps": "x"}, 'has steps: "x", not a whole number'),
        (Whole, {"steps": 1}, "has no key 'status'"),
    ],
)
def test_another_type_is_refused_with_the_name_of_the_value(kind, value, said):
    with pytest.raises(MalformedError) as error:
        decoded(kind, value, "it")
    assert str(error.value) == said


def test_without_a_name_only_the_value_is_told():
    with pytest.raises(MalformedError, match=r'^holds "x", not a whole number$'):
        decoded(int, "x")


@pytest.mark.parametrize(
    ("length", "told"), [(38, '"' + 38 * "x" + '"'), (39, '"' + 36 * "x" + "...")]
)
def test_a_long_value_is_cut(length, told):
    """To forty characters, its quotes among them."""
    with pytest.raises(MalformedError) as error:
        decoded(int, "x" * length, "it")
    assert str(error.value) == f"has it: {told}, not a whole number"


def test_what_is_wrong_with_a_file_names_it(tmp_path):
    path = tmp_path / "file"
    cases = {
        "file has no key. gradcli did not write it like this": MalformedError("has no key"),
        "file is not valid JSON: no": ValueError("no"),
        "file is not valid JSON: deep": RecursionError("deep"),
        "file cannot be read: gone": OSError(2, "gone"),
    }
    for said, error in cases.items():
        with pytest.raises(DamagedFileError, match=said) as caught, reading(path):
            raise error
        assert caught.value.where == str(path)
        assert caught.value.hint == f"restore the file, or move {tmp_path} elsewhere"


def test_text_and_json_are_read_or_named(tmp_path):
    path = tmp_path / "file"
    path.write_text('{"é": 1}', encoding="utf-8")
    assert (read_text(path), read_json(path)) == ('{"é": 1}', {"é": 1})
    path.write_bytes(b"\xff")
    with pytest.raises(DamagedFileError, match="is not text"):
        read_text(path)
    for read in (read_text, read_json):
        with pytest.raises(DamagedFileError, match="cannot be read: No such file"):
            read(tmp_path / "nowhere")


def test_the_size_of_a_file_is_that_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert (file_size(tmp_path / "file"), file_size(tmp_path / "nowhere")) == (5, 0)
    with pytest.raises(DamagedFileError, match="is not a file"):
        file_size(tmp_path)
    with pytest.raises(DamagedFileError, match="cannot be read: Not a directory"):
        file_size(Path(tmp_path / "file" / "in"))
