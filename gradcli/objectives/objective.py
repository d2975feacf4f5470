"""A loss with metrics, and how the scores of batches become that of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradcli.errors import UserError
from gradcli.objectives.guessing import LevelsOf
from gradcli.records import Metric

#: Maps a model's outputs and the targets, (b, ...) each, to the loss of the batch, ().
LossFunction = Callable[[Any, Any], Tensor]
#: Maps outputs and targets to a score for each example, (b,), or to one for the batch, ().
ScoreFunction = Callable[[Any, Any], Tensor]
#: Returns how many terms the loss of a batch with these targets is the mean of. A tensor, (),
#: spares waiting for the device.
CountOfTerms = Callable[[Any], int | Tensor]


def score_of(function: ScoreFunction, outputs: Any, targets: Any) -> Tensor:
    """Return what a metric gives for a batch, as a tensor: a score for each example, or one.

    Raises:
        UserError: if it gives anything else.
    """
    score = torch.as_tensor(function(outputs, targets))
    if score.is_complex():
        raise UserError(
            "A metric gives real numbers; this one gives complex ones.",
            where="metric",
            hint="their magnitude: scores.abs()",
        )
    if score.ndim == 0 or score.shape == (len(targets),):
        return score
    raise UserError(
        f"A metric gives a number for each example, ({len(targets)},) for a batch of "
        f"{len(targets)}, or one for the batch, (); this one gives {tuple(score.shape)}.",
        where="metric",
        hint="the mean over the other axes: scores.flatten(1).mean(1)",
    )


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric, and the function that computes it.

    Args:
        metric: the name of the score, and whether more or less of it is better.
        score: by that metric. If it has one number per example, the score of a split is their
            mean, and a comparison can tell how much of a difference is due to the examples. If it
            has one for the batch, the mean over batches by their size is taken. NaN says that an
            example has no score; it is left out.
        of_mean: what the score of a split is if it is not a mean over examples, as the root of a
            mean is none: a function of the mean (...) over all examples of what `score` then
            gives, (b, ...), to the score ().
    """

    metric: Metric
    score: ScoreFunction
    of_mean: Callable[[Tensor], Tensor] | None = None

    def of_batch(self, outputs: Any, targets: Any) -> Tensor:
        """Return what a batch adds to the score: (b,) or (); (b, ...) if there is an `of_mean`.

        Raises:
            UserError: if the function of the user's own gives anything else.
        """
        if self.of_mean is not None:
            return self.score(outputs, targets)
        return score_of(self.score, outputs, targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a training minimises, and what its models are scored by.

    Args:
        name: how screens and records call the loss.
        loss: of a batch: the mean over its terms, which are most often its examples.
        metric: what decides: the best epoch, the learning rate, the ranking.
        score: by that metric, as `of_mean`: see `Measure`.
        terms: how many terms the loss of a batch is the mean of, so that a split's loss is the
            mean over all its terms, even if batches differ in size.
        levels: returns what the loss can be compared with, from targets; None if that is not known,
            as for a function of the user's own.
        further: what models are scored by as well, which decides nothing.
    """

    name: str
    loss: LossFunction
    metric: Metric
    score: ScoreFunction
    terms: CountOfTerms = len
    levels: LevelsOf | None = None
    of_mean: Callable[[Tensor], Tensor] | None = None
    further: tuple[Measure, ...] = ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What models are scored by: first by the metric that decides."""
        return (Measure(self.metric, self.score, self.of_mean), *self.further)
