"""Observes in a training step how the training is set up: what is called, in which mode, on what.

Everything is read in passing, by hooks that exist for one step. Numbers are kept, never tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.fast.backward_pass import current_backward_pass
from gradcli.gradients.backward_log import BackwardLog, Hook
from gradcli.gradients.forward_call import ForwardCall, count_per_pass, cut_off, has_single_path
from gradcli.gradients.layers import layer_module, layer_parameters
from gradcli.gradients.loss_graph import (
    broadcast_to,
    loss_path,
    mark,
    mark_call,
    mark_output,
    own_functions,
)
from gradcli.gradients.set_up import (
    depends_on_mode,
    has_identical_units,
    has_unmade_statistics,
    largest_dropout,
    parameter_groups,
    replaced_layers,
    weight_gain,
)
from gradcli.gradients.tensors import main_tensor, row_sums, tensor_range, tensors_in
from gradcli.records import LayerInfo, ParameterGroup, SetupRecord


@dataclass(slots=True)
class _Seen:
    """What is known once the loss of a step was handed over."""

    call: ForwardCall
    output_grad_norm: float = math.nan
    usual_target: tuple[int, float] = (-1, math.nan)
    targets_seen: int = 0
    eval_mode: tuple[str, ...] = ()
    unmade: tuple[str, ...] = ()
    requires_grad: tuple[bool, ...] = ()
    path: tuple[str, ...] = ()
    output_at: int = -1
    without_gradient: tuple[int, ...] = ()
    weight_gains: tuple[float, ...] = ()
    identical_units: tuple[int, ...] = ()
    dropout: tuple[str, float] = ("", 0.0)
    own_functions: tuple[tuple[str, int], ...] = ()
    broadcast_to: tuple[int, ...] = ()
    single_path: bool | None = None
    cut_off: tuple[tuple[int, int, int], ...] = ()
    kept_elsewhere: tuple[int, ...] = ()
    watched: bool = False
    kept: bool = False


class SetupWatch:
    """Observes one training step of a model.

    Args:
        model: the model.
        layers: its layers.
        called: what the loop calls as its model: `model`, or a wrapper of it.
        log: of the backward passes.
        inside: whether the modules inside may be hooked.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[LayerInfo, ...],
        called: nn.Module,
        log: BackwardLog,
        *,
        inside: bool = True,
    ) -> None:
        self._model, self._called, self._log, self._inside = model, called, log, inside
        self._layers = layers
        self._modules = [layer_module(model, layer) for layer in layers]
        self._parameters = layer_parameters(model, layers)
        self._handles: list[RemovableHandle] = []
        self._updates_watched = self._not_cleared = 0
        self._groups: tuple[ParameterGroup, ...] = ()
        self._replaced: tuple[int, ...] = ()
        self._calls: list[ForwardCall] = []
        self._loose = ForwardCall()
        self._open = 0
        self._seen = _Seen(self._loose)

    def attach(self) -> None:
        """Hook the model until `detach`."""
        self.detach()
        self._calls, self._loose, self._open = [], ForwardCall(), 0
        self._seen = _Seen(self._loose)
        add = self._handles.append
        # A model compiled in place would compile the hooks, too.
        if getattr(self._called, "_compiled_call_impl", None) is None:
            add(self._called.register_forward_pre_hook(_Begin(self), with_kwargs=True))
            add(self._called.register_forward_hook(_End(self), always_call=True))
        if not self._inside:
            return
        for index, module in enumerate(self._modules):
            add(module.register_forward_pre_hook(_Called(self, index)))
            add(module.register_forward_hook(_Returned(self, index)))
        for name, module in self._model.named_modules():
            if depends_on_mode(module):
                add(module.register_forward_hook(_Mode(self._log, name)))

    def detach(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def hand_over(self, loss: Any) -> None:
        """Note what is known after the backward pass of `loss`, a number or a tensor."""
        events = self._log.counted()
        norms = {key[1]: value for key, value in events if _is(key, "output")}
        # Outputs of layers that the loop calls itself count down from -1.
        passes = [index for index in norms if index >= 0]
        latest = max(passes) if passes else min(norms, default=None)
        call = self._calls[latest] if passes and latest is not None else self._loose
        if not (norms or call.calls or not self._calls):
            call = self._calls[-1]
        count_per_pass(call)
        root = getattr(loss, "grad_fn", None)
        path, output_at = loss_path(root)
        label, seen, share = next(
            (
                (key[2], key[3], share)
                for key, share in events
                if _is(key, "target") and key[1] == latest
            ),
            (-1, 0, math.nan),
        )
        self._seen = _Seen(
            call=call,
            output_grad_norm=math.nan if latest is None else norms[latest],
            usual_target=(label, share),
            targets_seen=seen,
            eval_mode=tuple(dict.fromkeys(key[1] for key, _ in events if _is(key, "eval"))),
            unmade=tuple(dict.fromkeys(key[1] for key, _ in events if _is(key, "unmade"))),
            requires_grad=tuple(parameter.requires_grad for parameter in self._parameters),
            path=path,
            output_at=output_at,
            without_gradient=tuple(
                index for index, one in enumerate(self._parameters) if one.grad is None
            ),
            weight_gains=tuple(map(weight_gain, self._modules)),
            identical_units=tuple(
                index for index, module in enumerate(self._modules) if has_identical_units(module)
            ),
            dropout=largest_dropout(self._model),
            own_functions=own_functions(root),
            broadcast_to=broadcast_to(root),
            single_path=has_single_path(root, call),
            cut_off=() if latest is None or latest < 0 else cut_off(root, latest, call),
            kept_elsewhere=tuple(sorted(self._log.kept_elsewhere)),
            watched=self._log.added,
            kept=self._log.kept,
        )

    def before_update(self, optimizer: Any) -> None:
        """Note what the optimizer is about to do."""
        self._groups = parameter_groups(optimizer, self._parameters)
        self._replaced = replaced_layers(self._model, self._layers, self._parameters, optimizer)

    def record(self, updates_before: int, scale: float = 1.0) -> SetupRecord:
        """Return what was observed in the step.

        Args:
            updates_before: the updates made before.
            scale: what the loss was multiplied by for the backward pass.
        """
        # Before the first update, gradients may be from before the training.
        seen, call = self._seen, self._seen.call
        if updates_before and seen.watched:
            self._updates_watched += 1
            self._not_cleared += seen.kept
        calls = tuple(call.calls.get(index, 0) for index in range(len(self._modules)))
        return SetupRecord(
            step=updates_before,
            groups=self._groups,
            requires_grad=seen.requires_grad,
            call_order=tuple(call.order),
            calls=calls if call.calls else (),
            single_path=seen.single_path,
            eval_mode=seen.eval_mode,
            unmade_statistics=seen.unmade,
            inputs=call.inputs,
            outputs=call.outputs,
            output_sums=call.output_sums,
            output_grad_norm=seen.output_grad_norm * math.sqrt(call.rows) / scale,
            usual_target=seen.usual_target,
            targets_seen=seen.targets_seen,
            loss_path=seen.path,
            output_at=seen.output_at,
            without_gradient=seen.without_gradient,
            weight_gains=seen.weight_gains,
            identical_units=seen.identical_units,
            dropout=seen.dropout,
            own_functions=seen.own_functions,
            cut_off=seen.cut_off,
            kept_elsewhere=seen.kept_elsewhere,
            replaced=self._replaced,
            broadcast_to=seen.broadcast_to,
            updates_watched=self._updates_watched,
            not_cleared=self._not_cleared,
        )

    @property
    def call_order(self) -> tuple[int, ...]:
        """The layers in the order in which they were called, as far as the step is known."""
        return tuple(self._seen.call.order)

    def state_dict(self) -> dict[str, int]:
        """Return the counters."""
        return {"updates_watched": self._updates_watched, "not_cleared": self._not_cleared}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from what `state_dict` returned."""
        self._updates_watched = state["updates_watched"]
        self._not_cleared = state["not_cleared"]

    # What the hooks call.

    def begin(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Note that the model is called, unless it calls itself or is called in a backward pass."""
        if current_backward_pass() != -1:
            return
        if self._open:
            self._open += 1
        elif torch.is_grad_enabled():
            self._open = 1
            call = ForwardCall()
            self._calls.append(call)
            call.inputs = tensor_range(next(tensors_in((arguments, keywords)), None))

    def end(self, output: Any) -> None:
        """Note what the model returned; None if it raised."""
        if not self._open or current_backward_pass() != -1:
            return
        self._open -= 1
        if self._open:
            return
        self._note_output(len(self._calls) - 1, self._calls[-1], output)

    def note_call(self, index: int, module: nn.Module, inputs: Any) -> None:
        """Note that a layer is called in a forward pass of the model, or on its own."""
        if current_backward_pass() != -1 or not (self._open or torch.is_grad_enabled()):
            return
        call = self._calls[-1] if self._open else self._loose
        if not (self._open or call.calls):
            call.inputs = tensor_range(next(tensors_in(inputs), None))
        if index not in call.calls:
            call.order.append(index)
        call.calls[index] = call.calls.get(index, 0) + 1
        if not torch.is_grad_enabled():
            call.without_gradients |= any(p.requires_grad for p in module.parameters(recurse=False))

    def note_return(self, index: int, output: Any) -> None:
        """Mark in the graph what a layer returned; on its own, it may be the model's output."""
        in_pass = self._open > 0 and current_backward_pass() == -1
        number = len(self._calls) - 1
        results = [tensor.grad_fn for tensor in tensors_in(output) if tensor.grad_fn is not None]
        if in_pass and results:
            self._calls[-1].graphed[index] += 1
        for result in results:
            mark(result, index)
            if in_pass:
                mark_call(result, (number, index, self._calls[-1].graphed[index]))
        if not self._open and current_backward_pass() == -1 and torch.is_grad_enabled():
            self._loose.returns += 1
            self._note_output(-self._loose.returns, self._loose, output)

    def _note_output(self, index: int, call: ForwardCall, output: Any) -> None:
        tensor = main_tensor(output)
        if tensor is None:
            return
        if index >= 0:
            mark_output(tensor.grad_fn)
        if tensor.requires_grad:
            tensor.register_hook(_Output(self._log, index))  # type: ignore[no-untyped-call]
        call.rows = tensor.shape[0] if tensor.ndim else 1
        call.outputs = tensor_range(tensor)
        call.output_sums = row_sums(tensor)


class _Begin(Hook):
    """Before the model is called."""

    def __init__(self, watch: SetupWatch | None = None) -> None:
        super().__init__(
            None
            if watch is None
            else lambda _, arguments, keywords: watch.begin(arguments, keywords)
        )


class _End(Hook):
    """After the model was called."""

    def __init__(self, watch: SetupWatch | None = None) -> None:
        super().__init__(None if watch is None else lambda _, __, output: watch.end(output))


class _Called(Hook):
    """Before a layer is called."""

    def __init__(self, watch: SetupWatch | None = None, index: int = 0) -> None:
        super().__init__(
            None if watch is None else lambda module, inputs: watch.note_call(index, module, inputs)
        )


class _Returned(Hook):
    """After a layer was called."""

    def __init__(self, watch: SetupWatch | None = None, index: int = 0) -> None:
        super().__init__(
            None if watch is None else lambda _, __, output: watch.note_return(index, output)
        )


class _Mode(Hook):
    """After a module whose behaviour depends on its mode: notes it if it is in eval mode."""

    def __init__(self, log: BackwardLog | None = None, name: str = "") -> None:
        super().__init__(None if log is None else self._look)
        self._log, self._name = log, name

    def _look(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if module.training or not torch.is_grad_enabled():
            return
        tensor = next((one for one in tensors_in(output) if one.requires_grad), None)
        if tensor is None:
            return
        keys = [("eval", self._name)]
        if has_unmade_statistics(module):
            keys.append(("unmade", self._name))

        def note(_: Tensor) -> None:
            assert self._log is not None
            for key in keys:
                self._log.note(key)

        tensor.register_hook(Hook(note))  # type: ignore[no-untyped-call]


class _Output(Hook):
    """Notes of the gradient w.r.t. the model's output its norm, and which class it raises."""

    def __init__(self, log: BackwardLog | None = None, index: int = 0) -> None:
        super().__init__(None if log is None else self._note)
        self._log, self._index = log, index

    def _note(self, gradient: Tensor) -> None:
        assert self._log is not None
        gradient = gradient.detach()
        norm = gradient.to(torch.float64).norm().item()
        self._log.note(("output", self._index), norm)
        if gradient.ndim == 2 and gradient.shape[1] > 2:
            # softmax(z) - y has its one negative number at the label, unless it is rounded to 0.
            lowest, labels = gradient.min(dim=1)
            rows = torch.bincount(labels[lowest < 0], minlength=gradient.shape[1])
            usual, seen = int(rows.argmax()), int(rows.sum())
            if seen:
                key = ("target", self._index, usual, seen)
                self._log.note(key, rows[usual].item() / seen)


def _is(key: Any, kind: str) -> bool:
    return isinstance(key, tuple) and key[0] == kind
