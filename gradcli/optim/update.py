"""The update of a training step, by the quickest way that comes to the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradcli.optim import without_dynamo
from gradcli.optim.functional import FunctionalUpdate


class Update:
    """Makes an optimizer's updates: calling it is `optimizer.step()` on scaled gradients.

    Whatever watches the optimizer (a hook, a profiler, a scheduler of torch's) is looked for at
    each call, and then finds that `step` itself is called.

    Args:
        optimizer: any.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._functional = FunctionalUpdate(optimizer)
        self._step = without_dynamo.Update(optimizer)

    @torch.no_grad()
    def __call__(self, factor: float | Tensor = 1.0) -> None:
        """Update the parameters by their gradients.

        Args:
            factor: what the gradients are multiplied by first, a number or ().
        """
        if self._functional(factor):
            return
        if isinstance(factor, Tensor) or factor != 1.0:
            self._scale(factor)
        self._step()
        self._functional.prepare()

    def _scale(self, factor: float | Tensor) -> None:
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
