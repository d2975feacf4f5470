"""Data sets of any examples: what is not a classified image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.data.dataset import Dataset, Split, objection_to, stratified_order
from gradcli.data.streams.stream import Stream
from gradcli.errors import UserError
from gradcli.objectives import Objective
from gradcli.objectives.guessing import NO_TARGET
from gradcli.objectives.shipped import bce_with_logits, cross_entropy, next_token, nll
from gradcli.records import DataInfo

_OF_CLASSES = (cross_entropy, nll, next_token)
#: The part of the examples that becomes a split which was not given.
HELD_OUT = 6


def dataset_of(
    train: Split | Stream,
    val: Split | Stream | None,
    test: Split | Stream | None,
    *,
    name: str,
    objective: Objective,
    target_score: float = math.nan,
    make_model: Callable[[], nn.Module] | None = None,
    note: str = "",
    held_out: int | None = None,
    vocabulary: int = 0,
) -> Dataset:
    """Make a data set of examples that are used as they are.

    A split that is None is taken from the training examples, a sixth of them, always the same ones:
    in proportion if the targets are classes. Of a stream none can be taken.

    Of a stream, only the batch at hand is looked at, and only that and the length tell whether it
    is the same data as before.

    Args:
        train: the training examples.
        val: what choices are made on.
        test: what is read once, at the end.
        name: `request.name`.
        objective: what a model of them is trained to do.
        target_score: the validation score that a comparison times; NaN for none.
        make_model: makes the model that belongs to them; None leaves the choice to the config.
        note: what the user must know about them.
        held_out: `request.val`: how many training examples become the validation split if `val` is
            None; None is a sixth, 0 is for none.
        vocabulary: how many different tokens there are, if the inputs are tokens.

    Raises:
        UserError: if a split is not what `Split` says, their examples differ in shape or type, or
            too few are left to train on.
    """
    for kind, split in (("training", train), ("validation", val), ("test", test)):
        if split is not None and (objection := objection_to(split.at_hand)):
            raise UserError(
                f"The {kind} examples of {name} cannot be used: {objection}.",
                where=kind,
                hint=None
                if kind == "training"
                else "some examples; or None, which takes a sixth of the training examples",
            )
        if split is not None and (
            objection := _objection_to_targets(split.at_hand.targets, objective)
        ):
            raise UserError(
                f"The {kind} targets of {name} cannot be learnt: {objection}.", where=kind
            )
    if test is None:
        train, test = hold_out(train, None, name)
    if val is None:
        train, val = hold_out(train, held_out, name)
    for kind, split in (("validation", val), ("test", test)):
        _refuse_other_form(name, "training", train.at_hand, kind, split.at_hand)
    splits = (train, val, test)
    info = DataInfo(
        name=name,
        train=len(train),
        val=len(val),
        test=len(test),
        sha256=fingerprint(*splits),
        shape=tuple(train.at_hand.inputs.shape[1:]),
        classes=_classes(objective, splits),
        note=note,
    )
    return Dataset(
        info,
        *splits,
        target_score=target_score,
        objective=objective,
        make_model=make_model,
        vocabulary=vocabulary,
    )


def _objection_to_targets(targets: Tensor, objective: Objective) -> str:
    """Say which target no output can reach; empty if there is none."""
    if not targets.is_floating_point():
        return _objection_to_classes(targets) if objective.loss in _OF_CLASSES else ""
    rows = targets.flatten(1) if targets.dim() > 1 else targets[:, None]
    wrong, what = ~rows.isfinite(), "which is not finite"
    if objective.loss is bce_with_logits and not wrong.any():
        wrong, what = (rows < 0) | (rows > 1), "and bce_with_logits takes targets from 0 to 1"
    if not wrong.any():
        return ""
    example = int(wrong.any(dim=1).nonzero()[0])
    value = float(rows[example][wrong[example]][0])
    return f"one of example {example:,} is {value:g}, {what}"


def _objection_to_classes(targets: Tensor) -> str:
    """Say which target is no class; empty if there is none."""
    wrong = (targets < 0) & (targets != NO_TARGET)
    if targets.dtype == torch.bool or not wrong.any():
        return ""
    rows = wrong.flatten(1) if wrong.dim() > 1 else wrong[:, None]
    example = int(rows.any(dim=1).nonzero()[0])
    value = int(targets[example][wrong[example]].flatten()[0])
    return (
        f"one of example {example:,} is {value}; classes count from 0, and {NO_TARGET} is for what "
        "does not count"
    )


def fingerprint(*splits: Split | Stream) -> str:
    """Return a hash of the shapes, the types and the values of all examples, in their order.

    Of a stream, the number of its examples and the batch at hand count.
    """
    digest = hashlib.sha256()
    for split in splits:
        if isinstance(split, Stream):
            digest.update(f"{len(split)} in a stream".encode())
        for tensor in (split.at_hand.inputs, split.at_hand.targets):
            digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            # Any type has bytes, bfloat16 too, which NumPy does not know.
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hold_out(split: Split | Stream, count: int | None, name: str) -> tuple[Split, Split]:
    """Return a split without some of its examples, and these: always the same ones.

    Args:
        split: the examples.
        count: how many are held out; None is a sixth.
        name: of the data set.

    Raises:
        UserError: if there are too few, or they are a stream.
    """
    if isinstance(split, Stream):
        raise UserError(
            f"The training examples of {name} are a stream, of which no sixth can be held out.",
            where="val, test",
            hint="val=... and test=..., each (inputs, targets) or a stream of its own",
        )
    if count is None and not (count := len(split) // HELD_OUT):
        raise UserError(
            f"{name} has {len(split)} training examples, of which no sixth can be held out to "
            "validate or test with.",
            hint="more examples, or splits of your own: val=..., test=...",
        )
    kept = len(split) - count
    if not 0 < kept <= len(split):
        raise UserError(
            f"A validation split of {count} cannot be taken from {len(split)} training examples of "
            f"{name}.",
            where="data.val",
            hint=f"a number from 0 (no validation split) to {len(split) - 1}",
        )
    order = _order(split.targets)
    taken, order = order[kept:], order[:kept]
    return (
        Split(split.inputs[order], split.targets[order]),
        Split(split.inputs[taken], split.targets[taken]),
    )


def _order(targets: Tensor) -> Tensor:
    """Return a fixed shuffle, in which classes are spread evenly: int64 (n,)."""
    if _are_classes(targets):
        return stratified_order(targets)
    return torch.from_numpy(np.random.RandomState(0).permutation(len(targets)))


def _are_classes(targets: Tensor) -> bool:
    return targets.dim() == 1 and not targets.is_floating_point()


def _classes(objective: Objective, splits: tuple[Split | Stream, ...]) -> int:
    """Return the number of classes; 0 if the targets are something else, or in a stream."""
    if objective.loss not in (cross_entropy, nll):
        return 0
    targets = [one.targets for one in splits if isinstance(one, Split)]
    if len(targets) < len(splits) or not all(map(_are_classes, targets)):
        return 0
    return 1 + max(int(one.max()) for one in targets if len(one))


def _refuse_other_form(name: str, kind: str, one: Split, other_kind: str, other: Split) -> None:
    """Refuse two splits whose examples differ in shape or type."""
    for part in ("inputs", "targets"):
        ours, theirs = getattr(one, part), getattr(other, part)
        if ours.shape[1:] != theirs.shape[1:] or ours.dtype != theirs.dtype:
            raise UserError(
                f"The {part} of {name} differ: {_form(ours)} in the {kind} examples, "
                f"{_form(theirs)} in the {other_kind} examples."
            )


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape[1:])}"
