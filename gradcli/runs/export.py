"""A run's steps in formats that other tools read: one row a step, full names as columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

from gradcli.runs.files import plain
from gradcli.runs.reader import Run

_ROWS_AT_ONCE = 10_000


def write_csv(run: Run, file: TextIO) -> None:
    """Write `Run.columns` as CSV with a header; NaN and infinities as `nan` and `inf`."""
    writer = csv.writer(file, lineterminator="\n")
    columns = run.columns()
    writer.writerow(columns)
    writer.writerows(_rows(columns))


def write_jsonl(run: Run, file: TextIO) -> None:
    """Write `Run.columns` as one JSON object a step; NaN and infinities as strings."""
    columns = run.columns()
    for row in _rows(columns):
        file.write(json.dumps(plain(dict(zip(columns, row, strict=True)))) + "\n")


def _rows(columns: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as Python numbers, a block in memory at a time.

    A float32 is written with the digits that it has: as the double next to its shortest text.
    """
    count = len(next(iter(columns.values())))
    for start in range(0, count, _ROWS_AT_ONCE):
        block = [column[start : start + _ROWS_AT_ONCE] for column in columns.values()]
        yield from zip(
            *(
                [float(str(value)) for value in part]
                if part.dtype.itemsize == 4 and part.dtype.kind == "f"
                else part.tolist()
                for part in block
            ),
            strict=True,
        )
