"""From the examples of a file to a data set: what is to be learnt, and which parts are held out.

Parts that a file does not have are held out of the training examples, and the types of inputs and
targets decide what is to be learnt.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor

from gradcli.data.data_source import DataRequest
from gradcli.data.dataset import Dataset, Split, split_dataset
from gradcli.data.examples import dataset_of, hold_out
from gradcli.data.formats.example_parts import ExampleParts, Examples
from gradcli.errors import UserError
from gradcli.objectives import Objective, objective_named

#: What is minimised. `auto` is cross_entropy for classes and mse for numbers.
Loss = Literal["auto", "cross_entropy", "nll", "bce_with_logits", "mse", "l1"]

#: Those whose targets are classes; those of the others are numbers.
LOSSES_OF_CLASSES: Final = ("cross_entropy", "nll")
#: So few different whole numbers, written as floating-point ones, may have been meant as classes.
_FEW: Final = 10


def dataset_of_parts(
    parts: ExampleParts, request: DataRequest, loss: Loss, target_score: float, where: Path
) -> Dataset:
    """Make a data set of what a file holds. Images with classes stay bytes until they are used."""
    objective = _objective(loss, parts.train, where)
    train = _split(parts.train)
    val = None if parts.val is None else _split(parts.val)
    test = None if parts.test is None else _split(parts.test)
    if objective.name in LOSSES_OF_CLASSES and _are_images(train.inputs):
        if test is None:
            train, test = hold_out(train, None, request.name)
        images = split_dataset(
            train,
            test,
            name=request.name,
            val=request.val if val is None else val,
            target_score=target_score,
        )
        return replace(images, objective=objective)
    return dataset_of(
        _as_numbers(train, objective),
        None if val is None else _as_numbers(val, objective),
        None if test is None else _as_numbers(test, objective),
        name=request.name,
        objective=objective,
        target_score=target_score if objective.metric.is_accuracy else math.nan,
        held_out=request.val,
    )


def on_whole_floats(targets: Tensor) -> tuple[str, ...]:
    """Say why targets of arrays that look like classes make a regression."""
    if not targets.is_floating_point() or bool((targets % 1).any()):
        return ()
    different = torch.unique(targets)
    if len(different) > _FEW:
        return ()
    yes_or_no = bool(((different == 0) | (different == 1)).all())
    return (
        f"The targets are floating-point numbers, though only {len(different)} whole ones occur: "
        "they are taken as numbers to predict (data.loss=mse). Save classes as integers"
        f"{', or give data.loss=bce_with_logits for yes or no' if yes_or_no else ''}.",
    )


def standardized(parts: ExampleParts) -> ExampleParts:
    """Return the parts with inputs of mean 0 and deviation 1 in the training examples.

    A column that is constant there becomes 0 there.
    """
    training = parts.train.inputs.double()
    mean, deviation = training.mean(dim=0), training.std(dim=0, correction=0)
    deviation[deviation == 0] = 1

    def scaled(part: Examples) -> Examples:
        inputs = ((part.inputs.double() - mean) / deviation).float()
        return Examples(inputs, part.targets, part.classes, part.columns)

    return ExampleParts(
        scaled(parts.train),
        None if parts.val is None else scaled(parts.val),
        None if parts.test is None else scaled(parts.test),
    )


def _split(part: Examples) -> Split:
    return Split(part.inputs, part.targets)


def _are_images(inputs: Tensor) -> bool:
    return inputs.dtype == torch.uint8 and inputs.dim() == 4


def _as_numbers(split: Split, objective: Objective) -> Split:
    """Return a split with inputs, and targets unless they are classes, as float32.

    The pixels of images become 0 to 1.
    """
    inputs = split.inputs / 255 if _are_images(split.inputs) else split.inputs.float()
    of_classes = objective.name in LOSSES_OF_CLASSES
    return Split(inputs, split.targets if of_classes else split.targets.float())


def _objective(loss: Loss, train: Examples, where: Path) -> Objective:
    """Return what a model of the examples is trained to do.

    Raises:
        UserError: if the targets do not go with the loss, or do not tell which one is meant.
    """
    targets = train.targets
    are_classes = not targets.is_floating_point() and targets.dim() == 1
    if loss == "auto":
        if targets.is_floating_point():
            return objective_named("mse")
        if are_classes:
            loss = "cross_entropy"
        else:
            raise UserError(
                f"The targets are {_in_words(targets)}, which may be numbers to predict, or yes "
                "and no for several classes.",
                where=str(where),
                hint="data.loss=mse, or data.loss=bce_with_logits",
            )
    lowest, highest = targets.min().item(), targets.max().item()
    if loss in LOSSES_OF_CLASSES and not (are_classes and lowest >= 0):
        found = f"they are {_in_words(targets)}" if not are_classes else f"one is {lowest}"
        raise UserError(
            f"{loss} needs classes as targets, a whole number from 0 for each example; {found}.",
            where=str(where),
            hint="data.loss=mse, which predicts numbers",
        )
    if loss == "bce_with_logits" and not 0 <= lowest <= highest <= 1:
        raise UserError(
            f"{loss} needs targets from 0 to 1; these go from {lowest:g} to {highest:g}.",
            where=str(where),
            hint="data.loss=cross_entropy for classes, data.loss=mse for numbers",
        )
    if loss in ("mse", "l1") and train.classes is not None:
        raise UserError(
            f"{loss} needs numbers as targets; these are classes: "
            f"{', '.join(train.classes[:3])}{', ...' if len(train.classes) > 3 else ''}.",
            where=str(where),
            hint="data.loss=cross_entropy",
        )
    return objective_named(loss)


def _in_words(targets: Tensor) -> str:
    return f"{str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
