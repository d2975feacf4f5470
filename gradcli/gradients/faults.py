"""Where a non-finite value arose: the first such output in the forward pass, or gradient."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients

Phase = Literal["forward", "loss", "backward"]


def locate_fault(
    model: nn.Module, inputs: Tensor, labels: Tensor, gradients: Gradients
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
        gradients: of that step, before any clipping.

    Returns:
        The phase, and the name of the module (a layer's, where it is one); None for the loss.
    """
    first: list[str] = []
    twin = copy.deepcopy(model)
    for name, module in twin.named_modules():
        module.register_forward_hook(_note_non_finite(name or "(model)", first))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        loss = F.cross_entropy(twin(inputs), labels)
    if first:
        return "forward", first[0]
    if not bool(torch.isfinite(loss)):
        return "loss", None
    norms = gradients.layer_norms(gradients.norms()).tolist()
    broken = [
        layer.name
        for layer, norm in zip(find_layers(model), norms, strict=True)
        if not norm < float("inf")
    ]
    return "backward", broken[-1] if broken else None


def _note_non_finite(name: str, first: list[str]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, Tensor) and not bool(torch.isfinite(tensor).all()):
            first.append(name)

    return hook
