"""How many CPU threads to train a model with."""

from __future__ import annotations

from torch import nn

_LEAST_WORK = 600_000
"""Multiplications in a layer's product, including its update; the mean over the layers."""
_UPDATE = 12
"""The cost of updating a weight, in examples: updates wait for memory, products do not."""


def worthwhile_threads(model: nn.Module, batch_size: int, available: int) -> int:
    """Return `available`, or 1 if the layers are too small to be shared among threads.

    Threads wait for one another at the end of each shared operation, sometimes for long on a busy
    machine. Time with one thread over time with two, for networks of 20 layers (medians of 5 models
    each, batches of 128, two cores of an AMD EPYC):

        width   multiplications per layer   ratio
           32   0.3 million                  0.89
           48   0.6 million                  0.99
           64   0.9 million                  1.02
           96   1.7 million                  1.23

    Only gradcli's own models of linear layers are considered. For others, the size of a weight
    does not tell how often a step uses it.

    Args:
        model: the model to train.
        batch_size: in examples.
        available: the number of threads available.
    """
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    own = type(model).__module__.startswith("gradcli.")
    if not own or not layers or len(layers) != len(weights):
        return available
    work = (batch_size + _UPDATE) * sum(weight.numel() for weight in weights)
    return available if work >= _LEAST_WORK * len(layers) else 1
