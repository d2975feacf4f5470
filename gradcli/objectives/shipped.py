"""The objectives that can be named: losses of PyTorch, each with the metric that goes with it."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from gradcli.errors import UserError, nearest
from gradcli.objectives.guessing import (
    NO_TARGET,
    of_classes,
    of_distances,
    of_squares,
    of_two_classes,
)
from gradcli.objectives.objective import Objective
from gradcli.records import ACCURACY, Metric


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy () of logits (b, classes, ...).

    Args:
        outputs: the logits.
        targets: classes, int64 (b, ...), or probabilities of the shape of the outputs.
    """
    return F.cross_entropy(in_full(outputs), targets)


def nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean negative log-likelihood () of log-probabilities (b, classes, ...)."""
    return F.nll_loss(in_full(outputs), targets)


def bce_with_logits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy () of logits (b, ...) with targets of 0 to 1."""
    outputs = in_full(outputs)
    return F.binary_cross_entropy_with_logits(outputs, matched(targets, outputs))


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error () of outputs (b, ...)."""
    outputs = in_full(outputs)
    return F.mse_loss(outputs, matched(targets, outputs))


def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error () of outputs (b, ...)."""
    outputs = in_full(outputs)
    return F.l1_loss(outputs, matched(targets, outputs))


def next_token(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy () of logits (b, t, vocabulary) with the tokens that follow.

    Args:
        outputs: logits for the token after each position.
        targets: that token, int64 (b, t); -100 where none counts, as for padding.
    """
    return F.cross_entropy(in_full(outputs).flatten(0, -2), targets.flatten())


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each example whether its class has the largest output, bool (b,).

    With several targets per example, as in segmentation: the share that is right, float32 (b,).

    Args:
        outputs: (b, classes, ...), higher for a more likely class.
        targets: classes, int64 (b, ...), or probabilities of the shape of the outputs.
    """
    if targets.is_floating_point():
        targets = targets.argmax(dim=1)
    # The largest of values among which is NaN is no answer, though `argmax` names a class.
    right = ~outputs.isnan().any(dim=1) & (outputs.argmax(dim=1) == targets)
    return share_right(right, targets)


def share_right(right: Tensor, targets: Tensor) -> Tensor:
    """Return the share of each example's classes (b, ...) that are `right`; as bool if it has one.

    Targets that count for no loss are left out.
    """
    if right.ndim == 1:
        return right
    counted = targets.flatten(1) != NO_TARGET
    return (right.flatten(1) & counted).sum(1) / counted.sum(1)


def decided(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of each example's targets on whose side of 1/2 the output is, (b,)."""
    right = (outputs > 0) == (matched(targets, outputs) > 0.5)
    right &= ~outputs.isnan()
    return right if right.ndim == 1 else right.flatten(1).float().mean(1)


def squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of each example, (b,)."""
    return _of_examples((in_full(outputs) - matched(targets, outputs)).square())


def absolute_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute error of each example, (b,)."""
    return _of_examples((in_full(outputs) - matched(targets, outputs)).abs())


def _of_sequences(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of each sequence, (b,)."""
    logits = in_full(outputs).flatten(1, -2).transpose(1, 2)
    targets = targets.flatten(1)
    losses = F.cross_entropy(logits, targets, reduction="none")
    return losses.sum(1) / (targets != NO_TARGET).sum(1)


def _of_examples(values: Tensor) -> Tensor:
    return values if values.ndim == 1 else values.flatten(1).mean(1)


def _counted(targets: Tensor) -> int | Tensor:
    """Return how many targets count; of probabilities, those of all examples do."""
    return len(targets) if targets.is_floating_point() else (targets != NO_TARGET).sum()


def in_full(outputs: Tensor) -> Tensor:
    """Return the outputs in at least float32: a loss in half precision has few digits."""
    halved = outputs.dtype in (torch.bfloat16, torch.float16)
    return outputs.float() if halved else outputs


def matched(targets: Tensor, outputs: Tensor) -> Tensor:
    """Return the targets in the type and the shape of the outputs.

    Outputs (b, 1) and targets (b,) would be broadcast to (b, b): each output would be compared with
    every target.

    Raises:
        UserError: if they have different numbers of elements.
    """
    if targets.shape != outputs.shape:
        if targets.numel() != outputs.numel() or len(targets) != len(outputs):
            raise UserError(
                f"The model's outputs are {tuple(outputs.shape)} and the targets "
                f"{tuple(targets.shape)}: the loss needs an output for each target.",
                where="the loss",
            )
        targets = targets.reshape(outputs.shape)
    return targets.to(outputs.dtype)


CROSS_ENTROPY: Final = Objective(
    name="cross_entropy",
    loss=cross_entropy,
    metric=ACCURACY,
    score=correct,
    terms=_counted,
    levels=of_classes,
)

#: By name, as `loss=NAME` chooses them.
SHIPPED: Final = {
    one.name: one
    for one in (
        CROSS_ENTROPY,
        Objective(
            name="nll",
            loss=nll,
            metric=ACCURACY,
            score=correct,
            terms=_counted,
            levels=of_classes,
        ),
        Objective(
            name="bce_with_logits",
            loss=bce_with_logits,
            metric=ACCURACY,
            score=decided,
            levels=of_two_classes,
        ),
        Objective(
            name="mse",
            loss=mse,
            metric=Metric("mse", "minimize"),
            score=squared_errors,
            levels=of_squares,
        ),
        Objective(
            name="l1",
            loss=l1,
            metric=Metric("mae", "minimize"),
            score=absolute_errors,
            levels=of_distances,
        ),
        Objective(
            name="next_token",
            loss=next_token,
            metric=Metric("cross_entropy", "minimize"),
            score=_of_sequences,
            terms=_counted,
            levels=of_classes,
        ),
    )
}


def objective_named(name: str) -> Objective:
    """Return a shipped objective.

    Raises:
        UserError: if there is none of this name.
    """
    if name not in SHIPPED:
        raise UserError(
            f"There is no loss named '{name}'.",
            where="loss",
            choices=nearest(name, SHIPPED) or tuple(SHIPPED),
            hint="a function of (outputs, targets) that returns the loss of a batch",
        )
    return SHIPPED[name]
