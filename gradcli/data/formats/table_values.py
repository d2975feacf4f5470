"""The values of a column: as numbers, or as the labels of categories and classes.

Whatever is wrong with a value is told with its row and its column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcli.data.formats.delimited import number
from gradcli.data.formats.raw_table import RawColumn, RawTable, typed
from gradcli.errors import UserError, nearest

#: Beyond it, float64 does not tell integers apart.
_EXACT: Final = 2**53
_LABELS_SHOWN: Final = 5
#: A column with more different values than this part of its rows has names or identifiers, of which
#: a 0 or 1 each tells nothing. In fewer rows it may be chance.
_MOSTLY_DIFFERENT: Final = 0.5
_ENOUGH_TO_REPEAT: Final = 10


def numbers_of(table: RawTable, column: RawColumn, *, is_target: bool) -> NDArray[np.float64]:
    """Return the numbers of a column: (rows,), NaN where one is missing.

    Raises:
        UserError: if it is not of numbers, or one is not finite as float32.
    """
    if column.numbers is None:
        raise _not_numbers(table, column, is_target=is_target)
    with np.errstate(over="ignore"):
        infinite = np.isinf(column.numbers.astype(np.float32))
    if infinite.any():
        index = int(np.argmax(infinite))
        raise UserError(
            f"The column '{column.name}' holds {column.numbers[index]:g} in {table.row(index)}, "
            "which is not finite as float32.",
            where=table.place(index),
            hint=_remedy(column, is_target=is_target),
        )
    return column.numbers


def refuse_missing(
    table: RawTable, column: RawColumn, missing: NDArray[np.bool_], *, is_target: bool, hint: str
) -> None:
    """Refuse missing values.

    Args:
        table: what is read.
        column: a column of it.
        missing: (rows,)
        is_target: whether the column is the target.
        hint: what to do about an input.

    Raises:
        UserError: if there is one.
    """
    if not missing.any():
        return
    index, more = int(np.argmax(missing)), int(missing.sum()) - 1
    raise UserError(
        f"The {'target' if is_target else 'column'} '{column.name}' has no value in "
        f"{table.row(index)}{f' and in {more:,} more' if more else ''}.",
        where=table.place(index),
        hint=_remedy(column, is_target=True) if is_target else hint,
    )


def labels_of(table: RawTable, column: RawColumn, *, is_target: bool) -> Sequence[str | None]:
    """Return the values of a column as labels: (rows,), None where one is missing.

    A number's label is the shortest that gives its float64, without a fraction if it is whole.

    Raises:
        UserError: if the column is neither numbers nor text.
    """
    if column.texts is not None:
        return column.texts
    if column.numbers is None:
        raise _not_numbers(table, column, is_target=is_target)
    numbers = column.numbers
    too_large = np.abs(numbers) > _EXACT
    if too_large.any():
        index = int(np.argmax(too_large))
        raise UserError(
            f"The column '{column.name}' holds {numbers[index]:g} in {table.row(index)}: labels "
            f"that are numbers are told apart up to {_EXACT:,} only.",
            where=table.place(index),
            hint=_remedy(column, is_target=is_target),
        )
    return [None if np.isnan(one) else _label(one) for one in numbers.tolist()]


def distinct_labels(labels: Sequence[str | None], column: RawColumn) -> tuple[str, ...]:
    """Return the labels that occur, sorted: those of numbers by value, text by code point."""
    found = {label for label in labels if label is not None}
    return tuple(sorted(found) if column.texts is not None else sorted(found, key=float))


def indices_of(
    table: RawTable, column: RawColumn, known: Sequence[str], *, is_target: bool
) -> NDArray[np.int64]:
    """Return the index of each row's label among those of the training rows: (rows,).

    Raises:
        UserError: if a row has no label, or one that the training rows do not have.
    """
    labels = labels_of(table, column, is_target=is_target)
    missing = np.array([label is None for label in labels])
    remedy = _remedy(column, is_target=is_target)
    refuse_missing(table, column, missing, is_target=is_target, hint=remedy)
    index = {label: position for position, label in enumerate(known)}
    for row, label in enumerate(labels):
        if label is not None and label not in index:
            raise UserError(
                f"The {'target' if is_target else 'column'} '{column.name}' holds '{label}' in "
                f"{table.row(row)}, which no training row has.",
                where=table.place(row),
                choices=nearest(label, known) or known[:_LABELS_SHOWN],
            )
    return np.array([index[label] for label in labels if label is not None], dtype=np.int64)


def _label(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _not_numbers(table: RawTable, column: RawColumn, *, is_target: bool) -> UserError:
    """Return the error about a column that does not hold the numbers that were expected."""
    leave_out = _remedy(column, is_target=is_target)
    if column.texts is None:
        return UserError(
            f"The column '{column.name}' is of the type {column.kind}, neither numbers nor text.",
            where=str(table.path),
            hint=leave_out,
        )
    # A column of Parquet may be text by its type though all that it holds are numbers.
    index = next((index for index, text in enumerate(column.texts) if _is_word(text)), 0)
    text = column.texts[index] or ""
    expected, rewrite = _as_a_number(text)
    if is_target:
        hint = rewrite or "data.target_kind=classes data.loss=cross_entropy"
    else:
        hint = f"{rewrite or _as_categories(column)}; or {leave_out}".removeprefix("; or ")
    return UserError(
        f"The column '{column.name}' holds '{text}' in {table.row(index)}, where {expected} was "
        "expected.",
        where=table.place(index),
        hint=hint,
    )


def _as_a_number(text: str) -> tuple[str, str]:
    """Return what was expected instead of a text, and how to rewrite the column; empty if not."""
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?", text):
        plain = text.replace(",", "")
        return (
            "a number with a decimal point and no separators of thousands",
            f"remove the separators in the file: {plain}",
        )
    if re.fullmatch(r"[-+]?[\d.,]+ ?[%€$£]|[€$£] ?[-+]?[\d.,]+", text):
        sign = next(character for character in text if character in "%€$£")
        return "a number without a unit", f"remove the {sign} in the file"
    if re.match(r"\d{4}-\d\d?-\d\d?|\d{1,2}[./]\d{1,2}[./]\d{2,4}", text):
        return "a number, and not a date,", "make columns of numbers of it, such as year and month"
    if re.fullmatch(r"[-+]?\d+,\d+", text):
        return "a number with a decimal point", "write decimal points in the file"
    return "a number", ""


def _as_categories(column: RawColumn) -> str:
    """Return the override that makes categories of a column; empty if hardly any value repeats."""
    known = [text for text in column.texts or () if text is not None]
    if len(known) >= _ENOUGH_TO_REPEAT and len(set(known)) > _MOSTLY_DIFFERENT * len(known):
        return ""
    return f"{typed('data.categorical', [column.name])} for a 0 or 1 per value"


def _is_word(text: str | None) -> bool:
    """Whether a cell is what makes its column one of text."""
    if text is None:
        return False
    try:
        number(text)
    except ValueError:
        return True
    return False


def _remedy(column: RawColumn, *, is_target: bool) -> str:
    if is_target:
        return "remove these rows, or choose another column with data.target=..."
    return typed("data.leave_out", [column.name])
