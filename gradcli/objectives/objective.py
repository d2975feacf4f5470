"""A loss with a metric, and how the scores of batches become that of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradcli.records import Metric

#: Maps a model's outputs and the targets, (b, ...) each, to the loss of the batch, ().
LossFunction = Callable[[Any, Any], Tensor]
#: Maps outputs and targets to a score for each example, (b,), or to one for the batch, ().
ScoreFunction = Callable[[Any, Any], Tensor]
#: Returns how many terms the loss of a batch with these targets is the mean of.
CountOfTerms = Callable[[Any], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a training minimises, and what its models are scored by.

    Args:
        name: how screens and records call the loss.
        loss: of a batch: the mean over its terms, which are most often its examples.
        metric: the name of the score, and whether more or less of it is better.
        score: by that metric. If it has one number per example, the score of a split is their
            mean, and a comparison can tell how much of a difference is due to the examples. If it
            has one for the batch, the mean over batches by their size is taken.
        terms: how many terms the loss of a batch is the mean of, so that a split's loss is the
            mean over all its terms, even if batches differ in size.
    """

    name: str
    loss: LossFunction
    metric: Metric
    score: ScoreFunction
    terms: CountOfTerms = len
