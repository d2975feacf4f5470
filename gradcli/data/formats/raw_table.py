"""A table as a file has it: columns of numbers or text, and where each row stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gradcli.errors import UserError, nearest

#: What stands for a missing value in a file of text.
MISSING: Final = frozenset(("", "?", "NA", "N/A", "NaN", "nan", "NULL", "null"))

_CHOICES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class RawColumn:
    """A column. It holds numbers, or text, or else something that cannot be used."""

    name: str
    kind: str
    """`integers`, `numbers`, `text`, or the name of another type of Parquet."""
    numbers: NDArray[np.float64] | None = None
    """(rows,); NaN where a value is missing."""
    texts: Sequence[str | None] | None = None
    """(rows,); None where a value is missing."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """The columns of a file, in its order; their names differ."""

    path: Path
    columns: tuple[RawColumn, ...]
    row_numbers: NDArray[np.int64]
    """(rows,): the line on which each row begins, from 1 as an editor shows it, or its number."""
    row_word: Literal["line", "row"]
    remarks: tuple[str, ...] = ()
    """How the file was read, where that is not plain."""

    def __len__(self) -> int:
        return len(self.row_numbers)

    def row(self, index: int) -> str:
        """Return where a row stands, in words."""
        return f"{self.row_word} {self.row_numbers[index]}"

    def place(self, index: int) -> str:
        """Return the file, with the line of a row if it is a file of text."""
        line = f":{self.row_numbers[index]}" if self.row_word == "line" else ""
        return f"{self.path}{line}"

    def rows(self, indices: NDArray[Any] | slice) -> RawTable:
        """Return some rows, such as those to learn an encoding from."""
        columns = tuple(_rows_of(column, indices) for column in self.columns)
        return replace(self, columns=columns, row_numbers=self.row_numbers[indices])

    def column(self, chosen: str | int, key: str) -> RawColumn:
        """Return a column by its name or its index; -1 is the last.

        Args:
            chosen: name or index.
            key: what chose it, such as `data.target`.

        Raises:
            UserError: if there is none.
        """
        names = [column.name for column in self.columns]
        if isinstance(chosen, int):
            if not -len(names) <= chosen < len(names):
                raise UserError(
                    f"{key} is {chosen}, but the table has {len(names)} columns, counted from 0.",
                    where=str(self.path),
                    choices=[f"0 ({names[0]})", f"{len(names) - 1} ({names[-1]})"],
                )
            return self.columns[chosen]
        if chosen not in names:
            raise UserError(
                f"{key} names the column '{chosen}', which the table does not have.",
                where=str(self.path),
                choices=nearest(chosen, names) or names[:_CHOICES_SHOWN],
            )
        return self.columns[names.index(chosen)]


def table_of(
    path: Path,
    columns: Sequence[RawColumn],
    row_numbers: NDArray[np.int64],
    row_word: Literal["line", "row"],
) -> RawTable:
    """Return a table that has rows, and names that differ.

    Raises:
        UserError: if it does not.
    """
    refuse_repeated_names([column.name for column in columns], path)
    if not len(row_numbers):
        raise UserError("The table has no rows.", where=str(path))
    return RawTable(path, tuple(columns), row_numbers, row_word)


def refuse_repeated_names(names: Sequence[str], path: Path) -> None:
    """Refuse columns of one name.

    Raises:
        UserError: if there are some.
    """
    for index, name in enumerate(names):
        if (first := names.index(name)) < index:
            raise UserError(
                f"The columns {first} and {index}, counted from 0, have one name: '{name}'.",
                where=str(path),
                hint="a name of its own for each column",
            )


def typed(key: str, names: Sequence[str]) -> str:
    """Return `KEY=[NAME,...]` as it has to be typed in a shell."""
    if all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names):
        return f"{key}=[{','.join(names)}]"
    quoted = ",".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return "'" + f"{key}=[{quoted}]".replace("'", "'\\''") + "'"


def _rows_of(column: RawColumn, indices: NDArray[Any] | slice) -> RawColumn:
    numbers = None if column.numbers is None else column.numbers[indices]
    texts = None
    if column.texts is not None:
        chosen = np.arange(len(column.texts))[indices]
        texts = [column.texts[index] for index in chosen.tolist()]
    return RawColumn(column.name, column.kind, numbers, texts)
