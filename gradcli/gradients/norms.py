"""The gradients of a model's parameters: their norms, and scaling them.

The one place where gradients are read each step. One pass gives a norm for each parameter;
layers' and global norms, clipping, logging and diagnosis derive from those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, repeat
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradcli.gradients.layers import layer_parameters
from gradcli.records import LayerInfo

# A float32 sum of squares is right to rounding while no square that matters has fallen below
# the smallest normal number and the sum has not overflowed. n squares lost below 2**-126 are
# at most n * 2**-126; below 2**24 times that they could show in the result.
_TRUSTED_FROM_PER_ELEMENT = 2.0 ** (-126 + 24)
_TRUSTED_TO = 2.0**63.5

# What calling costs more than computing: gradients of one shape, so small and so many, are
# copied together and measured in one go. 42 tensors of a 20-layer net then take 111 us within
# a training loop instead of 165; four times the size, it would take 80 us longer.
_SMALL = 4096
_MANY = 4


# The norms of P parameters' gradients. On the CPU they are numbers: right after a backward pass
# the caches hold no code, and each small tensor then costs 5 to 10 us (all in all 45 us of a
# step's 2,400 for the default MLP). On an accelerator they are a tensor (P,) that stays there.
Norms: TypeAlias = list[float] | Tensor


class Gradients:
    """The gradients of a model, in the order of its layers' parameters.

    Args:
        model: any module; P parameters in L layers.
        layers: what `find_layers` says of it.

    Gradients are looked up in `p.grad` at each call, so that it does not matter whether
    `zero_grad` sets them to None. A missing gradient counts as zero.

    Attributes:
        leave_scaling: whether one factor for all gradients is left to the update: `scale_` then
            only notes it, and whoever makes the update asks `take_factor`.
    """

    def __init__(self, model: nn.Module, layers: tuple[LayerInfo, ...]) -> None:
        self.layers = layers
        self.leave_scaling = False
        self._factor: float | Tensor = 1.0
        self.parameters: Sequence[nn.Parameter] = layer_parameters(model, layers)
        self.device = self.parameters[0].device
        self._trusted_from = [_trusted_from(p) for p in self.parameters]
        self._alone, self._alike = _small_alike(self.parameters)
        counts = [len(layer.parameters) for layer in layers]
        self.layer_of_parameter = torch.tensor(
            list(chain.from_iterable(repeat(i, count) for i, count in enumerate(counts))),
            device=self.device,
        )

    def norms(self) -> Norms:
        """Return the L2 norm of each parameter's gradient, in float64, on the device.

        Right also where float32 is not: gradients of 1e-24 do not read as zero and
        gradients of 1e18 not as infinite. Makes no transfer to the host on an accelerator.
        """
        if self.device.type == "cpu":
            return self._norms_on_cpu()
        dtype = accumulator_dtype(self.device)
        with torch.no_grad():
            return torch.stack(
                [
                    p.new_zeros((), dtype=dtype) if p.grad is None else _norm(p.grad, dtype)
                    for p in self.parameters
                ]
            )

    def _norms_on_cpu(self) -> list[float]:
        """Return the norm of each gradient; the usual case of `sum_of_squares` is written out.

        Without the calls, and without `no_grad`, it takes two thirds of the time.
        """
        dot, sqrt, float32 = torch.dot, math.sqrt, torch.float32
        gradients = [parameter.grad for parameter in self.parameters]
        norms = [math.nan] * len(gradients)
        for place in self._alone:
            gradient = gradients[place]
            if gradient is not None and gradient.dtype is float32 and not gradient.is_sparse:
                flat = _flat(gradient)
                norms[place] = sqrt(dot(flat, flat).item())
        for places in self._alike:
            found = _stacked_norms([gradients[place] for place in places])
            for place, norm in zip(places, found, strict=True):
                norms[place] = norm
        for place, (least, norm) in enumerate(zip(self._trusted_from, norms, strict=True)):
            if not least <= norm <= _TRUSTED_TO:
                norms[place] = sqrt(sum_of_squares(gradients[place]))
        return norms

    @torch.no_grad()
    def scale_(self, coefficients: float | Tensor) -> None:
        """Multiply the gradients by `coefficients`: one for all, a number or (), or one each, (P,).

        One for all may be left to the update: see `leave_scaling`.
        """
        if self.leave_scaling and (isinstance(coefficients, float) or not coefficients.ndim):
            self._factor = coefficients
            return
        if isinstance(coefficients, float):
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(coefficients)
            return
        each = coefficients.expand(len(self.parameters))
        if self.device.type == "cpu":
            # Reading a number costs little here, and not multiplying by one saves a pass.
            for parameter, coefficient in zip(self.parameters, each.tolist(), strict=True):
                if coefficient != 1.0 and parameter.grad is not None:
                    parameter.grad.mul_(coefficient)
        else:
            for parameter, factor in zip(self.parameters, each.unbind(), strict=True):
                if parameter.grad is not None:
                    parameter.grad.mul_(factor.to(parameter.grad.dtype))

    def take_factor(self) -> float | Tensor:
        """Return the factor that was left to the update, and forget it."""
        factor, self._factor = self._factor, 1.0
        return factor

    def clear(self) -> None:
        """Forget the gradients, as `optimizer.zero_grad` does in 80 us instead of 8."""
        for parameter in self.parameters:
            parameter.grad = None

    def layer_norms(self, parameter_norms: Norms) -> Tensor:
        """Derive the layers' norms (L,) from the parameters' norms."""
        norms = as_tensor(parameter_norms)
        squares = norms.new_zeros(len(self.layers))
        squares.index_add_(0, self.layer_of_parameter, norms.square())
        return squares.sqrt_()


def as_tensor(norms: Norms) -> Tensor:
    """Return norms as a tensor (P,), on the device on which they are."""
    return torch.tensor(norms, dtype=torch.float64) if isinstance(norms, list) else norms


def on_host(norms: Norms) -> NDArray[np.float64]:
    """Return norms as an array (P,); waits for the device."""
    return as_tensor(norms).cpu().double().numpy()


def total_norm(norms: Norms) -> Tensor:
    """Return the norm over all parameters, ()."""
    total: Tensor = torch.linalg.vector_norm(as_tensor(norms))
    return total


def scaled(norms: Norms, coefficients: Tensor) -> Norms:
    """Return norms times coefficients, () or (P,), in the form in which they came."""
    product = as_tensor(norms) * coefficients
    return product.tolist() if isinstance(norms, list) else product


def sum_of_squares(tensor: Tensor | None) -> float:
    """Return the sum of the squares of a tensor on the CPU, which is 0 for None.

    One dot product a tensor is the cheapest reduction there is on the CPU: 33 us for the six
    gradients of the default MLP, against 154 us of `clip_grad_norm_`. Its relative error is
    2.5e-7 at 200,000 elements and 1.8e-5 at 3.2 million. Where float32 is too narrow for the
    result, float64 does it again.
    """
    if tensor is None:
        return 0.0
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.dtype is torch.float32:
        flat = _flat(tensor)
        value = torch.dot(flat, flat).item()
        if _trusted_from(flat) <= math.sqrt(value) <= _TRUSTED_TO:
            return value
    return _norm(tensor, torch.float64).item() ** 2


def _flat(tensor: Tensor) -> Tensor:
    """Return a tensor's elements in a row, without a copy if it is a matrix of any layout."""
    if tensor.ndim == 2 and not tensor.is_contiguous():
        tensor = tensor.t()
    return tensor.flatten()


def _trusted_from(tensor: Tensor) -> float:
    """Return the norm from which on float32 is wide enough for the squares of a tensor."""
    return math.sqrt(tensor.numel() * _TRUSTED_FROM_PER_ELEMENT)


def _small_alike(parameters: Sequence[Tensor]) -> tuple[list[int], list[list[int]]]:
    """Return the places of the parameters that are measured alone, and of those together."""
    places_of: dict[tuple[torch.Size, torch.device], list[int]] = {}
    for place, parameter in enumerate(parameters):
        if parameter.dtype is torch.float32 and parameter.numel() <= _SMALL:
            places_of.setdefault((parameter.shape, parameter.device), []).append(place)
    alike = [places for places in places_of.values() if len(places) >= _MANY]
    together = set(chain.from_iterable(alike))
    return [place for place in range(len(parameters)) if place not in together], alike


def _stacked_norms(gradients: Sequence[Tensor | None]) -> list[float]:
    """Return the norms of gradients of one shape; NaN for all where one is missing or sparse."""
    dense = [one for one in gradients if one is not None and not one.is_sparse]
    if len(dense) == len(gradients):
        stacked = torch.stack(dense)
        if stacked.dtype is torch.float32:
            norms: list[float] = torch.linalg.vector_norm(stacked.flatten(1), dim=1).tolist()
            return norms
    return [math.nan] * len(gradients)


def accumulator_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating-point type that `device` can sum in."""
    return torch.float32 if device.type == "mps" else torch.float64


def _norm(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=dtype)
    return norm
