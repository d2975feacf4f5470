"""Reads tables from text: CSV and its relatives (RFC 4180, with other delimiters).

UTF-8 with or without a byte order mark, and any line ends. Spaces around a cell are left out, and
so are empty lines. A column holds numbers if all its cells are numbers or missing, and else text.
Where commas do not separate cells, they may be decimal ones: `3,14`.
"""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcli.data.formats.bounded import refuse_too_large
from gradcli.data.formats.raw_table import (
    MISSING,
    RawColumn,
    RawTable,
    refuse_repeated_names,
    table_of,
)
from gradcli.data.formats.text_tokens import decode_utf8
from gradcli.errors import UserError

#: What is tried where no delimiter is given; of equal ones the first is taken. The comma is last,
#: because numbers and sentences have commas, too.
DELIMITERS: Final = ("\t", "|", ";", ",")

# A cell and its delimiter are at least 2 bytes and become at most 16: a pointer and a number.
_GROWTH: Final = 8
_ROWS_AT_ONCE: Final = 4096
_SAVE_AS_UTF8: Final = 'save it as "CSV UTF-8"'
_LOOKED_AT: Final = 2**16
_PLAIN: Final = re.compile(r"[0-9.eE+-]*")
# Infinity is a number, so that the error about one that is not finite names it.
_NUMBER: Final = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)", re.IGNORECASE
)
_WITH_COMMA: Final = re.compile(r"[+-]?([0-9]+|[0-9]*,[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
# May be 1.234, or 1234 with a separator of thousands.
_AMBIGUOUS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_COLUMNS_NAMED: Final = 3


def read_csv(path: Path, *, delimiter: str | None = None, header: bool = True) -> RawTable:
    """Read a table of text.

    Args:
        path: the file.
        delimiter: what separates cells; None takes the one of `DELIMITERS` that splits the first
            two lines into equally many cells, and most.
        header: whether the first line has the names of the columns; they are `0`, `1`, ... if not.

    Raises:
        UserError: if the file cannot be read, is not UTF-8, a row has more or fewer cells than
            the first line, a quote is not closed, or a name occurs twice. It gives the line.
    """
    try:
        refuse_too_large(path.stat().st_size * _GROWTH, "The table", path)
        delimiter = _sniffed(path) if delimiter is None else _checked(delimiter)
        return _read(path, delimiter, header=header)
    except UnicodeDecodeError:
        # A stream knows the place in its block only.
        decode_utf8(path.read_bytes(), path, _SAVE_AS_UTF8)
        raise
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.", where=str(path)) from error


class _GrowingColumn:
    """A column of numbers, as long as all of its cells are."""

    def __init__(self) -> None:
        self.numbers: array[float] | None = array("d")
        self.has_integers_only = True

    def extend(self, cells: Sequence[str]) -> None:
        if self.numbers is None:
            return
        # Whole blocks of plain numbers take half the time.
        read = float if all(cells) and _PLAIN.fullmatch("".join(cells)) else number
        try:
            self.numbers.extend(map(read, cells))
        except ValueError:
            self.numbers = None
        if self.has_integers_only:
            self.has_integers_only = all(
                cell.strip().lstrip("+-").isdigit() or cell.strip() in MISSING for cell in cells
            )


def number(cell: str) -> float:
    """Return the number in a cell, NaN if it is missing.

    Raises:
        ValueError: if it is text. Python's own `1_000`, and digits of other scripts, are text.
    """
    cell = cell.strip()
    if cell in MISSING:
        return float("nan")
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{cell} is not a number")
    return float(cell)


def _read(path: Path, delimiter: str, *, header: bool) -> RawTable:
    """Read the numbers in one pass, and in a second one the columns that turned out to be text."""
    records = _records(path, delimiter)
    first = next(records, None)
    if first is None:
        raise UserError("The file is empty.", where=str(path))
    names = [cell.strip() for cell in first[1]] if header else list(map(str, range(len(first[1]))))
    if header:
        _refuse_numbers_as_names(names, path)
        refuse_repeated_names(names, path)
    else:
        records = _records(path, delimiter)
    lines: array[int] = array("q")
    growing = [_GrowingColumn() for _ in names]
    while block := list(islice(records, _ROWS_AT_ONCE)):
        for line, cells in block:
            if len(cells) != len(names):
                raise UserError(
                    f"Line {line} has {len(cells)} cells, but the first line has {len(names)}.",
                    where=f"{path}:{line}",
                    hint="data.delimiter=CHARACTER, or quotes around a cell that holds it",
                )
            lines.append(line)
        for column, column_cells in zip(
            growing, zip(*(cells for _, cells in block), strict=True), strict=True
        ):
            column.extend(column_cells)
    of_text = [index for index, column in enumerate(growing) if column.numbers is None]
    texts = _texts(path, delimiter, of_text, header=header) if of_text else {}
    columns = [
        RawColumn(name, "text", texts=texts[index])
        if column.numbers is None
        else RawColumn(
            name,
            "integers" if column.has_integers_only else "numbers",
            numbers=np.array(column.numbers),
        )
        for index, (name, column) in enumerate(zip(names, growing, strict=True))
    ]
    columns, remarks = _with_decimal_commas(columns) if delimiter != "," else (columns, ())
    table = table_of(path, columns, np.array(lines, dtype=np.int64), "line")
    return replace(table, remarks=remarks)


def _with_decimal_commas(columns: list[RawColumn]) -> tuple[list[RawColumn], tuple[str, ...]]:
    """Return the columns with those as numbers that have decimal commas, and remarks on them.

    A column that may have separators of thousands instead is read like the others of its file: if
    one has decimal commas, and none has decimal points. Otherwise it remains text.
    """
    found = {
        column.name: (column.texts, numbers)
        for column in columns
        if column.texts is not None and (numbers := _comma_numbers(column.texts)) is not None
    }
    clear = [
        name
        for name, (texts, _) in found.items()
        if not all(_AMBIGUOUS.fullmatch(text) for text in texts if text and "," in text)
    ]
    has_points = any(column.kind == "numbers" for column in columns)
    read = clear if has_points or not clear else list(found)
    examples = {
        name: next(text for text in texts if text and "," in text)
        for name, (texts, _) in found.items()
    }
    remarks = [
        f"The column '{name}' holds {example}, which may be {example.replace(',', '.')} or "
        f"{example.replace(',', '')}: it is taken as text."
        for name, example in examples.items()
        if name not in read
    ]
    if read:
        named = ", ".join(f"'{name}'" for name in read[:_COLUMNS_NAMED])
        more = f" and {len(read) - _COLUMNS_NAMED} more" if len(read) > _COLUMNS_NAMED else ""
        example = examples[clear[0]]
        remarks.append(
            f"Commas are decimal points in {named}{more}: {example} is {example.replace(',', '.')}."
        )
    return [
        RawColumn(column.name, "numbers", numbers=found[column.name][1])
        if column.name in read
        else column
        for column in columns
    ], tuple(remarks)


def _comma_numbers(texts: Sequence[str | None]) -> NDArray[np.float64] | None:
    """Return the numbers of a column that has decimal commas; None if it holds anything else."""
    if not all(text is None or _WITH_COMMA.fullmatch(text) for text in texts):
        return None
    return np.array([number("" if text is None else text.replace(",", ".")) for text in texts])


def _texts(
    path: Path, delimiter: str, indices: Sequence[int], *, header: bool
) -> dict[int, list[str | None]]:
    """Return the cells of some columns; equal ones are one string in memory."""
    found: dict[int, list[str | None]] = {index: [] for index in indices}
    kept: dict[str, str] = {}
    for _, cells in islice(_records(path, delimiter), int(header), None):
        for index, texts in found.items():
            cell = cells[index].strip()
            texts.append(None if cell in MISSING else kept.setdefault(cell, cell))
    return found


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each record begins, and its cells.

    Raises:
        UserError: if a record is not as RFC 4180 has it.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
        line = 1
        try:
            for cells in reader:
                if cells and cells != [""]:
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"The record that begins in line {line} cannot be read: {error}.",
                where=f"{path}:{line}",
                hint='a quote within quotes is written twice: "a ""word"" here"',
            ) from error


def _sniffed(path: Path) -> str:
    """Return the delimiter of a file by its first two records.

    Raises:
        UserError: if none splits the first one, or the file is not of text.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
        raise UserError(
            "The file is not UTF-8: it has zero bytes, as UTF-16 and binary files have.",
            where=str(path),
            hint=_SAVE_AS_UTF8,
        )
    text = start.decode("utf-8-sig", errors="replace")

    def merit(delimiter: str) -> tuple[bool, int]:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
        )
        records = list(islice((cells for cells in reader if cells), 2))
        widths = [len(cells) for cells in records]
        return len(set(widths)) == 1 and widths[0] > 1, max(widths[:1], default=0)

    best = max(DELIMITERS, key=merit)
    if text.strip() and merit(best)[1] < 2:
        raise UserError(
            "The first line is one cell: it is not split by a comma, semicolon, tab or |.",
            where=f"{path}:1",
            hint="data.delimiter=CHARACTER, the one that separates the columns",
        )
    return best


def _checked(delimiter: str) -> str:
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UserError(
            f"{delimiter!r} cannot separate cells: one character was expected.",
            where="data.delimiter",
            choices=[repr(one) for one in DELIMITERS],
        )
    return delimiter


def _refuse_numbers_as_names(names: Sequence[str], path: Path) -> None:
    """Refuse a first line that is an example, which would be lost.

    It holds numbers only; or one with decimals, which no column is called. Years may be names.
    """
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    others = [name for name in names if name not in numbers and name not in MISSING]
    if numbers and (not others or any("." in name for name in numbers)):
        raise UserError(
            "The first line holds numbers, where the names of the columns were expected.",
            where=f"{path}:1",
            hint="data.header=false data.target=-1, if the last column is to be predicted",
        )
