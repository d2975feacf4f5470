"""What all probes promise: they leave the model and the random states as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore the buffers of `model` and all random states at the end, also after an error.

    A forward pass in training mode moves the running averages of batch norm and draws dropout
    masks. Parameters and `.grad` need no care: probes take gradients by `torch.autograd.grad`,
    which stores none, and evaluate at other weights by `functional_call`.
    """
    kept = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    with random_states_kept(model):
        try:
            yield
        finally:
            with torch.no_grad():
                for module, name, buffer, value in kept:
                    buffer.copy_(value)
                    # A module may also have replaced the buffer by another tensor.
                    setattr(module, name, buffer)


@contextmanager
def random_states_kept(model: nn.Module) -> Iterator[None]:
    """Restore the random states of torch (also on the model's device), NumPy and `random`."""
    accelerators = {p.device for p in model.parameters() if p.device.type == "cuda"}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=sorted(accelerators, key=str)):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
