"""The norm of each of many tensors, in one call.

`torch._foreach_norm` has no public name, though `torch.nn.utils.get_total_norm` calls it. On the
CPU it gives the bits of a call for each tensor; on an accelerator they may differ in rounding.

An accelerator is asked to sum in float64 (`dtype=torch.float64`). On the CPU this call is not used:
in float32 its kernel has 8 partial sums per tensor, so a norm of 4,096 equal elements is off by up
to 3.6e-6 and one of 131,072 by 1.2e-4, and in float64 it takes longer than
`gradcli.gradients.norms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from gradcli.fast import gate

#: From tensors, an order and optionally the type to sum in, to the norm () of each.
NormOfEach: TypeAlias = Callable[..., Sequence[Tensor]]


def norm_of_each(device_type: str) -> NormOfEach:
    """Return the fastest function that gives the norm of each tensor on a type of device."""
    return torch._foreach_norm if gate.is_open(device_type) else _one_by_one


def _one_by_one(
    tensors: Sequence[Tensor], order: float = 2, dtype: torch.dtype | None = None
) -> Sequence[Tensor]:
    return [torch.linalg.vector_norm(tensor, order, dtype=dtype) for tensor in tensors]
