"""Probe: where a training step ends: before the minimum along it, at it, or beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading, spread, with_sign
from gradcli.records import ProbeRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradcli.objectives import LossFunction
    from gradcli.probes.measuring.batch_loss import Parameters

_STEPS = 5


@dataclass(frozen=True, slots=True)
class StepFit:
    """The parabola along a step of length t = ||new - old||, with the same batch at both ends."""

    alpha: float
    """t / t* - 1, with the parabola's minimum at t*: -1 is no step at all, 0 the minimum, and +1
    the point of equal height on the other side. Below -1 the step went uphill from its start. If
    the parabola has no minimum, the step still goes downhill at its end, and alpha is -1 too.
    NaN if there was no step."""
    curvature: float
    """The parabola's second derivative with respect to the distance."""
    step_length: float
    loss_before: float
    loss_after: float
    slope_before: float
    """The loss's derivative in the direction of the step, at its start."""
    slope_after: float


def step_alpha(
    model: nn.Module,
    before: Parameters,
    inputs: Tensor,
    targets: Tensor,
    loss: LossFunction | None = None,
) -> StepFit:
    """Fit a parabola to loss and slope at both ends of the step from `before` to the model.

    Schneider, Dangel and Hennig 2021 (Cockpit), arXiv 2102.06604. Costs two
    forward-backward passes, and the caller a copy of the weights.

    Args:
        model: after the update.
        before: its trained parameters before the update, by name.
        inputs: the batch of that update, (b, ...).
        targets: its targets, (b, ...).
        loss: of outputs and targets, (); None is cross-entropy.
    """
    from gradcli.objectives.shipped import cross_entropy
    from gradcli.probes.measuring.batch_loss import BatchLoss, dot

    at = BatchLoss(model, inputs, targets, loss or cross_entropy)
    step = {name: after - before[name] for name, after in at.parameters.items()}
    length = math.sqrt(dot(step, step))
    loss_before, gradient_before = at.gradient({name: before[name] for name in step})
    loss_after, gradient_after = at.gradient(at.parameters)
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

    Four observations for three unknowns, by least squares. In s all four have the same unit, so
    the fit does not depend on the scale of the weights. Cockpit weights each by its variance over
    the batch; here all have equal weight, since the batch at both ends is the same.
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


def _run(target: ProbeTarget) -> tuple[StepFit, ...]:
    """Fit the next few training steps."""
    fits = []
    for _ in range(_STEPS):
        before = {name: p.detach().clone() for name, p in target.model.named_parameters()}
        batch = target.step()
        fits.append(step_alpha(target.model, before, *batch, target.loss))
    return tuple(fits)


def _known(fits: Sequence[StepFit]) -> list[float]:
    return [fit.alpha for fit in fits if not math.isnan(fit.alpha)]


def _summary(fits: Sequence[StepFit]) -> ProbeSummary:
    known = _known(fits)
    return spread(float(np.median(known)) if known else math.nan, known)


def _sentences(fits: Sequence[StepFit], batch_size: int) -> list[str]:
    known = _known(fits)
    if not known:
        return ["unknown: no step was made"]
    middle = float(np.median(known))
    if middle < -0.5:
        meaning = "the steps end well before the minimum along them"
    elif middle <= 0.5:
        meaning = "the steps end near the minimum along them"
    elif middle <= 1:
        meaning = "the steps end beyond the minimum along them"
    else:
        meaning = "the steps overshoot: the loss is higher at their end than at their start"
    ends = f"{min(known):+.2f} to {max(known):+.2f} over {numbers.count(len(known), 'step')}"
    return [f"median {middle:+.2f} ({ends}); 0 is the minimum: {meaning}"]


def _against(record: ProbeRecord, batch_size: int) -> str:
    return "0 is the minimum"


ALPHA = Probe(
    name="alpha",
    cost="five training steps, on a copy, and two passes for each",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="alpha", write=with_sign, against=_against),
    takes_steps=True,
)
