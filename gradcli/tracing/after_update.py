"""Values that an update left non-finite: in a parameter, a buffer or the optimizer's state.

Losses and gradients only show them in the next step, and after the last update there is none.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import replace
from itertools import chain
from math import isfinite

import torch
from torch import Tensor, nn

from gradcli.gradients.shards import local_part
from gradcli.tracing.fault_place import Place


def non_finite_values(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Place]:
    """Return the places of the non-finite parameters, buffers and states, in the model's order.

    Waits for the device, once.
    """
    held = [
        (tensor.detach(), place)
        for tensor, place in chain(_of_model(model), _of_optimizer(model, optimizer))
        if tensor.is_floating_point()
    ]
    if not held:
        return []
    finite = torch.stack([torch.isfinite(tensor).all() for tensor, _ in held]).tolist()
    return [place for (_, place), is_finite in zip(held, finite, strict=True) if not is_finite]


def place_left_behind(
    model: nn.Module, optimizer: torch.optim.Optimizer, from_the_start: Container[str]
) -> Place | None:
    """Return the place of the first value that training made non-finite, with the reason.

    Args:
        model: after an update.
        optimizer: the one that made it.
        from_the_start: the tensors that never were finite, such as a mask of -inf.
    """
    for place in non_finite_values(model, optimizer):
        if place.tensor not in from_the_start:
            return place if place.cause else place_after_update(place, optimizer, model)
    return None


def place_after_update(place: Place, optimizer: torch.optim.Optimizer, model: nn.Module) -> Place:
    """Return the place of a parameter that an update made non-finite, with the reason.

    Args:
        place: of the parameter.
        optimizer: the one that made the update.
        model: whose parameter it is.
    """
    parameter = model.get_parameter(place.tensor)
    groups = optimizer.param_groups
    holding = (group for group in groups if any(one is parameter for one in group["params"]))
    group = next(holding, {})  # none holds a frozen one, which the model's own code may change
    reason = ""
    rate = float(group.get("lr", 0.0))
    largest = torch.finfo(parameter.dtype).max if parameter.is_floating_point() else math.inf
    if not isfinite(rate):
        reason = f"the learning rate is {rate}"
    elif group.get("eps", 1.0) == 0:
        reason = "eps=0 in the optimizer, and a gradient that has always been 0: 0 / 0"
    elif bool(torch.isinf(local_part(parameter)).any()) or abs(rate) > math.sqrt(largest):
        kind = str(parameter.dtype).removeprefix("torch.")
        reason = f"the update is too large for {kind}, at a learning rate of {rate:.3g}"
    return replace(place, phase="update", cause=reason)


def _of_model(model: nn.Module) -> Iterator[tuple[Tensor, Place]]:
    """Yield the parameters, then the buffers, which the forward passes change."""
    for name, parameter in model.named_parameters():
        yield parameter, Place("update", _module_of(name), tensor=name)
    for name, buffer in model.named_buffers():
        cause = "a buffer, as the forward pass of that step left it"
        yield buffer, Place("update", _module_of(name), tensor=name, cause=cause)


def _of_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[Tensor, Place]]:
    """Yield what the optimizer keeps for each value of a parameter, such as a moving average."""
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                cause = "what the optimizer keeps of the gradients is too large for its type"
                tensor = f"{key} of {name}"
                yield value, Place("update", _module_of(name), tensor=tensor, cause=cause)


def _module_of(name: str) -> str:
    return name.rpartition(".")[0] or "(model)"
