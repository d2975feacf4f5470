"""Finding the first non-finite value of a step: an output, the loss, or a gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Norms, on_host
from gradcli.records import Floats, LayerInfo, norm_by_layer

Phase = Literal["forward", "loss", "backward"]


def locate_fault(
    model: nn.Module, inputs: Tensor, labels: Tensor, parameter_norms: Norms
) -> tuple[Phase, str | None]:
    """Find where the first non-finite value of a step appeared.

    The forward pass is repeated on a copy of the model. The first module that returns a non-finite
    output is the place; inner modules return before the module that contains them. If all outputs
    and the loss are finite, the value appeared in the backward pass, which runs from the output to
    the input: the place is the layer nearest the output with a non-finite gradient.

    Args:
        model: in the state in which the fault occurred.
        inputs: the batch, (b, ...).
        labels: its classes, (b,).
        parameter_norms: of that step's gradients, before clipping.

    Returns:
        The phase and the name of the module; for the loss the name is None.
    """
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        module, outputs = first_non_finite_output(model, lambda twin: twin(inputs))
    if module is not None:
        return "forward", module
    if not bool(torch.isfinite(F.cross_entropy(outputs, labels))):
        return "loss", None
    return "backward", broken_layer(find_layers(model), on_host(parameter_norms))


@torch.no_grad()
def first_non_finite_output(
    model: nn.Module, forward: Callable[[nn.Module], Any]
) -> tuple[str | None, Any]:
    """Run `forward` on a copy of `model`.

    Returns:
        The name of the first module that returns a non-finite output, or None; and what `forward`
        returned.
    """
    first: list[str] = []
    twin = copy.deepcopy(model)
    for name, module in twin.named_modules():
        module.register_forward_hook(_note_non_finite(name or "(model)", first))
    outputs = forward(twin)
    return (first[0] if first else None), outputs


def broken_layer(layers: tuple[LayerInfo, ...], parameter_norms: Floats) -> str | None:
    """Return the layer nearest the output whose gradient norm is not finite.

    Args:
        layers: of the model, in the order of its forward pass.
        parameter_norms: (P,), of their parameters' gradients.
    """
    norms = norm_by_layer(parameter_norms[None], layers)[0]
    broken = [layer.name for layer, norm in zip(layers, norms, strict=True) if not isfinite(norm)]
    return broken[-1] if broken else None


def _note_non_finite(name: str, first: list[str]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(output)):
            first.append(name)

    return hook


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors in what a module returns, however nested."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)
