"""Evaluation: mean loss and score over a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gradcli.data import BatchSource
from gradcli.gradients.norms import accumulator_dtype
from gradcli.objectives import Measure, Objective
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
    the score is no mean over examples."""
    further: Mapping[str, float]
    """By each further metric, under its name."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    objective: Objective,
    batches: BatchSource,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Return the mean loss over all of `batches`, and their scores, in one pass.

    The model keeps its mode, training or evaluation.

    Raises:
        EvaluationStopped: `should_stop` returned True.
    """
    was_training = model.training
    model.eval()
    dtype = accumulator_dtype(batches.device)
    loss = torch.zeros((), dtype=dtype, device=batches.device)
    terms: int | Tensor = 0
    sizes: list[int] = []
    parts: list[list[Tensor]] = [[] for _ in objective.measures]
    try:
        with closing(batches.in_order()) as in_order:
            for inputs, targets in in_order:
                if should_stop():
                    raise EvaluationStopped
                outputs, counted = model(inputs), objective.terms(targets)
                loss += objective.loss(outputs, targets) * counted
                terms += counted
                sizes.append(len(targets))
                for measure, of_batches in zip(objective.measures, parts, strict=True):
                    of_batches.append(measure.of_batch(outputs, targets))
    finally:
        model.train(was_training)
    (score, each), *further = map(partial(_score, sizes), objective.measures, parts)
    names = (measure.metric.name for measure in objective.further)
    by_name = {name: value for name, (value, _) in zip(names, further, strict=True)}
    return Evaluation(float(loss) / float(terms), score, each, by_name)


def _score(
    sizes: Sequence[int], measure: Measure, parts: Sequence[Tensor]
) -> tuple[float, Tensor | None]:
    """Return the score of a split from the sizes and the scores of its batches, and the examples'.

    Bits are counted: their mean is exact.
    """
    if measure.of_mean is not None:
        wide = accumulator_dtype(parts[0].device)
        total = torch.stack([part.sum(0, dtype=wide) for part in parts]).sum(0)
        return float(measure.of_mean(total / sum(sizes))), None
    if any(score.ndim == 0 for score in parts):
        weighted = (size * float(score) for size, score in zip(sizes, parts, strict=True))
        return math.fsum(weighted) / sum(sizes), None
    each = torch.cat(list(parts))
    if each.dtype == torch.bool:
        return int(each.sum()) / len(each), each
    each = each.float()
    has_score = ~each.isnan()
    if not has_score.all():
        # Tests over examples need the score of each.
        known = each[has_score]
        wide = accumulator_dtype(each.device)
        return float(known.mean(dtype=wide)), None  # NaN of none
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
