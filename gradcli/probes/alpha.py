"""Where the step just taken has ended: before the minimum along it, at it, or beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from gradcli.probes.batch_loss import BatchLoss, Parameters, dot


@dataclass(frozen=True, slots=True)
class StepFit:
    """The parabola along a step of length t = ||new - old||, with the same batch at both ends."""

    alpha: float
    """t / t* - 1, where the parabola has its minimum at t*: -1 is no step at all, 0 the minimum,
    +1 the point of equal height on the other side; below -1 the step went uphill from its start.
    -1 too where the parabola has no minimum, as
    the step then still goes downhill where it ends. NaN where there was no step."""
    curvature: float
    """The parabola's second derivative with respect to the distance."""
    step_length: float
    loss_before: float
    loss_after: float
    slope_before: float
    """The loss's derivative in the direction of the step, where it began."""
    slope_after: float


def step_alpha(model: nn.Module, before: Parameters, inputs: Tensor, labels: Tensor) -> StepFit:
    """Fit a parabola to loss and slope at both ends of the step from `before` to the model.

    Schneider, Dangel and Hennig 2021 (Cockpit), arXiv 2102.06604. Costs two
    forward-backward passes, and the caller a copy of the weights.

    Args:
        model: after the update.
        before: its trained parameters before the update, by name.
        inputs: the batch of that update, (b, c, h, w).
        labels: its classes, (b,).
    """
    loss = BatchLoss(model, inputs, labels)
    step = {name: after - before[name] for name, after in loss.parameters.items()}
    length = math.sqrt(dot(step, step))
    loss_before, gradient_before = loss.gradient({name: before[name] for name in step})
    loss_after, gradient_after = loss.gradient(loss.parameters)
    scale = length if length > 0 else math.nan
    return fit_step(
        float(loss_before),
        float(loss_after),
        dot(step, gradient_before) / scale,
        dot(step, gradient_after) / scale,
        length,
    )


def fit_step(
    loss_before: float, loss_after: float, slope_before: float, slope_after: float, length: float
) -> StepFit:
    """Fit a + b s + c s^2, s = distance / length, to two losses and two slopes.

    Four observations for three unknowns, by least squares. In s all four have one unit, so that
    the fit does not depend on the scale of the weights. Cockpit weighs each by its variance over
    the batch; here all weigh the same, since the batch at both ends is the same.
    """
    design = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 1, 2]], dtype=np.float64)
    observed = np.array([loss_before, loss_after, slope_before * length, slope_after * length])
    _, linear, quadratic = (
        np.linalg.lstsq(design, observed, rcond=None)[0]
        if np.isfinite(observed).all()
        else (math.nan, math.nan, math.nan)
    )
    if math.isnan(quadratic) or length == 0 or linear == 0:
        alpha = math.nan
    elif quadratic <= 0:
        alpha = -1.0
    else:
        alpha = float(-2.0 * quadratic / linear) - 1.0
    return StepFit(
        alpha=alpha,
        curvature=float(2.0 * quadratic / length**2) if length > 0 else math.nan,
        step_length=length,
        loss_before=loss_before,
        loss_after=loss_after,
        slope_before=slope_before,
        slope_after=slope_after,
    )
