"""How many CPU threads a model's training is worth."""

from __future__ import annotations

from torch import nn

_LEAST_WORK = 600_000
"""Multiplications in a layer's product, in the mean over the layers, its update counted in."""
_UPDATE = 12
"""What the update of a weight costs, in examples: it waits for memory, products do not."""


def worthwhile_threads(model: nn.Module, batch_size: int, available: int) -> int:
    """Return `available`, or 1 where the layers are too small for threads to share.

    Each operation that is shared makes threads wait for one another, and now and then, on a
    machine that does something else too, for long. Networks of 20 layers took, with one thread,
    this much of the time that they took with two (medians of 5 models each, batches of 128, two
    cores of an AMD EPYC): of width 32, 0.3 million multiplications a layer, 0.89; of width 48,
    0.6 million, 0.99; of width 64, 0.9 million, 1.02; of width 96, 1.7 million, 1.23.

    Only gradcli's own models of linear layers are judged: how often others use a weight in a
    step is not known from its size.

    Args:
        model: whose weights tell.
        batch_size: in examples.
        available: the threads there are.
    """
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    own = type(model).__module__.startswith("gradcli.")
    if not own or not layers or len(layers) != len(weights):
        return available
    work = (batch_size + _UPDATE) * sum(weight.numel() for weight in weights)
    return available if work >= _LEAST_WORK * len(layers) else 1
