"""The norm of each of many tensors, in one call.

`torch._foreach_norm` has no public name, though `torch.nn.utils.get_total_norm` calls it. On the
CPU it gives the bits of a call for each tensor; on an accelerator they may differ in rounding.

On the CPU each norm is summed in float32: at 131,072 elements, random ones give a relative error of
1e-6, equal ones 1.2e-4 (at 4,096 elements 9e-8 and 3e-6). With `dtype=torch.float64`, which an
accelerator is asked for, there is none.
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
