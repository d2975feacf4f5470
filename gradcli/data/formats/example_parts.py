"""What every reader returns: examples as tensors, and the parts that a source divides them into.

A reader turns arrays into tensors with the functions here, so that all formats agree on types:

| in the file | inputs | targets |
| --- | --- | --- |
| bool, uint8 | uint8 | int64 |
| other integers | int8 to int64, wide enough for the values | int64 |
| floating point | float32 | float32 |
| text | refused | int64: indices into `classes`, the sorted names |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradcli.errors import UserError, nearest

#: Where the channels of images are: `auto` decides by the shape, `none` leaves inputs as they are.
Channels = Literal["auto", "first", "last", "none"]

# Grey and RGB. More would make more shapes ambiguous.
_USUAL_CHANNELS: Final = (1, 3)
# NumPy's kinds of types, and what torch has for those that it lacks or computes little with.
_WIDENED: Final = {"bool": "uint8", "uint16": "int32", "uint32": "int64", "uint64": "int64"}
_LARGEST_INT64: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Examples:
    """Inputs and targets, example by example."""

    inputs: Tensor
    """(n, ...)"""
    targets: Tensor
    """(n, ...): int64 classes, or float32 numbers."""
    classes: tuple[str, ...] | None = None
    """The name of class 0, 1, ...; None if the source has no names, or targets are numbers."""
    columns: tuple[str, ...] | None = None
    """What each column of the inputs (n, columns) is; None if the source has no names for it."""
    rows: Tensor | None = None
    """int64 (n,): which row of the file each example is; None if they are in its order."""
    files: tuple[str, ...] = ()
    """The file of each row, if it has one of its own."""

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class ExampleParts:
    """The parts that a source divides its examples into; None for one that it does not have."""

    train: Examples
    val: Examples | None = None
    test: Examples | None = None


def as_inputs(values: NDArray[Any], what: str, where: Path) -> Tensor:
    """Return an array of numbers as a tensor.

    Args:
        values: (n, ...).
        what: the array's name in an error, such as `x_train`.
        where: the file.

    Raises:
        UserError: if it is not of numbers, or holds one that is not finite as float32.
    """
    return _as_tensor(values, what, where)


def as_targets(
    values: NDArray[Any], what: str, where: Path, classes: tuple[str, ...] | None = None
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Return targets as a tensor, with the names of their classes if they are text.

    Integers of shape (n, 1), as CIFAR-10 comes in Keras, become (n,).

    Args:
        values: (n, ...) numbers, or (n,) text.
        what: the array's name in an error.
        where: the file.
        classes: those of the training examples; None if these are the training examples.

    Raises:
        UserError: if a number is not finite, or a name is not one of `classes`.
    """
    if values.dtype.kind in "US":
        if values.ndim != 1:
            raise UserError(
                f"{what} is text of {values.ndim} axes; names of classes are expected one per "
                "example.",
                where=str(where),
            )
        names = _as_text(values, what, where)
        known = tuple(sorted(set(names))) if classes is None else classes
        return class_indices(names, known, what, where), known
    if classes is not None:
        raise UserError(
            f"{what} holds numbers, but the training targets are names: {_some(classes)}.",
            where=str(where),
        )
    targets = _as_tensor(values, what, where)
    if targets.is_floating_point():
        return targets, None
    targets = targets.long()
    return (targets.squeeze(1) if targets.shape[1:] == (1,) else targets), None


def class_indices(names: Sequence[str], classes: Sequence[str], what: str, where: Path) -> Tensor:
    """Return the index of each name in `classes`: int64 (n,).

    Raises:
        UserError: if a name is not among them.
    """
    index = {name: number for number, name in enumerate(classes)}
    unknown = next((name for name in names if name not in index), None)
    if unknown is not None:
        raise UserError(
            f"{what} has the class '{unknown}', which no training example has.",
            where=str(where),
            choices=nearest(unknown, classes) or classes[:3],
        )
    return torch.tensor([index[name] for name in names], dtype=torch.int64)


def refuse_unequal_lengths(
    inputs: Tensor, targets: Tensor, names: tuple[str, str], where: Path
) -> None:
    """Refuse inputs and targets that are not equally many.

    Raises:
        UserError: naming both, by `names`.
    """
    if len(inputs) != len(targets):
        raise UserError(
            f"{names[0]} has {len(inputs):,} examples, but {names[1]} has {len(targets):,}.",
            where=str(where),
        )


def refuse_unlike(parts: ExampleParts, where: Path) -> ExampleParts:
    """Return the parts if their inputs and targets have one shape and type.

    Raises:
        UserError: if they do not.
    """
    for name, part in (("validation", parts.val), ("test", parts.test)):
        if part is None:
            continue
        for kind in ("inputs", "targets"):
            here, there = getattr(part, kind), getattr(parts.train, kind)
            if (here.shape[1:], here.dtype) != (there.shape[1:], there.dtype):
                raise UserError(
                    f"The {name} {kind} are {_one_example(here)} each, but the training {kind} "
                    f"are {_one_example(there)}.",
                    where=str(where),
                )
    return parts


def channels_first(inputs: Tensor, channels: Channels, what: str, where: Path) -> Tensor:
    """Return images as (n, channels, height, width); other inputs as they are.

    Args:
        inputs: (n, ...).
        channels: `auto` takes uint8 (n, height, width) for grey images, and of four axes the
            second or the last for the channels, whichever has 1 or 3; `first` and `last` say
            which, and take three axes of any type for grey images; `none` changes nothing.
        what: the array's name in an error.
        where: the file.

    Raises:
        UserError: if `auto` cannot tell which axis the channels are.
    """
    if channels == "none":
        return inputs
    if inputs.dim() == 3 and (channels != "auto" or inputs.dtype == torch.uint8):
        return inputs.unsqueeze(1)
    if inputs.dim() != 4:
        return inputs
    if channels == "auto":
        channels = _where_channels_are(inputs, what, where)
    return inputs if channels == "first" else inputs.permute(0, 3, 1, 2).contiguous()


def _where_channels_are(inputs: Tensor, what: str, where: Path) -> Literal["first", "last"]:
    _, second, _, last = inputs.shape
    if second in _USUAL_CHANNELS and (last not in _USUAL_CHANNELS or second == last == 1):
        return "first"
    if last in _USUAL_CHANNELS and second not in _USUAL_CHANNELS:
        return "last"
    raise UserError(
        f"The images of {what} are {' x '.join(map(str, inputs.shape[1:]))}, which does not tell "
        "where the channels are: the first or the last axis was expected to have 1 or 3.",
        where=str(where),
        hint="data.channels=first or data.channels=last; data.channels=none if they are no images",
    )


def _as_tensor(values: NDArray[Any], what: str, where: Path) -> Tensor:
    kind = values.dtype.kind
    if kind not in "biuf":
        raise UserError(f"{what} holds {values.dtype}, not numbers.", where=str(where))
    if kind == "f":
        return torch.from_numpy(_as_float32(values, what, where))
    if kind == "u" and values.dtype.itemsize == 8 and int(values.max()) > _LARGEST_INT64:
        raise UserError(f"{what} holds {values.max()}, more than int64 can.", where=str(where))
    name = values.dtype.name
    return torch.from_numpy(np.ascontiguousarray(values, dtype=_WIDENED.get(name, name)))


def _as_float32(values: NDArray[Any], what: str, where: Path) -> NDArray[np.float32]:
    """Return numbers as float32; refuse NaN, infinities and what is too large for it."""
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(converted)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), finite.shape)
        raise UserError(
            f"{what} holds {values[place]} in example {place[0]:,}, counted from 0. Every number "
            "must be finite as float32.",
            where=str(where),
            hint="leave out the examples with missing values, or fill these in",
        )
    return converted


def _as_text(values: NDArray[Any], what: str, where: Path) -> list[str]:
    try:
        return [one if isinstance(one, str) else one.decode() for one in values.tolist()]
    except ValueError as error:
        raise UserError(f"{what} is not valid text: {error}.", where=str(where)) from error


def _one_example(values: Tensor) -> str:
    shape = " x ".join(map(str, values.shape[1:])) or "one value"
    return f"{shape} of {str(values.dtype).removeprefix('torch.')}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
