"""Takes the fingerprints of a training step, by hooks that exist for one step.

Numbers are kept, never tensors, and nothing is changed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.fast.backward_pass import current_backward_pass
from gradcli.gradients.backward_log import Hook
from gradcli.gradients.fingerprints.fingerprint import added, fingerprint
from gradcli.gradients.layers import layer_module, layer_parameters
from gradcli.gradients.tensors import tensors_in
from gradcli.records import SAMPLES, FingerprintRecord, LayerInfo


class FingerprintWatch:
    """Watches one training step of a model.

    Args:
        model: the model.
        layers: its layers.
        called: what the loop calls as its model: `model`, or a wrapper of it.
        inside: whether the modules inside may be hooked.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[LayerInfo, ...],
        called: nn.Module,
        *,
        inside: bool = True,
    ) -> None:
        self._called, self._inside = called, inside
        self._modules = [layer_module(model, layer) for layer in layers]
        self._parameters = layer_parameters(model, layers)
        self._handles: list[RemovableHandle] = []
        self._weights: tuple[int | None, ...] = ()
        self._forget()

    def attach(self) -> None:
        """Hook the model until `detach`."""
        self.detach()
        self._forget()
        add = self._handles.append
        # A model compiled in place would compile the hooks, too.
        if getattr(self._called, "_compiled_call_impl", None) is None:
            add(self._called.register_forward_pre_hook(_Given(self), with_kwargs=True))
        if not self._inside:
            return
        for index, module in enumerate(self._modules):
            add(module.register_forward_pre_hook(_GivenToLayer(self, index)))
            add(module.register_forward_hook(_Returned(self, index)))

    def detach(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def before_update(self) -> None:
        """Take the fingerprints of the weights."""
        self._weights = tuple(map(fingerprint, self._parameters))

    def record(self, update: int) -> FingerprintRecord:
        """Return what was taken in the step of an update (from 1)."""
        places = range(len(self._modules))
        order = tuple(self._inputs)
        first = self._inputs[order[0]] if order else None
        return FingerprintRecord(
            step=update,
            order=order,
            inputs=first if self._given is None else self._given,
            weights=self._weights,
            layer_inputs=tuple(self._inputs.get(place) for place in places),
            layer_outputs=tuple(self._outputs.get(place) for place in places),
            output_types=tuple(self._types.get(place, "") for place in places),
            output_samples=tuple(self._samples.get(place, ()) for place in places),
        )

    def _forget(self) -> None:
        self._given: int | None = None
        self._inputs: dict[int, int | None] = {}
        self._outputs: dict[int, int | None] = {}
        self._types: dict[int, str] = {}
        self._samples: dict[int, tuple[float, ...]] = {}

    # What the hooks call.

    def note_given(self, values: Any) -> None:
        """Note what the model is given."""
        if _counts():
            found = fingerprint(next(tensors_in(values), None))
            self._given = found if self._given is None else added(self._given, found)

    def note_input(self, index: int, values: Any) -> None:
        """Note what a layer is given."""
        if _counts():
            found = fingerprint(next(tensors_in(values), None))
            before = self._inputs.get(index, 0)
            self._inputs[index] = added(before, found)

    def note_output(self, index: int, values: Any) -> None:
        """Note what a layer has returned."""
        tensor = next(tensors_in(values), None)
        if tensor is None or not _counts():
            return
        self._outputs[index] = added(self._outputs.get(index, 0), fingerprint(tensor))
        if index not in self._types:
            self._types[index] = str(tensor.dtype).removeprefix("torch.")
            self._samples[index] = _samples(tensor)


def _counts() -> bool:
    """Whether a pass may be one that the gradients come from."""
    return torch.is_grad_enabled() and current_backward_pass() == -1


def _samples(tensor: Tensor) -> tuple[float, ...]:
    """Return a few evenly spaced values; none of a type that has no simple numbers."""
    if not (tensor.is_floating_point() and tensor.numel() and tensor.layout is torch.strided):
        return ()
    flat = tensor.detach().reshape(-1)
    last = len(flat) - 1
    places = sorted({number * last // (SAMPLES - 1) for number in range(SAMPLES)})
    return tuple(torch.stack([flat[place] for place in places]).cpu().double().tolist())


class _Given(Hook):
    """Before the model is called."""

    def __init__(self, watch: FingerprintWatch | None = None) -> None:
        super().__init__(
            None
            if watch is None
            else lambda _, arguments, keywords: watch.note_given((arguments, keywords))
        )


class _GivenToLayer(Hook):
    """Before a layer is called."""

    def __init__(self, watch: FingerprintWatch | None = None, index: int = 0) -> None:
        super().__init__(
            None if watch is None else lambda _, inputs: watch.note_input(index, inputs)
        )


class _Returned(Hook):
    """After a layer was called."""

    def __init__(self, watch: FingerprintWatch | None = None, index: int = 0) -> None:
        super().__init__(
            None if watch is None else lambda _, __, output: watch.note_output(index, output)
        )
