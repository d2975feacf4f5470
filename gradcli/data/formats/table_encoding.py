"""Turns a table into examples: which columns are inputs, and what their values become.

What depends on the values (categories, means, classes) is learned from the training rows and then
applied to all parts, so that nothing of the test examples enters the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradcli.data.formats.bounded import refuse_too_large
from gradcli.data.formats.example_parts import Examples
from gradcli.data.formats.raw_table import RawColumn, RawTable, typed
from gradcli.data.formats.table_values import (
    distinct_labels,
    indices_of,
    labels_of,
    numbers_of,
    refuse_missing,
)
from gradcli.errors import UserError, nearest

Missing = Literal["error", "mean"]
TargetKind = Literal["classes", "numbers"]

#: More different integers than these are not taken as classes unless the user says so.
_CLEARLY_CLASSES: Final = 100
#: An integer that so many rows have in the mean is a label rather than an amount, and fewer will do
#: where the integers count from 0 or 1 without a gap.
_ROWS_OF_A_LABEL: Final = 10
_ROWS_OF_A_COUNTED_LABEL: Final = 2


@dataclass(frozen=True, slots=True)
class TableChoice:
    """What of a table is used. A column is named, or counted from 0; -1 is the last."""

    target: str | int
    features: Sequence[str | int] | None = None
    """The inputs, in this order; None is all columns but the target, in the file's order."""
    leave_out: Sequence[str | int] = ()
    """Columns that are no inputs."""
    categorical: Sequence[str | int] = ()
    """Inputs that become a 0 or 1 for each of their values in the training rows, sorted."""
    missing: Missing = "error"
    """What happens to a missing number in the inputs; `mean` is that of the training rows. A
    missing category or target is always an error."""
    target_kind: TargetKind | None = None
    """`classes`, or `numbers` for a regression. None: text is classes, numbers with a fraction or
    an exponent are numbers. Integers are classes if they repeat as labels do (`_repeat_as_labels`)
    and at most 100 differ; if more do, the user is asked."""


@dataclass(frozen=True, slots=True)
class _Feature:
    name: str
    categories: tuple[str, ...] | None
    """The values that become a 0 or 1 each; None for a number."""
    mean: float | None
    """What a missing number becomes; None where it is an error."""

    @property
    def width(self) -> int:
        return 1 if self.categories is None else len(self.categories)


@dataclass(frozen=True, slots=True)
class TableEncoding:
    """What each column of a table becomes, as learned from the training rows."""

    target: str
    classes: tuple[str, ...] | None
    """The names of the classes, sorted: integers by value. None if targets are numbers."""
    features: tuple[_Feature, ...]
    remarks: tuple[str, ...] = ()
    """What was decided about the target, where its values may also mean something else."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What each column of the inputs is: NAME, or NAME=VALUE for a category."""
        return tuple(
            column
            for feature in self.features
            for column in (
                [feature.name]
                if feature.categories is None
                else [f"{feature.name}={value}" for value in feature.categories]
            )
        )


def learn_encoding(
    table: RawTable, choice: TableChoice, *, training: NDArray[np.int64] | None = None
) -> TableEncoding:
    """Decide what each column becomes.

    Args:
        table: the training rows.
        choice: which columns are used.
        training: the indices of the training rows, if the table holds others too. Means are theirs
            alone; the names of categories and classes are those of all rows, so that a rare one
            may be in any part.

    Raises:
        UserError: if a column does not exist, holds what it should not, or none is left.
    """
    target = table.column(choice.target, "data.target")
    inputs = _inputs(table, choice, target)
    categorical = _names(table, choice.categorical, "data.categorical")
    if strange := [name for name in categorical if name not in inputs]:
        raise UserError(
            f"data.categorical names '{strange[0]}', which is not one of the inputs.",
            where=str(table.path),
            choices=nearest(strange[0], inputs),
        )
    features = tuple(
        _learn_feature(table, name, choice.missing, training, is_categorical=name in categorical)
        for name in inputs
    )
    classes, remarks = _learn_classes(table, target, choice.target_kind)
    return TableEncoding(target.name, classes, features, remarks)


def targets_of(table: RawTable, encoding: TableEncoding) -> Tensor:
    """Return the targets of the rows of a table: int64 (n,) classes, or float32 (n,) numbers.

    Raises:
        UserError: if a value is missing, not finite, or of a class that the training rows do not
            have.
    """
    target = table.column(encoding.target, "data.target")
    if encoding.classes is None:
        numbers = numbers_of(table, target, is_target=True)
        refuse_missing(table, target, np.isnan(numbers), is_target=True, hint="")
        return torch.from_numpy(numbers.astype(np.float32))
    return torch.from_numpy(indices_of(table, target, encoding.classes, is_target=True))


def encode(table: RawTable, encoding: TableEncoding) -> Examples:
    """Return the rows of a table as examples.

    Returns:
        Inputs float32 (n, columns); targets int64 (n,) classes, or float32 (n,) numbers.

    Raises:
        UserError: if a value is missing, not finite, or of a category or class that the training
            rows do not have. It gives the row and the column.
    """
    columns = encoding.columns
    values = len(table) * len(columns)
    what = f"{len(table):,} rows of {len(columns):,} columns"
    refuse_too_large(4 * values, what, table.path)
    inputs: NDArray[np.float32] = np.empty((len(table), len(columns)), dtype=np.float32)
    start = 0
    for feature in encoding.features:
        stop = start + feature.width
        inputs[:, start:stop] = _encoded(table, feature)
        start = stop
    targets = targets_of(table, encoding)
    return Examples(torch.from_numpy(inputs), targets, encoding.classes, columns)


def _inputs(table: RawTable, choice: TableChoice, target: RawColumn) -> list[str]:
    """Return the names of the columns that are inputs.

    Raises:
        UserError: if there is none, or the target is one.
    """
    left_out = _names(table, choice.leave_out, "data.leave_out")
    if choice.features is None:
        chosen = [column.name for column in table.columns if column is not target]
    else:
        chosen = _names(table, choice.features, "data.features")
    if target.name in chosen:
        raise UserError(
            f"'{target.name}' is the target, and cannot be an input.", where="data.features"
        )
    inputs = [name for name in chosen if name not in left_out]
    if not inputs:
        raise UserError("No column is left for the inputs.", where=str(table.path))
    return inputs


def _names(table: RawTable, chosen: Sequence[str | int], key: str) -> list[str]:
    """Return the names of the columns that a key chooses, each once."""
    return list(dict.fromkeys(table.column(one, key).name for one in chosen))


def _learn_feature(
    table: RawTable,
    name: str,
    missing: Missing,
    training: NDArray[np.int64] | None,
    *,
    is_categorical: bool,
) -> _Feature:
    column = table.column(name, "data.features")
    if not name:
        index = table.columns.index(column)
        raise UserError(
            f"The column {index}, counted from 0, has no name. Row numbers are often saved so, and "
            "they tell the order of the examples.",
            where=str(table.path),
            hint=f"data.leave_out=[{index}], or a name in the file",
        )
    if is_categorical:
        labels = labels_of(table, column, is_target=False)
        return _Feature(name, distinct_labels(labels, column), None)
    numbers = numbers_of(table, column, is_target=False)
    if missing == "error":
        return _Feature(name, None, None)
    if training is not None:
        numbers = numbers[training]
    if np.isnan(numbers).all():
        raise UserError(
            f"The column '{name}' has no value in any training row, so that it has no mean.",
            where=str(table.path),
            hint=typed("data.leave_out", [name]),
        )
    return _Feature(name, None, float(np.nanmean(numbers)))


def _learn_classes(
    table: RawTable, target: RawColumn, kind: TargetKind | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the names of the classes, or None if the target is a number; and remarks on that.

    Raises:
        UserError: if it may be either.
    """
    if kind == "numbers":
        return None, ()
    if kind is None and target.numbers is not None:
        return _classes_of_numbers(table, target)
    return distinct_labels(labels_of(table, target, is_target=True), target), ()


def _classes_of_numbers(
    table: RawTable, target: RawColumn
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Decide whether numbers are classes; see `_learn_classes`."""
    assert target.numbers is not None
    known = target.numbers[np.isfinite(target.numbers)]
    different = np.unique(known)
    whole = not np.mod(different, 1).any()
    if not whole:
        return None, ()
    fact = f"The target '{target.name}' holds {len(different):,} different whole numbers in "
    fact += f"{len(known):,} rows"
    if target.kind != "integers":
        return None, (
            f"{fact}, but written with a decimal point: they are taken as numbers to predict. "
            "data.target_kind=classes takes them as classes.",
        )
    if not _repeat_as_labels(different, len(known)):
        return None, (
            f"{fact}: they are taken as numbers to predict. "
            "data.target_kind=classes takes them as classes.",
        )
    if len(different) > _CLEARLY_CLASSES:
        raise UserError(
            f"{fact}, which may be classes, or numbers to predict.",
            where=str(table.path),
            hint="data.target_kind=numbers, or data.target_kind=classes",
        )
    classes = distinct_labels(labels_of(table, target, is_target=True), target)
    return classes, (
        f"{fact}: they are taken as classes. "
        "data.target_kind=numbers takes them as numbers to predict.",
    )


def _repeat_as_labels(different: NDArray[np.float64], rows: int) -> bool:
    """Whether integers repeat as labels do, and amounts do not.

    Args:
        different: the values that occur, sorted.
        rows: how many rows have one.
    """
    if not len(different):
        return False
    first, last = different[0], different[-1]
    counted = first in (0, 1) and last - first + 1 == len(different)
    needed = _ROWS_OF_A_COUNTED_LABEL if counted else _ROWS_OF_A_LABEL
    return rows >= needed * len(different)


def _encoded(table: RawTable, feature: _Feature) -> NDArray[np.float64] | NDArray[np.bool_]:
    """Return the columns of the inputs that a column of the table becomes: (rows, width)."""
    column = table.column(feature.name, "the training table")
    if feature.categories is not None:
        index = indices_of(table, column, feature.categories, is_target=False)
        ones: NDArray[np.bool_] = index[:, None] == np.arange(feature.width)
        return ones
    numbers = numbers_of(table, column, is_target=False)
    absent = np.isnan(numbers)
    if feature.mean is not None:
        return np.where(absent, feature.mean, numbers)[:, None]
    hint = f"data.missing=mean, or {typed('data.leave_out', [feature.name])}"
    refuse_missing(table, column, absent, is_target=False, hint=hint)
    return numbers[:, None]
