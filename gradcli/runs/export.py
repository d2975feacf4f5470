"""Runs and comparisons as tables in formats that other tools read: full names as columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, Any, TextIO

from gradcli.notation.visible import in_json, visible
from gradcli.runs.files import plain, write_atomically
from gradcli.runs.reader import Run
from gradcli.system.naming import naming

_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Table:
    """Columns by name, and the rows, which can be read once.

    A row lacks the columns that it has no value for.
    """

    columns: tuple[str, ...]
    rows: Iterator[Mapping[str, Any]]


def step_table(run: Run) -> Table:
    """Return a run's `Run.columns`, one row per logged step."""
    return Table(tuple(_step_columns(run)), _steps(run))


def step_table_of_trials(trials: Sequence[tuple[Mapping[str, Any], Run]]) -> Table:
    """Return the steps of several runs, one row per logged step, each with what identifies its run.

    Models may differ: a column is there if any of the runs has it.

    Args:
        trials: for each run what identifies it, under names of the first columns.
    """
    identifying = dict.fromkeys(chain.from_iterable(labels for labels, _ in trials))
    columns = dict.fromkeys(chain.from_iterable(_step_columns(run) for _, run in trials))
    rows = ({**labels, **row} for labels, run in trials for row in _steps(run))
    return Table((*identifying, *columns), rows)


def write_csv(table: Table, file: TextIO) -> None:
    """Write CSV with a header; a missing value is empty.

    NaN and infinities are `nan`, `inf` and `-inf`: each format tells them from what is missing.
    Control characters in names and texts are written as escapes: a terminal may show the file.
    """
    writer = csv.DictWriter(file, table.columns, restval="", lineterminator="\n")
    writer.writerow({column: visible(column) for column in table.columns})
    writer.writerows(
        {name: visible(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in table.rows
    )


def write_jsonl(table: Table, file: TextIO) -> None:
    """Write one JSON object per row, without what is missing; NaN and infinities are strings.

    They are `"nan"`, `"inf"` and `"-inf"`, the words that CSV has: JSON has no such numbers.
    """
    for row in table.rows:
        file.write(in_json(json.dumps(plain(row))) + "\n")


#: How a table is written, by the format's name.
FORMATS: dict[str, Callable[[Table, TextIO], None]] = {"csv": write_csv, "jsonl": write_jsonl}


def write_table(path: Path, table: Table, write: Callable[[Table, TextIO], None]) -> None:
    """Write a table to a file with one of `FORMATS`; an error leaves the file as it was.

    Args:
        path: the file, or a device such as /dev/null.
        table: is read.
        write: writes it.
    """
    if path.exists() and not path.is_file():
        with naming(path), path.open("w", newline="", encoding="utf-8") as device:
            write(table, device)
        return

    def fill(file: IO[bytes]) -> None:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        write(table, text)
        text.detach()  # which flushes, and leaves the file open

    write_atomically(path.resolve(), fill)


def _step_columns(run: Run) -> list[str]:
    return list(run.columns(slice(0)))


def _steps(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the steps as Python numbers, with one block in memory at a time.

    A float32 is written with the digits that it has: as the double closest to its shortest text.
    """
    for start in range(0, len(run.steps), _ROWS_AT_ONCE):
        columns = run.columns(slice(start, start + _ROWS_AT_ONCE))
        values = (
            [float(str(value)) for value in column]
            if column.dtype.itemsize == 4 and column.dtype.kind == "f"
            else column.tolist()
            for column in columns.values()
        )
        for row in zip(*values, strict=True):
            yield dict(zip(columns, row, strict=True))
