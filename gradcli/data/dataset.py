"""Data sets as plain tensors: what a split is, and how a source becomes train, val and test.

Pure functions on tensors belong here; files, caches and downloads do not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.objectives import CROSS_ENTROPY, Objective
from gradcli.records import DataInfo

if TYPE_CHECKING:
    from gradcli.data.streams.stream import Stream

#: The validation accuracy to which optimizers are timed on a data set that does not set its own.
OTHER_TARGET_ACCURACY = 0.9


@dataclass(frozen=True, slots=True)
class Split:
    """Examples: `inputs` (n, ...) and `targets` (n, ...), of any types.

    Of classified images: uint8 (n, channels, height, width) and classes int64 (n,), from 0.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def at_hand(self) -> Split:
        """The examples in memory: all of them. Of a stream it is the first batch."""
        return self

    def __getitem__(self, part: slice) -> Split:
        """Return a part of the split, as views."""
        return Split(self.inputs[part], self.targets[part])


@dataclass(frozen=True, slots=True)
class ExampleNames:
    """What numbers in the examples stand for, where a source knows it; else empty."""

    tokens: tuple[str, ...] = ()
    """The text of token 0, 1, ..."""
    columns: tuple[str, ...] = ()
    """The name of each column of the inputs (n, columns)."""
    classes: tuple[str, ...] = ()
    """The name of class 0, 1, ..."""
    rows: Tensor | None = None
    """int64 (n,): which row of its file each training example was, from 0; None if not known."""
    files: tuple[str, ...] = ()
    """The file of row 0, 1, ..., if each has one of its own."""


NO_NAMES = ExampleNames()


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is to be learnt: three splits, and what a model of them is trained to do."""

    info: DataInfo
    train: Split | Stream
    val: Split | Stream
    test: Split | Stream
    mean: float = math.nan
    """Of the training pixels scaled to [0, 1]; NaN if the inputs are no pixels. So is `std`."""
    std: float = math.nan
    target_score: float = OTHER_TARGET_ACCURACY
    """The validation score that is timed; NaN for none."""
    objective: Objective = CROSS_ENTROPY
    make_model: Callable[[], nn.Module] | None = None
    """Makes the model that belongs to the data; None leaves the choice to the config."""
    vocabulary: int = 0
    """How many different tokens there are, if an example is a sequence of tokens and the next one
    is to be predicted at each position; 0 for any other data."""
    remarks: tuple[str, ...] = ()
    """What a source decided that a person should know before training."""
    names: ExampleNames = NO_NAMES
    """How the examples can be shown to a person."""

    @property
    def outputs(self) -> int:
        """The outputs that a model of the config has: one per token, per class, or per target."""
        return self.vocabulary or self.info.classes or self.train.at_hand.targets[0].numel()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of a model's outputs for an example: those of each position for tokens."""
        return (*self.info.shape, self.outputs) if self.vocabulary else (self.outputs,)

    @property
    def input_type(self) -> torch.dtype:
        """The type of the inputs that a model is handed."""
        return torch.float32 if self.has_pixels else self.train.at_hand.inputs.dtype

    @property
    def has_pixels(self) -> bool:
        """Whether the inputs are bytes of images, which are normalised batch by batch."""
        return not math.isnan(self.mean)


@dataclass(frozen=True, slots=True)
class UnsplitData:
    """A data set before its validation split is taken off.

    `train` is in `stratified_order`, so that splitting is slicing. There is one sum per image,
    so that the mean and deviation of any part take no pass over its pixels.
    """

    train: Split
    test: Split
    pixel_sums: Tensor
    """int64 (n,): the sum of each training image's pixels."""
    pixel_squares: Tensor
    """int64 (n,): the sum of the squares of each training image's pixels."""
    sha256: str
    """A fingerprint of all shapes, images and labels, in this order."""


def stratified_order(labels: Tensor) -> Tensor:
    """Return a fixed shuffle of the examples in which classes are spread evenly.

    Any run of consecutive examples then holds every class in proportion, to within one or two
    examples. The order depends on the labels alone: it is the same for every seed.

    Args:
        labels: int64 (n,).

    Returns:
        int64 (n,): the examples' indices.
    """
    # NumPy promises never to change the stream of RandomState. Its newer generators and torch do
    # not, and the split must stay the same across their releases.
    shuffled = np.random.RandomState(0).permutation(len(labels))
    shuffled_labels = labels.numpy()[shuffled]
    position = np.empty(len(labels))
    for label in np.unique(shuffled_labels):
        members = np.flatnonzero(shuffled_labels == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(shuffled[np.argsort(position, kind="stable")])


def prepare(train: Split, test: Split, held_out: Split | None = None) -> UnsplitData:
    """Bring a data set into the form from which every run starts quickly.

    Args:
        train: the training examples.
        test: the test examples.
        held_out: a validation split of its own: the last of the training examples.
    """
    order = stratified_order(train.targets)
    train = Split(train.inputs[order], train.targets[order])
    if held_out is not None:
        train = Split(
            torch.cat((train.inputs, held_out.inputs)),
            torch.cat((train.targets, held_out.targets)),
        )
    pixels = train.inputs.flatten(1).numpy()
    squares = np.einsum("ij,ij->i", pixels, pixels, dtype=np.int64)
    return UnsplitData(
        train=train,
        test=test,
        pixel_sums=torch.from_numpy(pixels.sum(axis=1, dtype=np.int64)),
        pixel_squares=torch.from_numpy(squares),
        sha256=_fingerprint(train, test),
    )


def split_dataset(
    train: Split,
    test: Split,
    *,
    name: str,
    val: int | Split | None = None,
    target_score: float = OTHER_TARGET_ACCURACY,
) -> Dataset:
    """Make a data set of classified images: all that a `DataSource` of such has to call.

    `examples.dataset_of` makes one of any other examples.

    Args:
        train: the training examples, of which the validation split is taken.
        test: the test examples.
        name: `request.name`.
        val: `request.val`, the size of the validation split; None is a sixth of `train`. Or the
            validation split itself, if it is not to be taken from `train`.
        target_score: the validation accuracy to which a comparison times the optimizers.

    Raises:
        UserError: if a split is not what `Split` says of images, or if `val` is negative or leaves
            nothing to train on.
    """
    held_out = val if isinstance(val, Split) else None
    given = [("training", train), ("test", test)]
    for kind, split in given if held_out is None else [*given, ("validation", held_out)]:
        if objection := objection_to_images(split):
            raise UserError(
                f"The {kind} examples of {name} cannot be used: {objection}.",
                where="split_dataset",
            )
        if train.inputs.shape[1:] != split.inputs.shape[1:]:
            shapes = tuple(train.inputs.shape[1:]), tuple(split.inputs.shape[1:])
            raise UserError(
                f"The images of {name} differ in shape: {shapes[0]} in training, {shapes[1]} in "
                f"{kind}.",
                where="split_dataset",
            )
    if isinstance(val, Split):
        val = len(val)
    elif val is None:
        val = len(train) // 6
    data = prepare(train, test, held_out)
    return split_off(data, val, name=name, target_score=target_score)


def objection_to(split: Split) -> str:
    """Say in what a split of the user's own is not as `Split` says; empty if it is."""
    for name, value in (("inputs", split.inputs), ("targets", split.targets)):
        if not isinstance(value, Tensor):
            return f"{name} must be a tensor (n, ...), not a {type(value).__name__}"
        if not value.dim():
            return f"{name} must be a tensor (n, ...), not a single value"
    if len(split.inputs) != len(split.targets):
        return f"there are {len(split.inputs):,} inputs and {len(split.targets):,} targets"
    return "" if len(split.targets) else "there are none"


def objection_to_images(split: Split) -> str:
    """Say in what a split of the user's own is not as `Split` says of classified images."""
    images, labels = split.inputs, split.targets
    for name, value, dtype, axes in (
        ("images", images, torch.uint8, ("n", "channels", "height", "width")),
        ("labels", labels, torch.int64, ("n",)),
    ):
        wanted = f"{name} must be {str(dtype).removeprefix('torch.')} ({', '.join(axes)})"
        if not isinstance(value, Tensor):
            return f"{wanted}, not a {type(value).__name__}"
        if value.dtype != dtype or value.dim() != len(axes):
            found = f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
            return f"{wanted}, not {found}"
    if len(images) != len(labels):
        return f"there are {len(images)} images and {len(labels)} labels"
    if not len(labels):
        return "there are none"
    if (lowest := int(labels.min())) < 0:
        return f"labels count from 0, and one is {lowest}"
    return ""


def split_off(
    data: UnsplitData,
    val: int,
    *,
    name: str,
    note: str = "",
    target_score: float = OTHER_TARGET_ACCURACY,
) -> Dataset:
    """Take the last `val` training examples as the validation split.

    Raises:
        UserError: if `val` is negative or leaves nothing to train on.
    """
    count = len(data.train)
    if not 0 <= val < count:
        raise UserError(
            f"A validation split of {val} cannot be taken from {count} training examples of "
            f"{name}.",
            where="data.val",
            hint=f"a number from 0 (no validation split) to {count - 1}",
        )
    train, held_out = data.train[: count - val], data.train[count - val :]
    mean, std = _mean_and_std(data, len(train))
    channels, height, width = train.inputs.shape[1:]
    info = DataInfo(
        name=name,
        train=len(train),
        val=len(held_out),
        test=len(data.test),
        sha256=hashlib.sha256(f"{data.sha256} val={val}".encode()).hexdigest(),
        shape=(channels, height, width),
        classes=1 + int(max(data.train.targets.max(), data.test.targets.max())),
        note=note,
    )
    return Dataset(info, train, held_out, data.test, mean, std, target_score)


def _mean_and_std(data: UnsplitData, count: int) -> tuple[float, float]:
    """Return the mean and population deviation of the first `count` images, scaled to [0, 1]."""
    pixels = count * data.train.inputs[0].numel()
    total = int(data.pixel_sums[:count].sum())
    squares = int(data.pixel_squares[:count].sum())
    # Integers do not cancel: only the results are rounded.
    variance = (pixels * squares - total * total) / (pixels * pixels)
    return total / pixels / 255, math.sqrt(variance) / 255


def _fingerprint(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.inputs, split.targets):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
