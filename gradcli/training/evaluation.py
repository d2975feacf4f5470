"""Evaluation: mean loss and accuracy over a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.data import Batches
from gradcli.gradients.norms import accumulator_dtype
from gradcli.tracing.fault_place import Place
from gradcli.tracing.non_finite import locate_fault


class EvaluationStopped(Exception):  # noqa: N818 - stopping is not an error
    """The evaluation was asked to stop before it had processed all examples."""


@dataclass(frozen=True)
class Evaluation:
    """What a model scores on a split."""

    loss: float
    """The mean over all examples."""
    correct: Tensor
    """Whether each example is right, in the order of the split: bool (n,)."""

    @property
    def accuracy(self) -> float:
        """The share of examples that are right."""
        return int(self.correct.sum()) / len(self.correct)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Batches, should_stop: Callable[[], bool] = lambda: False
) -> Evaluation:
    """Return the mean loss over all examples of `batches`, and which of them are right.

    The model keeps its mode, training or evaluation.

    Raises:
        EvaluationStopped: `should_stop` returned True.
    """
    was_training = model.training
    model.eval()
    try:
        loss = torch.zeros((), dtype=accumulator_dtype(batches.device), device=batches.device)
        correct = torch.zeros(batches.size, dtype=torch.bool, device=batches.device)
        for start, inputs, labels in _in_order(batches):
            if should_stop():
                raise EvaluationStopped
            logits = model(inputs).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            # The largest of values among which is NaN is no answer, though `argmax` names a class.
            answers = ~logits.isnan().any(dim=1)
            correct[start : start + len(labels)] = answers & (logits.argmax(dim=1) == labels)
    finally:
        model.train(was_training)
    return Evaluation(float(loss) / batches.size, correct)


def locate_in_evaluation(model: nn.Module, batches: Batches) -> Place:
    """Find the first non-finite value of an evaluation whose loss is not finite."""
    was_training = model.training
    model.eval()
    try:
        for _, inputs, labels in _in_order(batches):
            with torch.no_grad():
                loss = F.cross_entropy(model(inputs).float(), labels)
            if not math.isfinite(loss):
                no_gradients = [0.0] * sum(1 for _ in model.parameters())
                return locate_fault(model, inputs, labels, no_gradients)
    finally:
        model.train(was_training)
    return Place("loss", unsure="the loss of each batch is finite, and only their sum is not")


def _in_order(batches: Batches) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the split in batches: the place of the first example, the inputs and the labels."""
    for start in range(0, batches.size, batches.batch_size):
        stop = min(start + batches.batch_size, batches.size)
        yield start, *batches.gather(torch.arange(start, stop, device=batches.device))
