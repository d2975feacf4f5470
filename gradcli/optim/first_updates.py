"""How an optimizer's first updates compare with its later ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradcli.fast.update import Update

#: After so many updates, those that follow are taken to be as long as the last: averages that
#: forget a hundredth of themselves per step are 95% full.
_SETTLED = 300
#: Of the entries of the gradient: as small as in a training, so that what an optimizer does with
#: a gradient as it is (RAdam in its first five updates) stays small beside what it scales.
_GRADIENT = 1e-3
#: Of its rates: so low that the weights hardly move, since Adafactor's updates grow with them.
_SHARE_OF_RATE = 1e-2
_SEED = 0


def longer_at_first(optimizer: torch.optim.Optimizer, steps: int, total_steps: int) -> float:
    """Return how much longer the first updates of a training are than all of them.

    It is measured: under a gradient that stays the same, how far the weights come in `steps`
    updates and in `total_steps`, both per update. The ratio of the two is 1 for SGD and Adam.
    An average that starts at 0 and is not corrected for it makes the difference: that of the
    gradient shortens the first updates (momentum 0.9 by 10 at the first step), and that of its
    square lengthens them (RMSprop's by 1 / sqrt(1 - alpha^t) at step t).

    Only biases and the scales of norms have a gradient, if there are any: with them every optimizer
    goes entry by entry, whereas to SOAP a matrix of gradients that never changes is degenerate.

    Args:
        optimizer: just built, at its own learning rates, in training mode. Its step needs no
            closure. It is used up: the weights, the gradients and its state change.
        steps: the first ones, at least 1.
        total_steps: of the training, at least `steps`.

    Returns:
        The ratio; 1 if the weights do not move, or move beyond what a number can hold.
    """
    everything = [p for group in optimizer.param_groups for p in group["params"]]
    parameters = [p for p in everything if p.ndim < 2] or everything
    for group in optimizer.param_groups:
        group["lr"] = _SHARE_OF_RATE * group["lr"]
    generator = torch.Generator().manual_seed(_SEED)
    for parameter in parameters:
        drawn = _GRADIENT * torch.randn(parameter.shape, generator=generator)
        # As the parameter lies in memory: fused kernels rely on it.
        parameter.grad = torch.empty_like(parameter).copy_(drawn)
    start = [parameter.detach().clone() for parameter in parameters]
    update = Update(optimizer)
    simulated = min(total_steps, max(steps, _SETTLED))
    distance = {0: 0.0}
    for step in range(1, simulated + 1):
        update()
        if step in (steps, simulated - 1, simulated):
            distance[step] = _distance(parameters, start)
    last = distance[simulated] - distance[simulated - 1]
    whole = distance[simulated] + last * (total_steps - simulated)
    ratio = (distance[steps] / steps) / (whole / total_steps) if whole > 0 else math.nan
    return ratio if math.isfinite(ratio) and ratio > 0 else 1.0


def _distance(parameters: list[Tensor], start: list[Tensor]) -> float:
    """Return the Euclidean distance of parameters from where they started."""
    moved = [
        (now.detach() - then).double().square().sum()
        for now, then in zip(parameters, start, strict=True)
    ]
    return math.sqrt(float(sum(moved)))
