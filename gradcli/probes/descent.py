"""Probe: the loss along the negative gradient: whether it falls, and how far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradcli.notation import numbers
from gradcli.notation.panels import BLUE, ORANGE, VERMILION, finite_or_gap, legend_above
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from gradcli.objectives import LossFunction

# From a step so short that the loss is a straight line to one as long as the weights, with four
# lengths per factor of ten.
_RELATIVE_LENGTHS = np.logspace(-6, 0, 25)


@dataclass(frozen=True, slots=True)
class DescentCurve:
    """The loss of one batch at weights - step * gradient, for n steps, shortest first."""

    steps: NDArray[np.float64]
    """What multiplies the gradient, (n,): a learning rate of plain gradient descent."""
    relative_lengths: NDArray[np.float64]
    """||step * gradient|| / ||weights||, (n,)."""
    losses: NDArray[np.float64]
    """The losses there, (n,); not finite if the step overflows."""
    start_loss: float
    """The loss at the weights."""
    slope: float
    """The derivative of the loss with respect to the step at 0: -||gradient||^2."""
    best_step: float
    """The step with the lowest loss; 0 if none is lower than the start."""
    best_loss: float
    descends_to: float
    """The longest step up to which every loss is below the start; 0 if not even the shortest
    step lowers the loss."""

    @property
    def descends(self) -> bool:
        """Whether the negative gradient lowers the loss, as it must for short enough steps."""
        return self.descends_to > 0


def loss_along_gradient(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: LossFunction | None = None,
    dtype: torch.dtype | None = None,
) -> DescentCurve:
    """Evaluate the batch's loss at 25 steps along its own negative gradient.

    The steps are spaced evenly in their logarithm, from 1e-6 to 1 times the norm of the weights.
    Costs one forward-backward and 25 forward passes, in float64 by default because the shortest
    steps change the loss by less than float32 resolves: 20 to 40 float32 forward-backward
    passes, and 100 for convolutions.

    Args:
        model: maps inputs to outputs.
        inputs: a batch, (b, ...).
        targets: its targets, (b, ...).
        loss: of outputs and targets, (); None is cross-entropy.
        dtype: what to compute in; None is float64.

    Returns:
        The curve; all its steps are NaN if the gradient is zero or not finite.
    """
    import torch

    from gradcli.objectives.shipped import cross_entropy
    from gradcli.probes.measuring.batch_loss import BatchLoss, dot

    at = BatchLoss(model, inputs, targets, loss or cross_entropy, dtype or torch.float64)
    start, gradient = at.gradient(at.parameters)
    squared = dot(gradient, gradient)
    usable = 0 < squared < math.inf
    weight_norm = math.sqrt(dot(at.parameters, at.parameters)) or 1.0
    steps = _RELATIVE_LENGTHS * (weight_norm / math.sqrt(squared) if usable else math.nan)
    with torch.no_grad():
        losses = np.array(
            [
                float(at({n: p - step * gradient[n] for n, p in at.parameters.items()}))
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


def _run(target: ProbeTarget) -> DescentCurve:
    return loss_along_gradient(target.model, *target.batches[0], loss=target.loss)


def _summary(curve: DescentCurve) -> ProbeSummary:
    """Return the step with the lowest loss, from 0 to the longest that stays below the start."""
    return ProbeSummary(curve.best_step, 0.0, curve.descends_to)


def _sentences(curve: DescentCurve, batch_size: int) -> list[str]:
    if not curve.descends:
        return ["the negative gradient does not lower the loss, not even in the shortest step"]
    best = int(np.argmin(np.abs(curve.steps - curve.best_step)))
    length = numbers.share(float(curve.relative_lengths[best]))
    return [
        f"along the negative gradient the loss falls from {numbers.score(curve.start_loss)} to "
        f"{numbers.score(curve.best_loss)}, at {numbers.norm(curve.best_step)} times the "
        f"gradient ({length} of the weights' norm)",
        f"it stays below its start up to {numbers.norm(curve.descends_to)} times the gradient",
    ]


def _draw(figure: Figure, curve: DescentCurve) -> None:
    """Draw the loss over the length of a step along the negative gradient."""
    axes = figure.add_subplot()
    figure.suptitle("The loss along the negative gradient")
    if not math.isfinite(curve.start_loss):
        axes.text(0.5, 0.5, "the loss is not finite", transform=axes.transAxes, ha="center")
        return
    lengths, losses = curve.relative_lengths, finite_or_gap(curve.losses)
    axes.plot(lengths, losses, color=BLUE, marker="o", markersize=3, label="loss of the batch")
    axes.axhline(curve.start_loss, color="black", linewidth=1, label="at the weights")
    with np.errstate(invalid="ignore"):
        tangent = curve.start_loss + curve.slope * curve.steps
    axes.plot(lengths, tangent, "--", color=ORANGE, label="what the gradient predicts")
    if curve.descends:
        best = int(np.argmin(np.abs(curve.steps - curve.best_step)))
        label = f"lowest: {curve.best_loss:.4g}, {curve.best_step:.3g} times the gradient"
        axes.plot(lengths[best], curve.best_loss, "D", color=VERMILION, label=label)
    axes.set_xlim(lengths[0], lengths[-1])
    axes.set_xscale("log")
    axes.set_ylim(*_loss_range(curve))
    axes.grid(alpha=0.3)
    legend_above(axes, columns=2)
    axes.set_xlabel("length of the step, relative to the norm of the weights")
    axes.set_ylabel("loss (nats)")


def _loss_range(curve: DescentCurve) -> tuple[float, float]:
    """Return the losses to show: the descent, and as much above the start as below."""
    fall = max(curve.start_loss - curve.best_loss, 0.05 * abs(curve.start_loss), 1e-12)
    return curve.best_loss - 0.15 * fall, curve.start_loss + fall


DESCENT = Probe(
    name="descent",
    cost="one, and 25 forward ones, in float64",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="best step downhill", write=numbers.norm, logarithmic=True),
    draw=_draw,
)
