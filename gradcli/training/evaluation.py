"""Evaluation: mean loss and accuracy over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.data import Batches
from gradcli.gradients.norms import accumulator_dtype


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
        for start in range(0, batches.size, batches.batch_size):
            if should_stop():
                raise EvaluationStopped
            stop = min(start + batches.batch_size, batches.size)
            inputs, labels = batches.gather(torch.arange(start, stop, device=batches.device))
            logits = model(inputs).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            # The largest of values among which is NaN is no answer, though `argmax` names a class.
            answers = ~logits.isnan().any(dim=1)
            correct[start:stop] = answers & (logits.argmax(dim=1) == labels)
    finally:
        model.train(was_training)
    return Evaluation(float(loss) / batches.size, correct)
