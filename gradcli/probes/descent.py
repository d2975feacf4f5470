"""The loss along the negative gradient: whether that direction lowers it, and how far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradcli.probes.batch_loss import BatchLoss, dot

# From a step at which the loss is a straight line to one as long as the weights themselves,
# four lengths to a factor of ten.
_RELATIVE_LENGTHS = np.logspace(-6, 0, 25)


@dataclass(frozen=True, slots=True)
class DescentCurve:
    """The loss of one batch at weights - step * gradient, for n steps, shortest first."""

    steps: NDArray[np.float64]
    """What multiplies the gradient, (n,): a learning rate of plain gradient descent."""
    relative_lengths: NDArray[np.float64]
    """||step * gradient|| / ||weights||, (n,)."""
    losses: NDArray[np.float64]
    """The losses there, (n,); not finite where the step leads out of the numbers."""
    start_loss: float
    """The loss at the weights."""
    slope: float
    """The derivative of the loss with respect to the step at 0: -||gradient||^2."""
    best_step: float
    """The step with the lowest loss of all; 0 where none is lower than the start."""
    best_loss: float
    descends_to: float
    """The longest step up to which every loss lies below the start; 0 where not even the
    shortest step lowers the loss."""

    @property
    def descends(self) -> bool:
        """Whether the negative gradient lowers the loss, as it must for short enough steps."""
        return self.descends_to > 0


def loss_along_gradient(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    dtype: torch.dtype = torch.float64,
) -> DescentCurve:
    """Evaluate the batch's loss at 25 steps along its own negative gradient.

    The steps are spaced evenly in their logarithm, from 1e-6 to 1 times the norm of the weights.
    Costs one forward-backward and 25 forward passes, in float64 by default, as the shortest
    steps change the loss by less than float32 can tell: 20 to 40 float32 forward-backward
    passes, and 100 for convolutions.

    Args:
        model: maps inputs to logits (b, classes).
        inputs: a batch, (b, c, h, w).
        labels: its classes, (b,).
        dtype: what to compute in.

    Returns:
        The curve; with a gradient of zero or one that is not finite all its steps are NaN.
    """
    loss = BatchLoss(model, inputs, labels, dtype)
    start, gradient = loss.gradient(loss.parameters)
    squared = dot(gradient, gradient)
    usable = 0 < squared < math.inf
    weight_norm = math.sqrt(dot(loss.parameters, loss.parameters)) or 1.0
    steps = _RELATIVE_LENGTHS * (weight_norm / math.sqrt(squared) if usable else math.nan)
    with torch.no_grad():
        losses = np.array(
            [
                float(loss({n: p - step * gradient[n] for n, p in loss.parameters.items()}))
                for step in (steps if usable else ())
            ]
            or [math.nan] * len(steps)
        )
    start_loss = float(start)
    lower = losses < start_loss
    first_not_lower = len(lower) if lower.all() else int(np.argmin(lower))
    best = int(np.argmin(np.where(lower, losses, math.inf)))
    return DescentCurve(
        steps=steps,
        relative_lengths=_RELATIVE_LENGTHS.copy(),
        losses=losses,
        start_loss=start_loss,
        slope=-squared,
        best_step=float(steps[best]) if lower.any() else 0.0,
        best_loss=float(losses[best]) if lower.any() else start_loss,
        descends_to=float(steps[first_not_lower - 1]) if first_not_lower else 0.0,
    )
