"""Data sets as plain tensors: what a split is, and how a source becomes train, val and test.

Pure functions on tensors belong here; files, caches and downloads do not.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradcli.errors import UserError
from gradcli.records import DataInfo


@dataclass(frozen=True, slots=True)
class Split:
    """Examples: `images` uint8 (n, channels, height, width) and `labels` int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Split:
        """Return a part of the split, as views."""
        return Split(self.images[part], self.labels[part])


@dataclass(frozen=True, slots=True)
class Dataset:
    """The three splits, and the `mean` and `std` of the training pixels scaled to [0, 1]."""

    info: DataInfo
    train: Split
    val: Split
    test: Split
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Source:
    """A data set before its validation split is taken off.

    `train` is in `stratified_order`, so that splitting is slicing. The sums are kept an image
    each, so that the mean and deviation of any part cost no pass over its pixels.
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
    # NumPy promises never to change the stream of RandomState; neither its newer generators
    # nor torch promise it, and the split must outlive their releases.
    shuffled = np.random.RandomState(0).permutation(len(labels))
    shuffled_labels = labels.numpy()[shuffled]
    position = np.empty(len(labels))
    for label in np.unique(shuffled_labels):
        members = np.flatnonzero(shuffled_labels == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(shuffled[np.argsort(position, kind="stable")])


def prepare(train: Split, test: Split) -> Source:
    """Bring a data set as it was read into the form from which every run starts quickly."""
    order = stratified_order(train.labels)
    train = Split(train.images[order], train.labels[order])
    pixels = train.images.flatten(1).numpy()
    squares = np.einsum("ij,ij->i", pixels, pixels, dtype=np.int64)
    return Source(
        train=train,
        test=test,
        pixel_sums=torch.from_numpy(pixels.sum(axis=1, dtype=np.int64)),
        pixel_squares=torch.from_numpy(squares),
        sha256=_fingerprint(train, test),
    )


def split_off(source: Source, val: int, *, name: str, note: str = "") -> Dataset:
    """Take the last `val` training examples as the validation split.

    Raises:
        UserError: `val` is negative or leaves nothing to train on.
    """
    count = len(source.train)
    if not 0 <= val < count:
        raise UserError(
            f"A validation split of {val} cannot be taken from {count} training examples of {name}",
            where="data.val",
            hint=f"a number from 0 (no validation split) to {count - 1}",
        )
    train, held_out = source.train[: count - val], source.train[count - val :]
    mean, std = _mean_and_std(source, len(train))
    channels, height, width = train.images.shape[1:]
    info = DataInfo(
        name=name,
        train=len(train),
        val=len(held_out),
        test=len(source.test),
        sha256=hashlib.sha256(f"{source.sha256} val={val}".encode()).hexdigest(),
        shape=(channels, height, width),
        classes=1 + int(max(source.train.labels.max(), source.test.labels.max())),
        note=note,
    )
    return Dataset(info, train, held_out, source.test, mean, std)


def _mean_and_std(source: Source, count: int) -> tuple[float, float]:
    """Return the mean and population deviation of the first `count` images, scaled to [0, 1]."""
    pixels = count * source.train.images[0].numel()
    total = int(source.pixel_sums[:count].sum())
    squares = int(source.pixel_squares[:count].sum())
    # In whole numbers nothing cancels; the only rounding is that of the results.
    variance = (pixels * squares - total * total) / (pixels * pixels)
    return total / pixels / 255, math.sqrt(variance) / 255


def _fingerprint(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.images, split.labels):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.numpy().data)
    return digest.hexdigest()
