"""Runs and comparisons as tables in formats that other tools read: full names as columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TextIO

from gradcli.extras.missing import not_installed
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
    numbers: Mapping[str, str] = field(default_factory=dict)
    """Those columns that hold numbers, and the type in which a binary format keeps them: `int64`,
    `float32` or `float64`. The others hold text."""


def step_table(run: Run) -> Table:
    """Return a run's `Run.columns`, one row per logged step."""
    numbers = _step_columns(run)
    return Table(tuple(numbers), _steps(run), numbers)


def step_table_of_trials(trials: Sequence[tuple[Mapping[str, Any], Run]]) -> Table:
    """Return the steps of several runs, one row per logged step, each with what identifies its run.

    Models may differ: a column is there if any of the runs has it.

    Args:
        trials: for each run what identifies it, under names of the first columns.
    """
    identifying = dict.fromkeys(chain.from_iterable(labels for labels, _ in trials))
    labelled = {name: value for labels, _ in trials for name, value in labels.items()}
    numbers = {name: type_of for name in identifying if (type_of := number_type(labelled[name]))}
    columns: dict[str, str] = {}
    for _, run in trials:
        columns = {**_step_columns(run), **columns}
    rows = ({**labels, **row} for labels, run in trials for row in _steps(run))
    return Table((*identifying, *columns), rows, {**numbers, **columns})


def number_type(value: Any) -> str:
    """Return the type of `Table.numbers` that keeps a Python number; empty for anything else."""
    return {int: "int64", float: "float64"}.get(type(value), "")


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


def write_parquet(table: Table, file: IO[bytes]) -> None:
    """Write Parquet; a missing value is null, which is not NaN.

    Numbers have the type in which the run holds them, so that a float32 stays the same to the bit.

    Raises:
        UserError: if pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise not_installed(
            "pyarrow", "tables", error, what="Parquet", where="--format parquet"
        ) from error
    types = {name: table.numbers.get(name, "string") for name in table.columns}
    schema = pyarrow.schema(
        [(name, pyarrow.type_for_alias(alias)) for name, alias in types.items()]
    )
    with ParquetWriter(file, schema) as writer:
        while rows := list(islice(table.rows, _ROWS_AT_ONCE)):
            columns = {
                name: [_stored(row.get(name), types[name]) for row in rows] for name in types
            }
            writer.write_table(pyarrow.table(columns, schema=schema))


def _stored(value: Any, type_of: str) -> Any:
    return str(value) if type_of == "string" and value is not None else value


#: How a table is written, by the format's name.
FORMATS: dict[str, Callable[[Table, Any], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}
#: Those that are not text.
BINARY_FORMATS = ("parquet",)


def write_table(
    path: Path, table: Table, write: Callable[[Table, Any], None], *, is_binary: bool = False
) -> None:
    """Write a table to a file with one of `FORMATS`; an error leaves the file as it was.

    Args:
        path: the file, or a device such as /dev/null.
        table: is read.
        write: writes it.
        is_binary: whether that is not text.
    """

    def fill(file: IO[bytes]) -> None:
        if is_binary:
            write(table, file)
            return
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        write(table, text)
        text.detach()  # which flushes, and leaves the file open

    if path.exists() and not path.is_file():
        with naming(path), path.open("wb") as device:
            fill(device)
        return
    write_atomically(path.resolve(), fill)


def _step_columns(run: Run) -> dict[str, str]:
    """Return the columns of a run's steps, each with its type in `Table.numbers`."""
    return {
        name: "int64" if column.dtype.kind in "iu" else column.dtype.name
        for name, column in run.columns(slice(0)).items()
    }


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
