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
from gradcli.training.clock import PhaseClock


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step's loss, a number or (), and its parameters' gradient norms.

    `updated` is False where a non-finite value kept the update from being made. On an
    accelerator that is known only to the device: see `TrainingStep.deferred`.
    """

    loss: Tensor | float
    norms_before: Norms
    norms_after: Norms
    updated: bool


class TrainingStep:
    """Makes one training step at each call.

    Args:
        model: maps inputs (b, ...) to logits (b, classes).
        optimizer: of the model's parameters.
        gradients: of the model.
        clip: the clipping rule.
        clock: times the phases.
        bfloat16: whether the forward pass runs under bfloat16 autocast.

    Attributes:
        deferred: whether non-finite values are found by the device alone, as on an accelerator,
            so that nothing needs to wait for it: from the first one on its updates leave the
            weights as they are. On the CPU the host looks before each update.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        gradients: Gradients,
        clip: Clip,
        clock: PhaseClock,
        bfloat16: bool,
    ) -> None:
        self.optimizer, self.clip, self.clock = optimizer, clip, clock
        self.gradients = gradients
        # One factor for all gradients costs a fused optimizer nothing, and clipping a pass.
        gradients.leave_scaling = True
        self._update: Update | HeldUpdate = Update(optimizer)
        self._autograd = Autograd(model, gradients.device.type, bfloat16)
        self._written_out = None if bfloat16 else written_out(model)
        self.deferred = False
        if gradients.device.type != "cpu":
            self.defer()

    def defer(self) -> None:
        """Leave it to the device to make no update from the first non-finite value on."""
        self.deferred = True
        self._found_inf = torch.zeros((), device=self.gradients.device)
        if all(group.get("fused") for group in self.optimizer.param_groups):
            self.optimizer.found_inf = self._found_inf  # type: ignore[attr-defined]
        else:
            self._update = HeldUpdate(self.optimizer, self._found_inf)

    def __call__(self, inputs: Tensor, labels: Tensor, probe: LayerProbe | None) -> StepResult:
        """Train on one batch; `probe`, where given, measures the step as it happens."""
        clock = self.clock
        if probe is not None:
            # A view of the same batch, so that the first layer's input has a gradient too.
            inputs = inputs.detach().requires_grad_()
        passes = self._choose_passes(probe)
        with probe or passes.context:
            outputs = passes.forward(inputs)
            clock.lap("forward")
            loss = passes.loss(outputs, labels)
            clock.lap("loss")
            self.gradients.clear()
            passes.backward(loss)
            clock.lap("backward")
        before = self.gradients.norms()
        # On the CPU a number is at hand; on an accelerator it would have to be waited for.
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
        """Whether loss and gradients are finite, as far as the host knows without waiting."""
        if isinstance(norms, list) and not self.deferred:
            return math.isfinite(sum(norms, float(loss)))
        # Neither is below zero. A comparison is one operator, and `isfinite` four.
        finite = loss + as_tensor(norms).sum() < math.inf
        if not self.deferred:
            return bool(finite)
        self._found_inf.logical_or_(~finite)
        return True

    def _choose_passes(self, probe: LayerProbe | None) -> Autograd | WrittenOut:
        """Return the quicker passes, unless the model's modules must be seen at work."""
        quicker = self._written_out
        return quicker if quicker and probe is None and quicker.may_stand_in() else self._autograd
