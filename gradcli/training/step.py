"""The training step: differentiate, measure, clip, update."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcli.fast.update import HeldUpdate, Update
from gradcli.gradients.clipping import Clip
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.gradients.norms import Gradients, Norms, as_tensor
from gradcli.gradients.observation import Observation
from gradcli.objectives import Objective
from gradcli.optim import evaluates_loss
from gradcli.training.clock import PhaseClock
from gradcli.training.differentiation import Differentiation
from gradcli.training.training_plan import PassPlan


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step's loss, a number or (), and its parameters' gradient norms.

    `updated` is False if a non-finite value prevented the update. On an accelerator only the
    device knows that: see `TrainingStep.deferred`.
    """

    loss: Tensor | float
    norms_before: Norms
    norms_after: Norms
    updated: bool


class TrainingStep:
    """Makes one training step at each call.

    Args:
        model: maps inputs (b, ...) to outputs.
        objective: what is minimised.
        optimizer: of the model's parameters.
        gradients: of the model.
        clip: the clipping rule.
        clock: times the phases.
        plan: how the gradients are computed.

    Attributes:
        differentiate: computes them.
        deferred: whether only the device checks for non-finite values, as on an accelerator, so
            that the host need not wait for it. From the first such value on, updates leave the
            weights unchanged. On the CPU the host checks before each update; so it does everywhere
            with a loss scale, and with an optimizer that evaluates the loss, which wait anyway.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        gradients: Gradients,
        clip: Clip,
        clock: PhaseClock,
        plan: PassPlan,
    ) -> None:
        self.optimizer, self.clip, self.clock = optimizer, clip, clock
        self.gradients = gradients
        self.differentiate = Differentiation(model, objective, optimizer, gradients, clock, plan)
        self._evaluates_loss = evaluates_loss(type(optimizer))
        # A fused optimizer applies one factor to all gradients for free; clipping needs a pass.
        gradients.leave_scaling = not self._evaluates_loss
        self._update: Update | HeldUpdate = Update(optimizer)
        self.deferred = False
        waits = self._evaluates_loss or self.differentiate.loss_scale is not None
        if gradients.device.type != "cpu" and not waits:
            self.defer()

    def defer(self) -> None:
        """Let the device stop updates from the first non-finite value on."""
        self.deferred = True
        self._found_inf = torch.zeros((), device=self.gradients.device)
        if all(group.get("fused") for group in self.optimizer.param_groups):
            self.optimizer.found_inf = self._found_inf  # type: ignore[attr-defined]
        else:
            self._update = HeldUpdate(self.optimizer, self._found_inf)

    def __call__(
        self, inputs: Tensor, targets: Tensor, probe: LayerProbe | Observation | None
    ) -> StepResult:
        """Train on one batch; a `probe` watches the step."""
        clock = self.clock
        loss = self.differentiate(inputs, targets, probe)
        before = self.gradients.norms()
        # On the CPU this is cheap; on an accelerator the host would have to wait for it.
        value = loss.item() if isinstance(before, list) else loss
        if not self._is_finite(value, before):
            clock.lap("monitor")
            return StepResult(value, before, before, updated=False)
        clock.lap("monitor")
        after = self.clip(self.gradients, before)
        if self._evaluates_loss:
            self.optimizer.step(self._closure(inputs, targets, value))
        else:
            self._update(self.gradients.take_factor())
        clock.lap("update")
        return StepResult(value, before, after, updated=True)

    def _is_finite(self, loss: Tensor | float, norms: Norms) -> bool:
        """Whether loss and gradients are finite; if only the device knows, flag it there."""
        if isinstance(norms, list) and not self.deferred:
            return math.isfinite(sum(norms, float(loss)))
        # Neither is negative, so one comparison will do; `isfinite` takes four operators.
        finite = loss + as_tensor(norms).sum() < math.inf
        if not self.deferred:
            return bool(finite)
        self._found_inf.logical_or_(~finite)
        return True

    def _closure(
        self, inputs: Tensor, targets: Tensor, loss: Tensor | float
    ) -> Callable[[], float]:
        """Return what an optimizer calls for the loss, with the clipped gradients, of a batch.

        The first evaluation has been made, with the norms that are on record.
        """
        made = [float(loss)]

        def evaluate() -> float:
            if made:
                return made.pop()
            value = self.differentiate(inputs, targets, None)
            self.clip(self.gradients, self.gradients.norms())
            return float(value)

        return evaluate
