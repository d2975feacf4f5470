"""From the examples of a file to a data set: what is to be learnt, and which parts are held out.

Parts that a file does not have are held out of the training examples, and the types of inputs and
targets decide what is to be learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor

from gradcli.data.data_source import DataRequest
from gradcli.data.dataset import (
    Dataset,
    ExampleNames,
    Split,
    split_dataset,
    stratified_order,
)
from gradcli.data.examples import HELD_OUT, dataset_of, hold_out
from gradcli.data.formats.example_parts import ExampleParts, Examples
from gradcli.data.formats.scaling import (
    Scaling,
    on_large_targets,
    on_standardized_targets,
    standardized,
)
from gradcli.errors import UserError
from gradcli.objectives import Objective, objective_named

#: What is minimised. `auto` is cross_entropy for classes and mse for numbers.
Loss = Literal["auto", "cross_entropy", "nll", "bce_with_logits", "mse", "l1"]

#: Those whose targets are classes; those of the others are numbers.
LOSSES_OF_CLASSES: Final = ("cross_entropy", "nll")
_LOSSES_OF_NUMBERS: Final = ("mse", "l1")
#: So few different whole numbers, written as floating-point ones, may have been meant as classes.
_FEW: Final = 10


@dataclass(frozen=True, slots=True)
class SourceWords:
    """How errors speak of what the examples come from."""

    one_class: str
    """What is said if all examples have one class, with `{label}` for its name."""
    own_parts: str
    """How validation and test examples of its own are given."""


def refuse_too_few(count: int, own_parts: str, where: Path) -> None:
    """Refuse training examples of which no sixth can be held out.

    Args:
        count: how many there are.
        own_parts: how parts of the user's own are given.
        where: the file or the folder.

    Raises:
        UserError: if there are fewer than 6.
    """
    if count < HELD_OUT:
        raise UserError(
            f"There are {count} training examples, of which no sixth can be held out to validate "
            "or test with.",
            where=str(where),
            hint=f"more examples, or {own_parts}",
        )


def dataset_of_parts(
    parts: ExampleParts,
    request: DataRequest,
    loss: Loss,
    target_score: float,
    where: Path,
    scaling: Scaling,
    words: SourceWords,
) -> Dataset:
    """Make a data set of what a file holds. Images with classes stay bytes until they are used.

    Args:
        parts: the examples.
        request: what a run asks for.
        loss: what is minimised.
        target_score: of classes, the validation score that a comparison times.
        where: the file or the folder, for errors.
        scaling: what is standardised.
        words: how the source is spoken of.

    Raises:
        UserError: if it cannot be learnt, too few examples are there to hold some out, or pixels
            or classes are to be standardised.
    """
    objective = _objective(loss, parts.train, where)
    if objective.name in LOSSES_OF_CLASSES:
        _refuse_one_class(parts, words.one_class, where)
    _refuse_scaling(scaling, parts.train, objective, where)
    train = _split(parts.train)
    val = None if parts.val is None else _split(parts.val)
    test = None if parts.test is None else _split(parts.test)
    if test is None or (val is None and request.val is None):
        refuse_too_few(len(train), words.own_parts, where)
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
        return replace(images, objective=objective, names=_names(parts, request, are_images=True))
    if test is None:
        train, test = hold_out(train, None, request.name)
    if val is None and request.val != 0:
        train, val = hold_out(train, request.val, request.name)
    splits = [train, test] if val is None else [train, test, val]
    targets = splits[0].targets
    remarks: tuple[str, ...] = ()
    if scaling.targets:
        remarks = (on_standardized_targets(targets),)
    elif objective.name in _LOSSES_OF_NUMBERS:
        remarks = on_large_targets(targets)
    splits = _scaled(splits, scaling)
    train, test, *held_out = (_as_numbers(split, objective) for split in splits)
    dataset = dataset_of(
        train,
        held_out[0] if held_out else None,
        test,
        name=request.name,
        objective=objective,
        target_score=target_score if objective.metric.is_accuracy else math.nan,
        held_out=request.val,
    )
    return replace(dataset, remarks=remarks, names=_names(parts, request))


def _names(parts: ExampleParts, request: DataRequest, *, are_images: bool = False) -> ExampleNames:
    """Return what the numbers in the training examples stand for, and where they come from.

    How examples are divided depends on their targets alone, so their rows are divided alike.
    """
    train = parts.train
    rows = Split(torch.arange(len(train)) if train.rows is None else train.rows, train.targets)
    if parts.test is None:
        rows, _ = hold_out(rows, None, request.name)
    if are_images:
        order = stratified_order(rows.targets)
        held_out = 0 if parts.val is not None else request.val
        held_out = len(order) // HELD_OUT if held_out is None else held_out
        order = order[: len(order) - held_out]
        rows = Split(rows.inputs[order], rows.targets[order])
    elif parts.val is None:
        rows, _ = hold_out(rows, request.val, request.name)
    return ExampleNames(
        columns=train.columns or (),
        classes=train.classes or (),
        rows=rows.inputs,
        files=train.files,
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


def _refuse_one_class(parts: ExampleParts, one_class: str, where: Path) -> None:
    given = [part.targets for part in (parts.train, parts.val, parts.test) if part is not None]
    label = int(given[0][0])
    if any(bool((targets != label).any()) for targets in given):
        return
    name = str(label) if parts.train.classes is None else f"'{parts.train.classes[label]}'"
    fact = one_class.replace("{label}", name)
    raise UserError(
        f"{fact} With a single class there is nothing to learn: the loss is 0 from the first step.",
        where=str(where),
        hint="examples of at least two classes",
    )


def _refuse_scaling(scaling: Scaling, train: Examples, objective: Objective, where: Path) -> None:
    """Refuse to standardise what has no scale."""
    if scaling.inputs and _are_images(train.inputs):
        raise UserError(
            "The inputs are images, which data.normalize scales.",
            where=str(where),
            hint="data.normalize=mean_std, without data.standardize",
        )
    if scaling.targets and objective.name not in _LOSSES_OF_NUMBERS:
        raise UserError(
            f"{objective.name} takes its targets as they are; only numbers are standardised.",
            where=str(where),
            hint="data.standardize_targets=false",
        )


def _scaled(splits: list[Split], scaling: Scaling) -> list[Split]:
    """Return splits, of which the first is the training's, as a user wants them standardised."""
    inputs, targets = [one.inputs for one in splits], [one.targets for one in splits]
    inputs = standardized(inputs) if scaling.inputs else inputs
    targets = standardized(targets) if scaling.targets else targets
    return [Split(*pair) for pair in zip(inputs, targets, strict=True)]


def _split(part: Examples) -> Split:
    """Return the examples of a part; of a single number each, (n,), the inputs become (n, 1)."""
    inputs = part.inputs[:, None] if part.inputs.dim() == 1 else part.inputs
    return Split(inputs, part.targets)


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
    if loss in _LOSSES_OF_NUMBERS and train.classes is not None:
        raise UserError(
            f"{loss} needs numbers as targets; these are classes: "
            f"{', '.join(train.classes[:3])}{', ...' if len(train.classes) > 3 else ''}.",
            where=str(where),
            hint="data.loss=cross_entropy",
        )
    return objective_named(loss)


def _in_words(targets: Tensor) -> str:
    return f"{str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
