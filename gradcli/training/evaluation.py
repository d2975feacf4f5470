"""Evaluation: mean loss and accuracy over a whole split."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gradcli.data import Batches
from gradcli.gradients.norms import accumulator_dtype


class EvaluationStopped(Exception):  # noqa: N818 - stopping is not an error
    """The evaluation was asked to stop before it had processed all examples."""


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Batches, should_stop: Callable[[], bool] = lambda: False
) -> tuple[float, float]:
    """Return the mean loss and the accuracy over all examples of `batches`.

    The model keeps its mode, training or evaluation.

    Raises:
        EvaluationStopped: `should_stop` returned True.
    """
    was_training = model.training
    model.eval()
    try:
        loss = torch.zeros((), dtype=accumulator_dtype(batches.device), device=batches.device)
        correct = torch.zeros((), dtype=torch.int64, device=batches.device)
        for start in range(0, batches.size, batches.batch_size):
            if should_stop():
                raise EvaluationStopped
            stop = min(start + batches.batch_size, batches.size)
            inputs, labels = batches.gather(torch.arange(start, stop, device=batches.device))
            logits = model(inputs).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(dim=1) == labels).sum()
    finally:
        model.train(was_training)
    return float(loss) / batches.size, int(correct) / batches.size
