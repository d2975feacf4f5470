"""The loss of an update, put together from the backward passes that made its gradient."""

from __future__ import annotations

import torch
from torch import Tensor


class UpdateLoss:
    """Sums the losses of the backward passes of one update.

    Attributes:
        passes: the backward passes since the last update.
    """

    def __init__(self) -> None:
        self.passes = 0
        self._sum: Tensor | None = None
        self._last: Tensor | None = None
        self._is_last = False

    def add(self, loss: Tensor, scale: Tensor | None = None) -> None:
        """Add the loss of a backward pass.

        Args:
            loss: one number, as the pass begins with it.
            scale: the factor in it that is not the loss's, (); None if there is none.
        """
        value = loss.detach()
        if value.dtype in (torch.float16, torch.bfloat16):
            value = value.float()
        if scale is not None:
            value = value / scale.to(value.device)
        self._is_last = not self.passes and value.dtype == loss.dtype and scale is None
        self._sum = value if self._sum is None or not self.passes else self._sum + value
        self._last = loss
        self.passes += 1

    def of_update(self, factor: float = 1.0) -> Tensor | None:
        """Return the sum since the last update, and begin the next one.

        If there was no pass since then, it is the sum that the last update had: optimizers that
        take turns may share a pass.

        Args:
            factor: to multiply the sum by.

        Returns:
            One number, with the graph of the last pass, which tells what loss it is; None
            before the first pass.
        """
        if self._sum is None:
            return None
        if self.passes and factor != 1:
            self._sum, self._is_last = self._sum * factor, False
        graph, self._last, self.passes = self._last, None, 0
        if graph is None:
            return self._sum
        return graph if self._is_last else _with_value(graph, self._sum)


def _with_value(graph: Tensor, value: Tensor) -> Tensor:
    """Return a tensor of this value whose graph is that of another one, or a view of it."""
    with torch.enable_grad():
        carrier = graph.to(value.dtype).view_as(value)
    carrier.data = value
    return carrier
