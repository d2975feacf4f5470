"""The gradients of a batch's mean loss: in one pass or several, scaled or not."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradcli.fast.passes import Autograd, WrittenOut, written_out
from gradcli.gradients.layer_probe import LayerProbe
from gradcli.gradients.norms import Gradients, accumulator_dtype
from gradcli.gradients.observation import Observation
from gradcli.gradients.tensors import with_gradient
from gradcli.objectives import CROSS_ENTROPY, Objective
from gradcli.tracing.non_finite import in_parts
from gradcli.training.clock import PhaseClock
from gradcli.training.training_plan import PassPlan


class Differentiation:
    """Differentiates the loss of a batch; the gradients are left with the parameters.

    Args:
        model: maps inputs (b, ...) to outputs.
        objective: what is minimised.
        optimizer: of the model's parameters.
        gradients: of the model.
        clock: times the phases.
        plan: how many passes there are, and how they are made.

    Attributes:
        written_out: the passes that stand in for autograd's where they can; None without any.
        loss_scale: of float16; None for the other precisions.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        gradients: Gradients,
        clock: PhaseClock,
        plan: PassPlan,
    ) -> None:
        self._objective, self._gradients, self._clock = objective, gradients, clock
        self._micro_batch_size = plan.micro_batch_size
        device = gradients.device.type
        self._watched = Autograd(model, objective.loss, device, plan.autocast)
        self._usual = self._watched
        if plan.compiled:
            self._usual = Autograd(torch.compile(model), objective.loss, device, plan.autocast)
        plain = objective.loss is CROSS_ENTROPY.loss and plan == PassPlan()
        self.written_out = written_out(model) if plain else None
        self.loss_scale = ScaledLoss(optimizer, device) if plan.precision == "float16" else None

    def __call__(
        self, inputs: Tensor, targets: Tensor, probe: LayerProbe | Observation | None
    ) -> Tensor:
        """Set the parameters' gradients to those of the batch's mean loss, which is returned, ().

        Args:
            inputs: (b, ...).
            targets: (b, ...).
            probe: watches the passes.
        """
        if probe is not None:
            # A view of the same batch, so that the first layer's input also has a gradient.
            inputs = with_gradient(inputs)
        passes = self._choose_passes(probe)
        while True:
            with probe or passes.context:
                if self._micro_batch_size is None:
                    loss = of_last_pass = self._in_one_pass(passes, inputs, targets)
                else:
                    loss, of_last_pass = self._in_several_passes(passes, inputs, targets)
                if probe is not None:
                    probe.hand_over(of_last_pass)
                    probe.before_update()
            if self.loss_scale is None or not self.loss_scale.was_too_large(loss):
                return loss.detach()

    @property
    def scale(self) -> float:
        """What the loss of the last gradients was multiplied by, before it was removed again."""
        return 1.0 if self.loss_scale is None else self.loss_scale.used

    def state_dict(self) -> dict[str, float]:
        """Return what later steps depend on."""
        return {} if self.loss_scale is None else self.loss_scale.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from what `state_dict` returned."""
        if self.loss_scale is not None:
            self.loss_scale.load_state_dict(state)

    def _in_one_pass(
        self, passes: Autograd | WrittenOut, inputs: Tensor, targets: Tensor
    ) -> Tensor:
        outputs = passes.forward(inputs)
        self._clock.lap("forward")
        loss = passes.loss(outputs, targets)
        self._clock.lap("loss")
        self._gradients.clear()
        passes.backward(self._scaled(loss))
        self._clock.lap("backward")
        return loss

    def _in_several_passes(
        self, passes: Autograd | WrittenOut, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add up the gradients of micro-batches, and return the mean loss and that of the last one.

        Each micro-batch counts by its terms, of which a smaller last one, or one with targets to
        ignore, has fewer. The plain mean over micro-batches would be another gradient.
        """
        assert self._micro_batch_size is not None
        self._gradients.clear()
        whole = self._objective.terms(targets)
        mean = torch.zeros((), device=inputs.device, dtype=accumulator_dtype(inputs.device))
        for part, part_targets in in_parts(inputs, targets, self._micro_batch_size):
            outputs = passes.forward(part)
            self._clock.lap("forward")
            loss = passes.loss(outputs, part_targets)
            terms = self._objective.terms(part_targets)
            share = torch.as_tensor(terms, dtype=loss.dtype, device=loss.device) / whole
            # If no target of the part counts, its mean loss is 0 / 0.
            weighted = torch.where(share > 0, loss, 0.0) * share
            self._clock.lap("loss")
            passes.backward(self._scaled(weighted))
            mean += weighted.detach()
            self._clock.lap("backward")
        return mean, loss

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.loss_scale is None else self.loss_scale.scaled(loss)

    def _choose_passes(self, probe: object | None) -> Autograd | WrittenOut:
        """Return the quickest passes, unless something needs the modules to be called."""
        if probe is not None:
            return self._watched
        quicker = self.written_out
        return quicker if quicker is not None and quicker.may_stand_in() else self._usual


class ScaledLoss:
    """Multiplies the loss, so that float16 holds its gradients.

    Micikevicius et al. 2018, "Mixed precision training" (arXiv 1710.03740), section 3.2.

    The scale is a power of 2, so that removing it rounds nothing: `torch.amp.GradScaler`'s, which
    halves it if a gradient overflows and doubles it after 2000 updates without that. Where
    GradScaler leaves out the update, the passes are repeated with the lower scale: each batch
    makes one update, as with any other precision.

    The host waits for the device at each step, as with GradScaler.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device_type: str) -> None:
        self._optimizer = optimizer
        self._scaler = torch.amp.GradScaler(device_type)
        self.used = 1.0
        """What the loss of the last gradients was multiplied by."""

    def scaled(self, loss: Tensor) -> Tensor:
        """Return a loss, (), times the scale."""
        return self._scaler.scale(loss)

    def was_too_large(self, loss: Tensor) -> bool:
        """Remove the scale from the gradients; return whether a smaller one may make them finite.

        Args:
            loss: (), as it is without the scale.
        """
        self.used = self._scaler.get_scale()
        self._scaler.unscale_(self._optimizer)
        self._scaler.update()
        overflowed = self._scaler.get_scale() < self.used
        # Below 1, the scale would itself push small gradients out of float16's range.
        return overflowed and self.used > 1 and math.isfinite(loss.detach())

    def state_dict(self) -> dict[str, float]:
        """Return the scale, and for how long it has held."""
        state: dict[str, float] = self._scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from what `state_dict` returned."""
        self._scaler.load_state_dict(state)
