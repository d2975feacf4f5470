"""The training step: forward, loss, backward, measure, clip, update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcli.fast.passes import Autograd, WrittenOut, written_out
from gradcli.fast.update import HeldUpdate, Update
from gradcli.gradients.clipping import Clip
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.gradients.norms import Gradients, Norms, as_tensor
from gradcli.gradients.observation import Observation
from gradcli.gradients.tensors import with_gradient
from gradcli.objectives import CROSS_ENTROPY, Objective
from gradcli.training.clock import PhaseClock


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
        bfloat16: whether the forward pass runs under bfloat16 autocast.

    Attributes:
        deferred: whether only the device checks for non-finite values, as on an accelerator, so
            that the host need not wait for it. From the first such value on, updates leave the
            weights unchanged. On the CPU the host checks before each update.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        gradients: Gradients,
        clip: Clip,
        clock: PhaseClock,
        bfloat16: bool,
    ) -> None:
        self.optimizer, self.clip, self.clock = optimizer, clip, clock
        self.gradients = gradients
        # A fused optimizer applies one factor to all gradients for free; clipping needs a pass.
        gradients.leave_scaling = True
        self._update: Update | HeldUpdate = Update(optimizer)
        self._autograd = Autograd(model, objective.loss, gradients.device.type, bfloat16)
        as_written = objective.loss is CROSS_ENTROPY.loss and not bfloat16
        self._written_out = written_out(model) if as_written else None
        self.deferred = False
        if gradients.device.type != "cpu":
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
        if probe is not None:
            # A view of the same batch, so that the first layer's input also has a gradient.
            inputs = with_gradient(inputs)
        passes = self._choose_passes(probe)
        with probe or passes.context:
            outputs = passes.forward(inputs)
            clock.lap("forward")
            loss = passes.loss(outputs, targets)
            clock.lap("loss")
            self.gradients.clear()
            passes.backward(loss)
            clock.lap("backward")
            if probe is not None:
                probe.hand_over(loss)
                probe.before_update()
        before = self.gradients.norms()
        # On the CPU this is cheap; on an accelerator the host would have to wait for it.
        value = loss.item() if isinstance(before, list) else loss.detach()
        if not self._is_finite(value, before):
            clock.lap("monitor")
            return StepResult(value, before, before, updated=False)
        clock.lap("monitor")
        after = self.clip(self.gradients, before)
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

    def _choose_passes(self, probe: object | None) -> Autograd | WrittenOut:
        """Return the written-out passes, unless something needs the modules to be called."""
        quicker = self._written_out
        return quicker if quicker and probe is None and quicker.may_stand_in() else self._autograd
