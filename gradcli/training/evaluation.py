"""Evaluation: mean loss and score over a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcli.data import BatchSource
from gradcli.gradients.norms import accumulator_dtype
from gradcli.objectives import Objective, score_of
from gradcli.tracing.fault_place import Place
from gradcli.tracing.non_finite import locate_fault


class EvaluationStopped(Exception):  # noqa: N818 - stopping is not an error
    """The evaluation was asked to stop before it had processed all examples."""


@dataclass(frozen=True)
class Evaluation:
    """What a model scores on a split."""

    loss: float
    """The mean over all terms of the loss, most often the examples."""
    score: float
    """By the objective's metric."""
    example_scores: Tensor | None
    """What each example adds to the score, in the order of the split, bool or float32 (n,); None if
    the metric has one number per batch."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    objective: Objective,
    batches: BatchSource,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Return the mean loss over all of `batches`, and their score.

    The model keeps its mode, training or evaluation.

    Raises:
        EvaluationStopped: `should_stop` returned True.
    """
    was_training = model.training
    model.eval()
    dtype = accumulator_dtype(batches.device)
    loss, parts = torch.zeros((), dtype=dtype, device=batches.device), []
    terms: int | Tensor = 0
    try:
        with closing(batches.in_order()) as in_order:
            for inputs, targets in in_order:
                if should_stop():
                    raise EvaluationStopped
                outputs, counted = model(inputs), objective.terms(targets)
                loss += objective.loss(outputs, targets) * counted
                terms += counted
                parts.append((len(targets), score_of(objective.score, outputs, targets)))
    finally:
        model.train(was_training)
    return Evaluation(float(loss) / float(terms), *_score(parts))


def _score(parts: Sequence[tuple[int, Tensor]]) -> tuple[float, Tensor | None]:
    """Return the score of a split from the sizes and the scores of its batches, and the examples'.

    Bits are counted: their mean is exact.
    """
    if any(score.ndim == 0 for _, score in parts):
        size = sum(count for count, _ in parts)
        return math.fsum(count * float(score) for count, score in parts) / size, None
    each = torch.cat([score for _, score in parts])
    if each.dtype == torch.bool:
        return int(each.sum()) / len(each), each
    each = each.float()
    return float(each.sum(dtype=accumulator_dtype(each.device))) / len(each), each


def locate_in_evaluation(model: nn.Module, objective: Objective, batches: BatchSource) -> Place:
    """Find the first non-finite value of an evaluation whose loss is not finite."""
    was_training = model.training
    model.eval()
    try:
        with closing(batches.in_order()) as in_order:
            for inputs, targets in in_order:
                with torch.no_grad():
                    loss = objective.loss(model(inputs), targets)
                if not math.isfinite(loss):
                    no_gradients = [0.0] * sum(1 for _ in model.parameters())
                    return locate_fault(model, inputs, targets, no_gradients, loss=objective.loss)
    finally:
        model.train(was_training)
    return Place("loss", unsure="the loss of each batch is finite, and only their sum is not")
