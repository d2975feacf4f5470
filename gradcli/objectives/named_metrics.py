"""The metrics that can be named, whatever the loss: those of classes and those of numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from gradcli.errors import UserError, nearest
from gradcli.objectives.objective import Measure, Objective, ScoreFunction
from gradcli.objectives.shipped import (
    absolute_errors,
    bce_with_logits,
    correct,
    cross_entropy,
    l1,
    matched,
    mse,
    next_token,
    nll,
    share_right,
    squared_errors,
)
from gradcli.records import ACCURACY, Metric

_PLACES: Final = 5
#: A variance that is a smaller part than this of the mean square is a rounding error.
_ROUNDING: Final = 16


def largest(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return what `correct` does, of at least two classes.

    Raises:
        UserError: if there is a single output per example, whose meaning the loss alone knows.
    """
    if outputs.ndim < 2 or outputs.shape[1] < 2:
        raise UserError(
            f"The accuracy is the share of examples whose class has the largest output; outputs "
            f"of shape {tuple(outputs.shape)} have only one.",
            where="metric",
            hint='metric=("accuracy", FUNCTION, "maximize")',
        )
    return correct(outputs, targets)


def among_five(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each example whether its class has one of the five largest outputs, bool (b,).

    Of equal outputs, those of the first classes count as larger. With several targets per example:
    the share of them, float32 (b,).

    Args:
        outputs: (b, classes, ...), higher for a more likely class.
        targets: classes, int64 (b, ...), or probabilities of the shape of the outputs.

    Raises:
        UserError: if there are no more than five classes.
    """
    classes = outputs.shape[1] if outputs.ndim > 1 else 1
    if classes <= _PLACES:
        raise UserError(
            f"The outputs are of shape {tuple(outputs.shape)}: with no more than {_PLACES} "
            f"classes, top{_PLACES} is always 1.",
            where="metric",
            hint='metrics=["accuracy"]',
        )
    if targets.is_floating_point():
        targets = targets.argmax(dim=1)
    at = targets.clamp(min=0).unsqueeze(1)
    own = outputs.gather(1, at)
    number = torch.arange(classes, device=outputs.device).view(-1, *[1] * (outputs.ndim - 2))
    ahead = (outputs > own) | ((outputs == own) & (number < at))
    right = ~outputs.isnan().any(dim=1) & (ahead.sum(dim=1) < _PLACES)
    return share_right(right, targets)


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each example and number its squared error, its target and the target's square.

    (b, 3, numbers), in float64 if the device has it: the variance is a difference of the last two.
    """
    wide = torch.float32 if outputs.device.type == "mps" else torch.float64
    found, true = (
        one.reshape(len(outputs), -1).to(wide) for one in (outputs, matched(targets, outputs))
    )
    return torch.stack([(found - true).square(), true, true.square()], dim=1)


def _explained(means: Tensor) -> Tensor:
    """Return the coefficient of determination, (), from the means (3, numbers) of `_squares`.

    Of several numbers per example, the mean of their coefficients. NaN if a number is the same in
    all examples: then there is nothing to explain.
    """
    error, mean, square = means
    variance = square - mean.square()
    known = variance > _ROUNDING * torch.finfo(means.dtype).eps * square
    return torch.where(known, 1 - error / variance, torch.nan).mean()


#: By name, as `Problem(metric=NAME)` chooses them.
NAMED_METRICS: Final = {
    one.metric.name: one
    for one in (
        Measure(ACCURACY, largest),
        Measure(Metric(f"top{_PLACES}", "maximize"), among_five),
        Measure(Metric("mae", "minimize"), absolute_errors),
        Measure(Metric("mse", "minimize"), squared_errors),
        Measure(Metric("rmse", "minimize"), squared_errors, of_mean=torch.sqrt),
        Measure(Metric("r2", "maximize"), _squares, of_mean=_explained),
    )
}
_OF_CLASSES: Final = (largest, among_five)
_LOSSES_OF_CLASSES: Final = (cross_entropy, nll, next_token, bce_with_logits)
_LOSSES_OF_NUMBERS: Final = (mse, l1)


def measure_named(name: str, objective: Objective) -> Measure:
    """Return a metric by its name.

    Args:
        name: of one of `NAMED_METRICS`, or the metric that goes with the loss.
        objective: of the loss: it may have its own accuracy, and its own order of outputs.

    Raises:
        UserError: if there is none of this name.
    """
    if name == objective.metric.name:
        return Measure(objective.metric, objective.score, objective.of_mean)
    if name not in NAMED_METRICS:
        raise UserError(
            f"There is no metric named '{name}'.",
            where="metric",
            choices=nearest(name, NAMED_METRICS) or tuple(NAMED_METRICS),
            hint='a metric of your own: ("rmse", rmse, "minimize")',
        )
    measure = NAMED_METRICS[name]
    of_classes = measure.score in _OF_CLASSES
    if objective.loss in (_LOSSES_OF_NUMBERS if of_classes else _LOSSES_OF_CLASSES):
        suiting = [
            one.metric.name
            for one in NAMED_METRICS.values()
            if (one.score in _OF_CLASSES) != of_classes
        ]
        raise UserError(
            f"{name} is of {'classes' if of_classes else 'numbers'}, and the outputs under "
            f"{objective.name} are {'numbers' if of_classes else 'scores of classes'}.",
            where="metric",
            choices=suiting,
            hint=f'a metric of your own: ("{name}", FUNCTION, "{measure.metric.direction}")',
        )
    if objective.loss is next_token and of_classes:
        return replace(measure, score=_classes_first(measure.score))
    return measure


def _classes_first(score: ScoreFunction) -> ScoreFunction:
    """Return a score of (b, classes, t) as one of (b, t, classes), as next tokens have them."""

    def of_sequences(outputs: Tensor, targets: Tensor) -> Tensor:
        return score(outputs.flatten(1, -2).transpose(1, 2), targets.flatten(1))

    return of_sequences
