"""Tensors in what modules take and return, and the range of their values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gradcli.gradients.norms import sum_of_squares
from gradcli.records import TensorRange


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a module takes or returns, however nested."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors_in(value)


def main_tensor(values: Any) -> Tensor | None:
    """Return the first tensor with at least one dimension, or else the first one."""
    everything = list(tensors_in(values))
    shaped = (one for one in everything if one.ndim)
    return next(shaped, everything[0] if everything else None)


def with_gradient(inputs: Tensor) -> Tensor:
    """Return a view of the inputs that has a gradient; integers, which have none, as they are."""
    return inputs.detach().requires_grad_() if inputs.is_floating_point() else inputs


@torch.no_grad()
def tensor_range(tensor: Tensor | None) -> TensorRange | None:
    """Describe the values of a tensor; None if it has none that have a range.

    Waits for the device.
    """
    if (
        tensor is None
        or tensor.layout is not torch.strided
        or tensor.is_complex()
        or tensor.is_quantized
        or tensor.is_meta
        or not tensor.numel()
    ):
        return None
    values = tensor.detach()
    whole = not values.is_floating_point()
    if values.dtype not in (torch.float32, torch.float64):
        # Integers up to 2^53 are exact; smaller floats have room for their squares.
        values = values.to(torch.float64 if whole else torch.float32)
    low, high = torch.aminmax(values)
    mean, std = _mean_and_std(values)
    return TensorRange(
        tuple(tensor.shape),
        mean,
        std,
        low.item(),
        high.item(),
        whole=whole,
    )


@torch.no_grad()
def row_sums(tensor: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest sum over the last axis; NaN for fewer than two axes."""
    if tensor.ndim < 2 or not tensor.is_floating_point() or not tensor.numel():
        return math.nan, math.nan
    low, high = torch.aminmax(tensor.detach().sum(dim=-1, dtype=torch.float32))
    return low.item(), high.item()


def _mean_and_std(values: Tensor) -> tuple[float, float]:
    if values.is_cpu:
        # A tenth of the time that `torch.std_mean` takes, which also copes with sums out of range.
        mean = values.mean()
        std = math.sqrt(sum_of_squares(values - mean) / values.numel())
        if math.isfinite(std):
            return mean.item(), std
    std_of_all, mean = torch.std_mean(values, correction=0)
    return mean.item(), std_of_all.item()
