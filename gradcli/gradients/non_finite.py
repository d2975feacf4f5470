"""Where a non-finite value arose: the first such output in the forward pass, or gradient."""

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
    """Say where the first non-finite value of a step arose.

    The forward pass is repeated on a copy of the model: the first module to end with an output
    that is not finite is the place; a module ends before the one that contains it. Where all
    outputs and the loss are finite, it arose going backward, which runs from the output to the
    input: the place is the layer nearest the output whose gradient is not finite.

    Args:
        model: in the state in which the fault occurred.
        inputs: the batch, (b, ...).
        labels: its classes, (b,).
        parameter_norms: of that step's gradients, before any clipping.

    Returns:
        The phase, and the name of the module (a layer's, where it is one); None for the loss.
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
        The module that is the first to end with an output that is not finite, or None; and
        what `forward` returned.
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
