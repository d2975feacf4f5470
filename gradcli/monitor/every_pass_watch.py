"""Looks at every value of every pass of the user's own loop, as it is made.

It names the place of a non-finite value where a repeated pass cannot: on an accelerator, in a model
whose output depends on the passes before, between modules that the loop calls one by one, in the
loss. Each operation is checked and waited for, so a step takes several times as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.errors import UserError
from gradcli.fast.dispatch import current_dispatch_mode, is_any_mode_active
from gradcli.monitor.forward_watch import ForwardWatch
from gradcli.monitor.wrappers import is_compiled
from gradcli.records import LayerInfo
from gradcli.tracing.backward_trace import BackwardTrace
from gradcli.tracing.fault_place import Place
from gradcli.tracing.nested_tensors import all_finite, tensors_in
from gradcli.tracing.non_finite import nearest_the_loss, of_a_hook
from gradcli.tracing.pass_trace import PassTrace, in_backward
from gradcli.tracing.replay import argument_names

_MOST_PASSES = 1024


@dataclass(slots=True)
class _Pass:
    """What was found in one forward pass."""

    number: int
    forward: Place | None = None
    loss: Place | None = None


class EveryPassWatch(ForwardWatch):
    """Watches every operation of the passes that gradients may flow through.

    The arguments are those of `ForwardWatch`.

    Raises:
        UserError: in `attach`, if a part of the model is compiled.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[LayerInfo, ...],
        device: torch.device,
        on_forward: Callable[[], None],
        *,
        waits: bool,
    ) -> None:
        super().__init__(model, layers, device, on_forward, waits=waits)
        self._trace, self._graph = PassTrace(model), BackwardTrace(model)
        self._passes: deque[_Pass] = deque(maxlen=_MOST_PASSES)
        self._backward: list[tuple[int, Place]] = []
        self._now: _Pass | None = None
        self._first: nn.Module | None = None
        self._count = 0
        self._entered_mode = False
        self._spans_loss = False

    def attach(self, outer: nn.Module) -> list[RemovableHandle]:
        """Watch the model and all its modules; `outer` is the model, or a wrapper around it."""
        if is_compiled(outer):
            raise UserError(
                "The values within a compiled model cannot be watched.",
                where='watch="every_pass"',
                hint="watch the model before torch.compile",
            )
        handles = super().attach(outer)
        for module in self._model.modules():
            handles.append(module.register_forward_pre_hook(_Entered(self), with_kwargs=True))
            handles.append(module.register_forward_hook(_Left(self), always_call=True))
        return handles

    def settle(self) -> None:
        """End the tracing of the pass before, including its loss."""
        self._finish_pass()
        self._leave_mode()

    def forget(self) -> None:
        """Release the inputs of the passes that have been measured."""
        super().forget()
        self._trace.begin({})
        self._trace.active = False

    def updated(self) -> None:
        """Begin the passes of the next update."""
        super().updated()
        self._passes.clear()
        self._backward = []
        self._first, self._count = None, 0

    def place(self, loss: float, loss_graph: Tensor | None, broken: frozenset[str]) -> Place:
        """Find the first non-finite value among those seen; see `ForwardWatch.place`."""
        for one in self._passes:
            if one.forward is not None:
                return self._numbered(one.forward, one.number)
        if not isfinite(loss):
            for one in self._passes:
                if one.loss is not None:
                    return self._numbered(one.loss, one.number)
            return Place("loss", unsure="all values seen in the passes were finite")
        if self._backward:
            number, place = self._backward[0]
            return self._numbered(place, number)
        if self._passes and broken:
            return of_a_hook(self._layers, broken)
        reason = "no forward pass was seen"
        return nearest_the_loss(self._layers, broken, tuple(self._trace.entered), reason)

    def enter_module(self, module: nn.Module, given: tuple[Any, ...], keywords: Any) -> None:
        """Note that the loop, or another module, calls `module`."""
        if not self._trace.depth:
            if not torch.is_grad_enabled() or in_backward():
                return
            if module is self._model or self._first in (None, module) or self._now is None:
                self._begin_pass(module, given, keywords)
            self._enter_mode()
        self._trace.enter_module(module)
        self._graph.enter_module(module, (given, keywords))

    def leave_module(self, module: nn.Module, output: Any) -> None:
        """Note that `module` returned `output`."""
        if not self._trace.depth:
            return
        self._trace.leave_module(module, output)
        self._graph.leave_module(output)
        if self._trace.depth:
            return
        if not self._spans_loss:
            self._leave_mode()
        self._graph.watch()
        for tensor in tensors_in(output):
            if tensor.requires_grad:
                tensor.register_hook(self._backward_begins)  # type: ignore[no-untyped-call]

    def _begin_pass(self, module: nn.Module, given: tuple[Any, ...], keywords: Any) -> None:
        self._finish_pass()
        self._count += 1
        self._now, self._first = _Pass(self._count), module
        self._passes.append(self._now)
        names = argument_names(module, given)
        self._trace.begin({**dict(zip(names, given, strict=True)), **keywords})
        found, number = self._backward, self._count
        self._graph = BackwardTrace(self._model, lambda place: found.append((number, place)))

    def _finish_pass(self) -> None:
        if self._now is not None:
            finding = self._trace.finding
            self._now.forward = finding.nan or finding.infinity
            self._now.loss = self._trace.after_the_model()
            self._now = None

    def _backward_begins(self, gradient: Tensor) -> None:
        """Look at the gradient w.r.t. an output: what comes next is the model's backward pass."""
        if not self._backward and not all_finite([gradient]):
            place = Place(
                "backward", None, cause=f"the loss function passes back {_kind(gradient)}"
            )
            self._backward.append((self._count, place))

    def _numbered(self, place: Place, number: int) -> Place:
        return replace(place, forward_pass=number, forward_passes=self._count)

    def _enter_mode(self) -> None:
        if not self._entered_mode:
            # A mode of the loop's own would be left in the wrong order if it ended before the loss.
            self._spans_loss = not is_any_mode_active()
            self._trace.__enter__()  # type: ignore[no-untyped-call]
            self._entered_mode = True

    def _leave_mode(self) -> None:
        if self._entered_mode and current_dispatch_mode() is self._trace:
            self._trace.__exit__(None, None, None)
            self._entered_mode = False


class _Entered:
    """A forward pre-hook that does nothing in deep copies and saved copies of its model."""

    def __init__(self, watch: EveryPassWatch | None) -> None:
        self._watch = watch

    def __call__(self, module: nn.Module, given: tuple[Any, ...], keywords: Any) -> None:
        if self._watch is not None:
            self._watch.enter_module(module, given, keywords)

    def __reduce__(self) -> tuple[type[_Entered], tuple[None]]:
        return _Entered, (None,)


class _Left:
    """A forward hook that does nothing in deep copies and saved copies of its model."""

    def __init__(self, watch: EveryPassWatch | None) -> None:
        self._watch = watch

    def __call__(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if self._watch is not None:
            self._watch.leave_module(module, output)

    def __reduce__(self) -> tuple[type[_Left], tuple[None]]:
        return _Left, (None,)


def _kind(gradient: Tensor) -> str:
    return "NaN" if bool(gradient.isnan().any()) else "an infinite gradient"
