"""Measures the gradients of the user's own training loop, and emits records.

The loop calls `step` between its backward pass and its update. The optimizer's step hooks show
what it does to the gradients after that, and the update itself. Norms are read from `p.grad`,
never in a backward hook, when most gradients do not exist yet.

It only measures: the caller decides what to do with the records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.gradients.buffer import StepBuffer, select_rows
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Norms, on_host
from gradcli.gradients.observation import Observation
from gradcli.gradients.sharded_gradients import gradients_of
from gradcli.gradients.shards import local_part
from gradcli.monitor.clipping_watch import ClippingWatch, Measured, versions_of
from gradcli.monitor.loss_scale import LossScale
from gradcli.monitor.ranks import (
    Watch,
    process_count,
    refuse_unwatchable_shards,
    unless_elsewhere,
    watch_class,
)
from gradcli.monitor.step_numbers import counted_from, emitting_from
from gradcli.monitor.wrappers import (
    hook_updates,
    is_compiled,
    one_number,
    refuse_unwatchable,
    unwrap_model,
)
from gradcli.notation.faults import fault_message
from gradcli.records import FaultRecord, Floats, Record, StepRecords
from gradcli.tracing.after_update import place_after_update
from gradcli.tracing.fault_place import Place
from gradcli.tracing.non_finite import broken_parameters

_SECONDS_BETWEEN_FLUSHES = 1.0
# A scaler starts at 65536 and halves its scale at each overflow. Below 1 it makes gradients
# smaller, so it can no longer be the reason that they are not finite.
_SMALLEST_CALIBRATING_SCALE = 1.0


class LoopMonitor:
    """Measures a training loop from within, without changing what it computes.

    Args:
        model: any module; `torch.compile` and DDP are unwrapped.
        optimizer: of the model's parameters; if it is a wrapper, its `optimizer` is watched.
        emit: is called with each record.
        scaler: the loop's `torch.amp.GradScaler`; norms are then those without its scale.
        every: the updates from one `LayerRecord` to the next, which are closer together at the
            start; 0 for none.
        stop_on_fault: whether `step` raises at a non-finite value. On an accelerator it then
            waits for the device at each step.
        watch: `every_step` looks at the loss and the gradients of each step, and repeats the
            passes of the first that is not finite; `every_pass` looks at every value.
        start_step: the updates made before; the steps of records are counted from there.

    Attributes:
        layers: the model's layers.
        start_step: the updates made before; `updates`: those made since then.
        skipped: the updates that the scaler skipped.
        without_update: the measured steps that no update followed.
        since_update: those after the last update; `most_before_update`: the most before one.
        epoch: of the last step, from 1; 0 if the loop does not tell.
        fault: the first non-finite value that the scaler did not cause.
        last_is_finite: whether the last step that was emitted was finite.

    Raises:
        UserError: if the model or the optimizer cannot be watched, with the reason.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        emit: Callable[[Record], None],
        scaler: Any = None,
        every: int = 100,
        stop_on_fault: bool = False,
        watch: Watch = "every_step",
        start_step: int = 0,
    ) -> None:
        self.model = unwrap_model(model)
        refuse_unwatchable_shards(self.model, scaler, watch)
        refuse_unwatchable(self.model, optimizer)
        self.layers = find_layers(self.model)
        self.start_step, self.updates, self.skipped = start_step, 0, 0
        self.without_update = self.since_update = self.most_before_update = 0
        self.epoch = 0
        self.fault: FaultRecord | None = None
        self.last_is_finite = True

        self._emit, self._stop_on_fault = emitting_from(start_step, emit), stop_on_fault
        self._gradients = gradients_of(self.model, self.layers)
        self._processes = process_count()
        self._device = self._gradients.device
        self._buffer = StepBuffer(self._device)
        self._last_flush = -math.inf
        self._measured: Measured | None = None
        self._learning_rate = math.nan
        self._updates_under_way = 0
        self._passes_over = False
        self._after: Norms | None = None

        # Looking waits for an accelerator; `flush` does so anyway.
        self._looks = self._device.type == "cpu" or stop_on_fault or watch == "every_pass"
        watched = self.model, self.layers, self._device, self._before_forward
        self._forward = watch_class(watch, self.model)(*watched, waits=self._looks)
        self._optimizer, self._handles = hook_updates(
            optimizer, self._before_update, self._after_update
        )
        try:
            self._scale = LossScale(scaler, (optimizer, self._optimizer), self._device)
            self._clipping = ClippingWatch(self._gradients, self._scale)
            self._handles += self._forward.attach(model)
            # Hooks in compiled code would be compiled with it.
            compiled = is_compiled(model)
            self._observation = Observation(
                self.model,
                self.layers,
                self._optimizer,
                every=every,
                called=model if compiled else None,
                inside=not compiled,
            )
            self._observe_if_due()
        except Exception:
            self._remove_hooks()
            raise

    def step(self, loss: Tensor | float, epoch: int | None = None) -> None:
        """Measure the gradients as they are after the backward pass.

        Args:
            loss: of this step, one number, not multiplied by a scaler's scale.
            epoch: from 1; None keeps the epoch of the step before.

        Raises:
            UserError: if the loss is not one number, or there is no gradient at all.
            FloatingPointError: at a non-finite value, with `stop_on_fault`.
        """
        if self._updates_under_way and self._measured is not None:
            if self._measured.after is None:
                return  # LBFGS calls its closure again, at other weights
            self._updates_under_way = 0  # an update raised, and the loop continued
        self._supersede()
        if self._observation.is_attached:
            self._observation.hand_over(loss)
        self.epoch = self.epoch if epoch is None else epoch
        if not self.updates:
            self._refuse_no_gradient()
        self._forward.settle()
        gradients = self._gradients.current()
        self._measured = Measured(
            one_number(loss),
            self._clipping.norms(gradients),
            gradients,
            versions_of(gradients),
            self._scale.current(),
        )
        if self._looks:
            self._look(self._measured, loss)
        self._forward.forget()
        if self._stop_on_fault and self.fault is not None:
            raise FloatingPointError(fault_message(counted_from(self.start_step, self.fault)))

    def pass_over(self) -> None:
        """Allow the next update to have no measurement, even if it is the first."""
        self._passes_over = True

    def flush(self) -> None:
        """Emit the steps since the last flush: on an accelerator, the only transfer to the host."""
        self._last_flush = perf_counter()
        if not len(self._buffer):
            return
        records = self._buffer.flush({})
        self._clipping.check_trust(records)
        if self._scale.active:
            records = self._without_skipped(records)
        if not len(records):
            return
        self._emit(records)
        finite = np.isfinite(records.grad_norm_before_clip) & np.isfinite(records.loss)
        self.last_is_finite = bool(finite[-1])
        if not finite.all():
            row = int(np.argmin(finite))
            norms = records.parameter_grad_norm_before_clip[row]
            self._note_fault(int(records.step[row]), float(records.loss[row]), norms)

    def close(self) -> None:
        """Emit what is left and remove all hooks; safe to call again."""
        self._remove_hooks()
        self._observation.detach()
        self._forward.settle()
        measured, number = self._measured, self.updates + 1
        if measured is not None:
            self._look(measured)
            if self.fault is not None and self.fault.step == number:
                # The loop stopped there: the step is recorded, although its update was not made.
                self._append(number, measured, measured.before)
                self._measured = None
        self.flush()
        self._supersede()
        self._look_at_weights()

    @property
    def steps(self) -> int:
        """The updates made in all, with those before `start_step`."""
        return self.start_step + self.updates

    @property
    def optimizer_name(self) -> str:
        """The class of the optimizer that makes the updates."""
        return type(self._optimizer).__name__

    # What the hooks call, in the order of a step.

    def _before_forward(self) -> None:
        if self._measured is not None:
            self._measured.gradients = None

    def _observe_if_due(self) -> None:
        """Watch the passes up to the next update, if it is to be observed."""
        if self._observation.at(self.updates + 1) is not None:
            self._observation.attach()
        elif self._observation.is_attached:
            self._observation.detach()

    def _before_update(self, *_: Any) -> None:
        self._updates_under_way += 1
        if self._updates_under_way > 1:
            return  # the `step` of a subclass calls its parent's
        if self._measured is not None:
            self._measured.after = self._clipping.norms_after(self._measured, self.updates)
        # If it is a tensor on an accelerator (`capturable`), this waits for the device.
        self._learning_rate = float(self._optimizer.param_groups[0].get("lr", math.nan))
        if self._observation.is_attached:
            self._observation.before_update()

    def _after_update(self, *_: Any) -> None:
        self._updates_under_way -= 1
        if self._updates_under_way:
            return
        self._forward.updated()
        measured, self._measured = self._measured, None
        if measured is None:
            self._pass_over()
            return
        # If a closure ran the backward pass and `step` in the update, the gradients still exist.
        after = measured.after
        if after is None:
            after = self._clipping.norms_after(measured, self.updates)
        observed = self._observation.is_attached
        if observed and self._scale.active:
            self.flush()  # it may count updates that the scaler skipped
        self.updates += 1
        self.most_before_update = max(self.most_before_update, self.since_update)
        self.since_update = 0
        self._after = after
        self._append(self.updates, measured, after)
        if observed:
            self._emit_observed(measured)
        elif self._buffer.full or perf_counter() - self._last_flush > _SECONDS_BETWEEN_FLUSHES:
            self.flush()
        self._observe_if_due()

    def _pass_over(self) -> None:
        """Count an update without a measurement."""
        if not (self.updates or self._passes_over):
            raise UserError(
                "The optimizer made an update before the first monitor.step(loss).",
                where="optimizer.step()",
                hint="loss.backward(); monitor.step(loss); optimizer.step()",
            )
        self.updates += 1
        self._observe_if_due()

    def _emit_observed(self, measured: Measured) -> None:
        number = self.updates
        scale = 1.0 if measured.scale is None else measured.scale.item()
        records = self._observation.records(number, scale)
        self.flush()
        if self.updates == number:  # otherwise the scaler skipped this update
            for record in records:
                self._emit(record)

    # What is measured.

    def _append(self, number: int, measured: Measured, after: Norms) -> None:
        if measured.distrusted:
            self._clipping.note_row(len(self._buffer))
        self._buffer.append(
            number, self.epoch, self._learning_rate, measured.loss, measured.before, after
        )

    # Steps that are not finite, or have no update.

    def _look(self, measured: Measured, loss_graph: Tensor | float | None = None) -> None:
        """Look for a fault on the host, while the inputs of the model are known."""
        loss = float(measured.loss)
        if math.isfinite(loss + _sum(measured.before)):
            return
        if self._scale.active and math.isfinite(loss):
            return  # infinite gradients are how a scaler finds its scale
        self._note_fault(self.updates + 1, loss, on_host(measured.before), loss_graph)

    def _note_fault(
        self, step: int, loss: float, norms: Floats, loss_graph: Tensor | float | None = None
    ) -> None:
        """Emit the first fault; `norms` (P,) are those before clipping."""
        if self.fault is not None:
            return
        broken = broken_parameters(self.layers, norms)
        graph = loss_graph if isinstance(loss_graph, Tensor) else None
        place = unless_elsewhere(self._forward.place(loss, graph, broken), self._processes)
        if place.phase == "parameters" and self.updates and place.tensor in self._updated():
            self._emit_fault(step - 1, loss, self._of_the_update(place))
        else:
            self._emit_fault(step, loss, place)

    def _emit_fault(self, step: int, loss: float, place: Place) -> None:
        self.fault = place.record(step, self.epoch, loss)
        self._emit(self.fault)

    def _look_at_weights(self) -> None:
        """Look for a weight that the last update made non-finite: no later step shows it."""
        if self.fault is not None or not self.updates:
            return
        for layer in self.layers:
            for parameter in layer.parameters:
                value = local_part(self.model.get_parameter(parameter.name))
                if parameter.name in self._updated() and not bool(torch.isfinite(value).all()):
                    place = Place("update", layer.name, tensor=parameter.name)
                    place = self._of_the_update(place)
                    self._emit_fault(self.updates, math.nan, place)
                    self.last_is_finite = False
                    return

    def _of_the_update(self, place: Place) -> Place:
        """Return the place of a parameter that the last update made non-finite, with the reason."""
        if self._after is not None and not math.isfinite(sum(on_host(self._after))):
            reason = "the loop made its gradients non-finite after monitor.step, before the update"
            return replace(place, phase="update", cause=reason)
        return place_after_update(place, self._optimizer, self.model)

    def _updated(self) -> frozenset[str]:
        """Return the names of the parameters that the optimizer updates."""
        held = {id(one) for group in self._optimizer.param_groups for one in group["params"]}
        return frozenset(name for name, one in self.model.named_parameters() if id(one) in held)

    def _supersede(self) -> None:
        """Forget a measurement that no update followed, but count an update that was skipped."""
        measured, self._measured = self._measured, None
        if measured is None:
            return
        self.without_update += 1
        self.since_update += 1
        # A loop may also measure each part of an accumulation, which is not a skipped update.
        if measured.scale is not None and self._scale.value() < measured.scale.item():
            self._count_skipped(1, float(measured.loss), on_host(measured.before))

    def _without_skipped(self, records: StepRecords) -> StepRecords:
        """Remove the steps that a fused optimizer was called for but did not make."""
        made = np.isfinite(records.grad_norm_before_clip)
        if made.all():
            return records
        skipped = np.cumsum(~made)
        self.updates -= int(skipped[-1])
        last = int(np.flatnonzero(~made)[-1])
        norms = records.parameter_grad_norm_before_clip[last]
        self._count_skipped(int(skipped[-1]), float(records.loss[last]), norms)
        return select_rows(replace(records, step=records.step - skipped), made)

    def _count_skipped(self, count: int, loss: float, norms: Floats) -> None:
        self.skipped += count
        if self._scale.value() < _SMALLEST_CALIBRATING_SCALE:
            self._note_fault(self.updates + 1, loss, norms)

    def _refuse_no_gradient(self) -> None:
        if all(parameter.grad is None for parameter in self._gradients.parameters):
            raise UserError(
                "No parameter of the model has a gradient.",
                where="monitor.step(loss)",
                hint="call it after loss.backward() and before optimizer.zero_grad()",
            )

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _sum(norms: Norms) -> float:
    return sum(norms) if isinstance(norms, list) else norms.sum().item()
