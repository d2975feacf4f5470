"""A run's steps in formats that other tools read: one row a step, full names as columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

from gradcli.runs.files import plain
from gradcli.runs.reader import Run

_ROWS_AT_ONCE = 5_000


def write_csv(run: Run, file: TextIO) -> None:
    """Write `Run.columns` as CSV with a header; NaN and infinities as `nan` and `inf`."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(run.columns(slice(0)))
    writer.writerows(_rows(run))


def write_jsonl(run: Run, file: TextIO) -> None:
    """Write `Run.columns` as one JSON object a step; NaN and infinities as strings."""
    names = list(run.columns(slice(0)))
    for row in _rows(run):
        file.write(json.dumps(plain(dict(zip(names, row, strict=True)))) + "\n")


def _rows(run: Run) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as Python numbers, a block in memory at a time.

    A float32 is written with the digits that it has: as the double next to its shortest text.
    """
    for start in range(0, len(run.steps), _ROWS_AT_ONCE):
        columns = run.columns(slice(start, start + _ROWS_AT_ONCE))
        yield from zip(
            *(
                [float(str(value)) for value in column]
                if column.dtype.itemsize == 4 and column.dtype.kind == "f"
                else column.tolist()
                for column in columns.values()
            ),
            strict=True,
        )
