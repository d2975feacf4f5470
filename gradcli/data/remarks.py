"""What a data set will do to a training, said before it starts.

Errors are about what cannot be trained on, remarks about what probably is a mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from gradcli.data.batches import Normalize
from gradcli.data.dataset import Dataset, Split, objection_to, objection_to_images
from gradcli.errors import UserError

# A layer of that many outputs has millions of weights. Fewer labels than a tenth of them are
# numbers of something else: years, identifiers, measurements.
_MANY_CLASSES: Final = 100_000
_FEWEST_USED: Final = 0.1

# Scaled inputs are of the order of 1: MNIST's are -0.4 to 2.8 with mean_std.
_LARGEST_SCALED: Final = 3
# So many images show the range of the pixels: all 50,000 of MNIST would take 5 ms.
_LOOKED_AT: Final = 1000
_LABELS_NAMED: Final = 8


def remarks_on(dataset: Dataset, normalize: Normalize) -> list[str]:
    """Return what a person should know about a data set before training on it.

    Args:
        dataset: from any source, perhaps the user's own.
        normalize: what happens to its pixels.

    Raises:
        UserError: if nothing can be trained on it.
    """
    where = f"data={dataset.info.name}"
    objection_of = objection_to_images if dataset.has_pixels else objection_to
    for name, split in _splits(dataset):
        if objection := objection_of(split):
            raise UserError(f"The {name} examples cannot be used: {objection}.", where=where)
    remarks = list(dataset.remarks)
    if dataset.info.classes:
        _refuse_other_labels(dataset, where)
        remarks += _on_labels(dataset, where)
    if dataset.has_pixels:
        remarks += _on_pixels(dataset, normalize)
    return remarks


def _refuse_other_labels(dataset: Dataset, where: str) -> None:
    """Refuse labels that have no output."""
    for name, split in _splits(dataset):
        highest, classes = int(split.targets.max()), dataset.info.classes
        if highest >= classes:
            raise UserError(
                f"A label of the {name} examples is {highest}, but there are {classes} classes, "
                "which count from 0.",
                where=where,
                hint=f"DataInfo(classes={highest + 1}), or labels from 0 to {classes - 1}",
            )


def _splits(dataset: Dataset) -> list[tuple[str, Split]]:
    """Return the splits by name; one without examples is left out, apart from the training's."""
    others = [("validation", dataset.val.at_hand), ("test", dataset.test.at_hand)]
    return [("training", dataset.train.at_hand), *((name, s) for name, s in others if len(s))]


def _on_labels(dataset: Dataset, where: str) -> list[str]:
    labels, classes = dataset.train.at_hand.targets, dataset.info.classes
    count = f"{len(labels):,} training examples"
    if classes == 1:
        raise UserError(
            f"All {count} have the label 0. With a single class there is nothing to learn: the "
            "loss is 0 from the first step.",
            where=where,
            hint="examples of at least two classes, labelled 0, 1, ...",
        )
    used = _distinct(labels, classes)
    if classes > _MANY_CLASSES and len(used) < _FEWEST_USED * classes:
        raise UserError(
            f"The labels go up to {int(used[-1]):,}, but only {len(used):,} different ones occur. "
            "The model would have an output for each number in between.",
            where=where,
            hint=f"labels from 0 to {len(used) - 1:,}",
        )
    if len(used) == 1:
        return [f"All {count} have the label {int(used)}: the model can only learn to say so."]
    remarks = []
    first = min(int(split.targets.min()) for _, split in _splits(dataset))
    if first > 0:
        outputs = "an output" if first == 1 else f"{first} outputs"
        remarks.append(
            f"The labels begin at {first}, not at 0, so that the model has {outputs} that no "
            f"example needs. Subtract {first} from the labels."
        )
    if len(used) < classes - first:
        absent = torch.ones(classes, dtype=torch.bool).index_fill_(0, used, False)
        empty = absent[first:].nonzero().flatten() + first
        remarks.append(_on_empty_classes(empty.tolist(), dataset))
    return remarks


def _distinct(labels: Tensor, classes: int) -> Tensor:
    """Return the labels that occur, in order.

    To count 50,000 takes 0.06 ms, to sort them 2.5. But for many classes the counters may not fit
    into memory.
    """
    many = classes > _MANY_CLASSES
    used: Tensor = torch.unique(labels) if many else labels.bincount().nonzero().flatten()
    return used


def _on_empty_classes(empty: Sequence[int], dataset: Dataset) -> str:
    """Say which classes the model cannot learn, and how many test examples that concerns."""
    named = ", ".join(map(str, empty[:_LABELS_NAMED]))
    more = f" and {len(empty) - _LABELS_NAMED:,} more" if len(empty) > _LABELS_NAMED else ""
    concerned = int(torch.isin(dataset.test.at_hand.targets, torch.tensor(empty)).sum())
    lost = f", and gets {concerned:,} of {len(dataset.test):,} test examples wrong"
    have, them = ("has", "it") if len(empty) == 1 else ("have", "them")
    return (
        f"{len(empty):,} of {dataset.info.classes:,} classes {have} no training example: {named}"
        f"{more}. The model cannot learn {them}{lost if concerned else ''}."
    )


def _on_pixels(dataset: Dataset, normalize: Normalize) -> list[str]:
    if dataset.std == 0:
        return ["All pixels of the training images are equal: the images tell nothing apart."]
    if normalize == "mean_std":
        return []
    pixels = dataset.train.at_hand.inputs[:_LOOKED_AT]
    lowest, highest = int(pixels.min()), int(pixels.max())
    if normalize == "none" and highest > _LARGEST_SCALED:
        return [
            f"The inputs are not scaled: they go from {lowest} to {highest} "
            "(data.normalize=none). Unless the model scales them itself, training diverges or is "
            "slow; try data.normalize=mean_std."
        ]
    if normalize == "0-1" and highest <= _LARGEST_SCALED:
        return [
            f"The inputs are at most {highest / 255:.2g}: the pixels go up to {highest} only, and "
            "data.normalize=0-1 divides them by 255; try data.normalize=mean_std."
        ]
    return []
