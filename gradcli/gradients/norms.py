"""The gradients of a model's parameters: their norms, and scaling them.

Gradients are read here, once per step. One pass gives a norm for each parameter; the norms of
layers and of the whole gradient, clipping, logging and diagnosis derive from these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, repeat
from operator import attrgetter, le
from typing import TypeAlias, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradcli.fast.foreach_norm import norm_of_each
from gradcli.gradients.layers import layer_parameters
from gradcli.records import LayerInfo

# A float32 sum of squares is right to rounding if no relevant square is below the smallest normal
# number, 2**-126, and the sum has not overflowed. n squares lost below it are at most n * 2**-126,
# which can change a sum below 2**24 times that.
_TRUSTED_FROM_PER_ELEMENT = 2.0 ** (-126 + 24)
_TRUSTED_TO = 2.0**63.5

# From this many gradients on, each of at most this many elements, one call measures all: within a
# training loop the 42 of a 20-layer net take 140 us, compared with 190 for one call each; with
# layers of 128 by 128, 300 and 315. For fewer the gain is small.
_MANY = 8
_FEW_ELEMENTS = 1 << 17

# A float32 sum of n squares is off by up to n * 6e-10 if all are equal, because each rounding then
# goes the same way: the norm by 1e-2 at 40 million elements. So a tensor of more elements than
# above is summed in rows: PyTorch's kernel has 8 partial sums per row, so that at most 32 squares
# are added one after another, and a norm is off by less than 1e-6 whatever the elements are.
_ROW = 256
# Up to as many equal squares, no sum is off by more than 6e-7.
_FEW_EQUAL = 512

_GRADIENT = attrgetter("grad")
_DTYPE = attrgetter("dtype")
_IS_SPARSE = attrgetter("is_sparse")


# The norms of P parameters' gradients. On the CPU they are numbers: a backward pass evicts code
# from the caches, and each small tensor then costs 5 to 10 us (in total 45 us of a step's 2,400 for
# the default MLP). On an accelerator they are a tensor (P,) that stays there.
Norms: TypeAlias = list[float] | Tensor


class Gradients:
    """The gradients of a model, in the order of its layers' parameters.

    Args:
        model: any module; P parameters in L layers.
        layers: from `find_layers`.

    Gradients are looked up in `p.grad` at each call, so `zero_grad` may set them to None. A missing
    gradient counts as zero.

    Attributes:
        leave_scaling: whether the update applies a factor common to all gradients. `scale_` then
            only stores it, and the update gets it from `take_factor`.
    """

    def __init__(self, model: nn.Module, layers: tuple[LayerInfo, ...]) -> None:
        self.layers = layers
        self.leave_scaling = False
        self._factor: float | Tensor = 1.0
        self.parameters: Sequence[nn.Parameter] = layer_parameters(model, layers)
        self.device = self.parameters[0].device
        self._norm_of_each = norm_of_each(self.device.type)
        self._trusted_from = [_trusted_from(p) for p in self.parameters]
        self._alone, self._together = _alone_and_together(self.parameters)
        counts = [len(layer.parameters) for layer in layers]
        self.layer_of_parameter = torch.tensor(
            list(chain.from_iterable(repeat(i, count) for i, count in enumerate(counts))),
            device=self.device,
        )

    def current(self) -> list[Tensor | None]:
        """Return each parameter's current gradient, or None if it has none."""
        return list(map(_GRADIENT, self.parameters))

    def norms(self, gradients: Sequence[Tensor | None] | None = None) -> Norms:
        """Return the L2 norm of each parameter's gradient, in float64, on the device.

        Also right beyond float32's range: gradients of 1e-24 are not measured as zero, nor
        gradients of 1e18 as infinite. On an accelerator nothing is transferred to the host.

        Args:
            gradients: what `current` returned, if the caller has it.
        """
        if gradients is None:
            gradients = self.current()
        if self.device.type == "cpu":
            return self._norms_on_cpu(gradients)
        dtype = accumulator_dtype(self.device)
        with torch.no_grad():
            if _are_usual(gradients):
                # A small network waits for the host to launch kernels one by one; without this,
                # 42 of the 197 operators in a 20-layer net's step would measure a gradient each.
                return torch.stack(tuple(self._norm_of_each(gradients, 2, dtype)))
            zero = self.parameters[0].new_zeros((), dtype=dtype)
            return torch.stack([zero if one is None else _norm(one, dtype) for one in gradients])

    def norms_of_limited(self, largest: float) -> Norms:
        """Return the norms of gradients whose elements were limited to [-largest, largest].

        Many of them may then be equal, which `norms` measures exactly only in large gradients: at
        131,072 elements it is off by up to 1.2e-4. So those with many are measured again, to 1e-6.
        """
        norms = self.norms()
        if not isinstance(norms, list):
            return norms
        for place, gradient in enumerate(self.current()):
            # There cannot be more elements of the largest size than that.
            limited = (norms[place] / largest) ** 2
            if (
                _FEW_EQUAL < limited < math.inf
                and gradient is not None
                and gradient.numel() <= _FEW_ELEMENTS
                and _are_usual([gradient])
            ):
                norms[place] = _norm_by_rows(gradient)
        return norms

    def _norms_on_cpu(self, gradients: Sequence[Tensor | None]) -> list[float]:
        """Return the norm of each gradient, with the usual case of `sum_of_squares` inlined.

        Without the calls and without `no_grad` it takes two thirds of the time.
        """
        dot, sqrt, float32 = torch.dot, math.sqrt, torch.float32
        norms = [math.nan] * len(gradients)
        if self._together:
            places, usual = _usual(gradients, self._together)
            found = self._norm_of_each(usual) if usual else ()
            for place, norm in zip(places, found, strict=True):
                norms[place] = norm.item()
        for place in self._alone:
            gradient = gradients[place]
            if gradient is not None and gradient.dtype is float32 and not gradient.is_sparse:
                if gradient.numel() > _FEW_ELEMENTS:
                    norms[place] = _norm_by_rows(gradient)
                    continue
                flat = gradient if gradient.ndim == 1 else gradient.flatten()
                norms[place] = sqrt(dot(flat, flat).item())
        if not (all(map(le, self._trusted_from, norms)) and max(norms) <= _TRUSTED_TO):
            for place, (least, value) in enumerate(zip(self._trusted_from, norms, strict=True)):
                if not least <= value <= _TRUSTED_TO:
                    norms[place] = sqrt(sum_of_squares(gradients[place]))
        return norms

    @torch.no_grad()
    def scale_(self, coefficients: float | Tensor) -> None:
        """Multiply the gradients by one coefficient, a number or (), or by one each, (P,).

        The update may apply a single coefficient instead: see `leave_scaling`.
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
            # Reading a number is cheap here, and skipping a factor of 1 saves a pass.
            for parameter, coefficient in zip(self.parameters, each.tolist(), strict=True):
                if coefficient != 1.0 and parameter.grad is not None:
                    parameter.grad.mul_(coefficient)
        else:
            for parameter, factor in zip(self.parameters, each.unbind(), strict=True):
                if parameter.grad is not None:
                    parameter.grad.mul_(factor.to(parameter.grad.dtype))

    def take_factor(self) -> float | Tensor:
        """Return the factor that the update has to apply, and reset it."""
        factor, self._factor = self._factor, 1.0
        return factor

    def clear(self) -> None:
        """Remove the gradients, as `optimizer.zero_grad` does, but in 8 us instead of 80."""
        for parameter in self.parameters:
            parameter.grad = None

    def layer_norms(self, parameter_norms: Norms) -> Tensor:
        """Derive the layers' norms (L,) from the parameters' norms."""
        norms = as_tensor(parameter_norms)
        squares = norms.new_zeros(len(self.layers))
        squares.index_add_(0, self.layer_of_parameter, norms.square())
        return squares.sqrt_()


def as_tensor(norms: Norms) -> Tensor:
    """Return norms as a tensor (P,), on their device."""
    return torch.tensor(norms, dtype=torch.float64) if isinstance(norms, list) else norms


def on_host(norms: Norms) -> NDArray[np.float64]:
    """Return norms as an array (P,); waits for the device."""
    return as_tensor(norms).cpu().double().numpy()


def total_norm(norms: Norms) -> Tensor:
    """Return the norm over all parameters, ()."""
    total: Tensor = torch.linalg.vector_norm(as_tensor(norms))
    return total


def scaled(norms: Norms, coefficients: Tensor) -> Norms:
    """Return norms times coefficients, () or (P,), as a list or a tensor, whichever `norms` is."""
    product = as_tensor(norms) * coefficients
    return product.tolist() if isinstance(norms, list) else product


def sum_of_squares(tensor: Tensor | None) -> float:
    """Return the sum of squares of a tensor on the CPU; 0 for None.

    A dot product is the cheapest reduction on the CPU: 33 us for the six gradients of the default
    MLP, compared with 154 us of `clip_grad_norm_`. Tensors of more than 131,072 elements are summed
    in rows. If the result is out of float32's range, it is computed again in float64.

    The norm's relative error, measured with `benchmarks/norms.py`:

        elements              random ones    all equal, or clipped to equal ones
        4,096                     5e-8           1e-6
        131,072                   2e-7           4e-5
        200,000..40,000,000       2e-8           3e-7

    For more than 131,072 elements it is below 1e-6 whatever they are.
    """
    if tensor is None:
        return 0.0
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.dtype is torch.float32:
        if tensor.numel() > _FEW_ELEMENTS:
            value = _norm_by_rows(tensor) ** 2
        else:
            flat = tensor.flatten()
            value = torch.dot(flat, flat).item()
        if _trusted_from(tensor) <= math.sqrt(value) <= _TRUSTED_TO:
            return value
    return _norm(tensor, torch.float64).item() ** 2


def _norm_by_rows(tensor: Tensor) -> float:
    """Return the norm of a dense float32 tensor: of rows in float32, of their norms in float64."""
    # Each call costs about 5 us after a backward pass, so the usual tensor gets as few as possible.
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    odd, rest = tensor.numel() % _ROW, 0.0
    if odd:
        flat = tensor.view(-1)
        tensor, last = flat[:-odd], flat[-odd:]
        rest = math.sqrt(torch.dot(last, last).item())
    norms = torch.linalg.vector_norm(tensor.view(-1, _ROW), 2, 1)
    # Of the ways to sum few numbers in float64 this is the cheapest: 3 us, converting them 14.
    norm: float = torch.linalg.vector_norm(norms, dtype=torch.float64).item()
    return math.hypot(norm, rest) if odd else norm


def _trusted_from(tensor: Tensor) -> float:
    """Return the smallest norm for which float32 can hold the squares of a tensor."""
    return math.sqrt(tensor.numel() * _TRUSTED_FROM_PER_ELEMENT)


def _alone_and_together(parameters: Sequence[Tensor]) -> tuple[list[int], list[int]]:
    """Return the indices of the parameters measured one by one, and of those in one call."""
    small = [i for i, parameter in enumerate(parameters) if parameter.numel() <= _FEW_ELEMENTS]
    together = small if len(small) >= _MANY else []
    not_alone = set(together)
    return [i for i in range(len(parameters)) if i not in not_alone], together


def _usual(
    gradients: Sequence[Tensor | None], places: Sequence[int]
) -> tuple[Sequence[int], Sequence[Tensor]]:
    """Return the places whose gradients exist, dense and of float32, and those gradients."""
    chosen = gradients if len(places) == len(gradients) else [gradients[i] for i in places]
    if _are_usual(chosen):
        return places, chosen
    found = [(i, one) for i, one in zip(places, chosen, strict=True) if _are_usual([one])]
    return [i for i, _ in found], [one for _, one in found if one is not None]


def _are_usual(gradients: Sequence[Tensor | None]) -> TypeGuard[Sequence[Tensor]]:
    """Whether all gradients exist, dense and of float32; `map` keeps the loop out of Python."""
    return (
        set(map(type, gradients)) == {Tensor}
        and set(map(_DTYPE, gradients)) == {torch.float32}
        and not any(map(_IS_SPARSE, gradients))
    )


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
