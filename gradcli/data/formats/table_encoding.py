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

#: More different integers than these may be classes, or amounts: the user says which.
_CLEARLY_CLASSES: Final = 100


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
    """`classes`, or `numbers` for a regression. None: text and up to 100 different integers are
    classes, numbers with a fraction or an exponent are numbers; the rest is asked for."""


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
    return TableEncoding(target.name, _learn_classes(table, target, choice.target_kind), features)


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
) -> tuple[str, ...] | None:
    """Return the names of the classes; None if the target is a number.

    Raises:
        UserError: if it may be either.
    """
    if kind == "numbers" or (kind is None and target.kind == "numbers"):
        return None
    classes = distinct_labels(labels_of(table, target, is_target=True), target)
    if kind is None and target.kind == "integers" and len(classes) > _CLEARLY_CLASSES:
        raise UserError(
            f"The target '{target.name}' holds {len(classes):,} different integers, which may be "
            "classes, or numbers to predict.",
            where=str(table.path),
            hint="data.target_kind=numbers, or data.target_kind=classes",
        )
    return classes


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
