"""How much a forward pass has to compute: an estimate that does not depend on the clock."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def multiplications(model: nn.Module, inputs: Tensor) -> float:
    """Return about how many multiplications a model makes of a batch.

    A weight matrix is multiplied once at each position of its layer's output: a dense layer has a
    position per example, a convolution one per pixel, a recurrent layer one per time step. What
    happens outside of layers with weights does not count.

    Args:
        model: is called once in evaluation mode, which leaves it as it was.
        inputs: a batch (b, ...), on the model's device.
    """
    total = 0.0

    def add(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        first = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(first, Tensor):
            return
        for weight in module.parameters(recurse=False):
            if weight.ndim > 1 and not isinstance(module, nn.Embedding):
                total += first.numel() * weight.numel() / weight.shape[0]

    was_training = model.training
    model.eval()
    try:
        with ExitStack() as hooks:
            for module in model.modules():
                hooks.callback(module.register_forward_hook(add).remove)
            model(inputs)
    finally:
        model.train(was_training)
    return total
