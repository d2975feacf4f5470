"""Whether the gradients of consecutive steps point the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def gradient_cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return <a, b> / (||a|| ||b||) of two gradients, each a list of tensors of like shapes.

    Close to 1 the steps agree; about 0 noise rules, as independent directions in many
    dimensions are nearly orthogonal; negative values are oscillation across a valley. Summed in
    float64. NaN where a gradient is zero or not finite.
    """
    product = first_squared = second_squared = 0.0
    for a, b in zip(first, second, strict=True):
        x, y = a.detach().reshape(-1).double(), b.detach().reshape(-1).double()
        product += float(torch.dot(x, y))
        first_squared += float(torch.dot(x, x))
        second_squared += float(torch.dot(y, y))
    scale = math.sqrt(first_squared) * math.sqrt(second_squared)
    return product / scale if 0 < scale < math.inf else math.nan


class StepCosine:
    """The cosine between each gradient that it is shown and the one before.

    Costs one copy of the gradient in memory and three inner products a step; no passes.
    """

    def __init__(self) -> None:
        self._last: list[Tensor] | None = None

    def __call__(self, gradients: Sequence[Tensor]) -> float:
        """Return the cosine between `gradients` and those of the last call; NaN at the first."""
        last = self._last
        # The caller's tensors are overwritten by the next step.
        self._last = [gradient.detach().clone() for gradient in gradients]
        return math.nan if last is None else gradient_cosine(last, self._last)
