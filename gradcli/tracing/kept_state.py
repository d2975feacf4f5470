"""Runs a model once more and leaves no trace: buffers, attributes, modes and random states."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_CONTAINERS = list, dict, set, deque
_VALUE = "value"


class StateChanges:
    """What the model did to its own state within `state_kept`.

    Attributes:
        seen: whether an attribute or a buffer changed, other than the statistics that a batch
            norm collects while it trains, which its output does not depend on.
        counted: whether a number or a word changed, on which any branch may depend.
        random: whether random numbers were drawn.
        replaced: the tensors in whose place attributes now have others.
    """

    def __init__(self) -> None:
        self.seen = self.counted = self.random = False
        self.replaced: list[Tensor] = []


@contextmanager
def state_kept(model: nn.Module, device: torch.device) -> Iterator[StateChanges]:
    """Undo on leaving whatever a pass of `model` does to its state and to random states.

    Buffers and tensors that the modules hold are replaced by copies for as long as the context
    lasts, so that not even the version counters of the originals change. What a module changes
    within an object that it holds, other than a list, dict, set or deque, is not undone.

    Args:
        model: it is used itself, because not every model can be copied.
        device: where it is.

    Yields:
        What changed, known after the context.
    """
    changes = StateChanges()
    modules = [one for one in model.modules() if not isinstance(one, torch.jit.ScriptModule)]
    attributes = [dict(vars(module)) for module in modules]
    containers = [
        (value, value.copy())
        for saved in attributes
        for name, value in saved.items()
        if isinstance(value, _CONTAINERS) and "_hooks" not in name
    ]
    generators = [
        (value, value.get_state())
        for saved in attributes
        for value in saved.values()
        if isinstance(value, torch.Generator)
    ]
    copies: dict[int, Tensor] = {}
    for module in modules:
        _replace_tensors(module._buffers, copies)
        _replace_tensors(vars(module), copies)
    before = [_fingerprint(module) for module in modules]
    started = [dict(vars(module)) for module in modules]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield changes
    finally:
        changes.replaced = [
            value
            for module, at_start in zip(modules, started, strict=True)
            for name, value in at_start.items()
            if isinstance(value, Tensor) and vars(module).get(name) is not value
        ]
        changes.random = not torch.equal(states[2], torch.get_rng_state())
        for module, earlier in zip(modules, before, strict=True):
            if isinstance(module, _NORMS) and module.training:
                continue
            now = _fingerprint(module)
            changes.seen |= now != earlier
            changes.counted |= _plain(now) != _plain(earlier)
        for module, saved in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(saved)
        for container, content in containers:
            _refill(container, content)
        for generator, state in generators:
            generator.set_state(state)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)


def _replace_tensors(values: dict[str, Any], copies: dict[int, Tensor]) -> None:
    """Replace the tensors among `values` by copies, one for each tensor."""
    for name, value in values.items():
        if type(value) is Tensor and not value.requires_grad and value.layout == torch.strided:
            values[name] = copies.setdefault(id(value), value.clone())


def _fingerprint(module: nn.Module) -> list[Any]:
    """Return what differs after a change of the module's attributes, containers or buffers."""
    values = [*vars(module).items(), *module._buffers.items()]
    return [
        (name, id(value), value._version)
        if isinstance(value, Tensor) and not value.is_inference()
        else (name, id(value), len(value))
        if isinstance(value, _CONTAINERS)
        else (name, _VALUE, value)
        if isinstance(value, int | float | str)
        else (name, id(value))
        for name, value in values
    ]


def _plain(fingerprint: list[Any]) -> list[Any]:
    """Return the part of a fingerprint on numbers and words."""
    return [one for one in fingerprint if len(one) == 3 and one[1] == _VALUE]


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list | deque):
        container.extend(content)
    else:
        container.update(content)
