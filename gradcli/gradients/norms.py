"""The gradients of a model's parameters: their norms, and scaling them.

Gradients are read here, once per step. One pass gives a norm for each parameter; the norms of
layers and of the whole gradient, clipping, logging and diagnosis derive from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import attrgetter, le
from typing import TypeAlias, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradcli.fast.foreach_norm import norm_of_each
from gradcli.gradients.layers import layer_parameters
from gradcli.gradients.shards import local_part
from gradcli.records import LayerInfo

# From a dense float32 tensor to its norm.
_Measure: TypeAlias = Callable[[Tensor], float]

# A float32 sum of squares is right to rounding if no relevant square is below the smallest normal
# number, 2**-126, and the sum has not overflowed. n squares lost below it are at most n * 2**-126,
# which can change a sum below 2**24 times that.
_TRUSTED_FROM_PER_ELEMENT = 2.0 ** (-126 + 24)
_TRUSTED_TO = 2.0**63.5

# A float32 sum loses digits in proportion to how many numbers are added one after another: each
# rounding may go the same way, as it does among equal elements. At most 32 in a row leave a norm
# right to 1e-6 whatever the elements are. The kernel of `torch.linalg.vector_norm` has 8 partial
# sums, that of `torch.dot` 16, so either may take 256 elements at once. More are measured in rows,
# and the norms of rows once more: up to 32,768 elements by rows of 128 and a dot product of their
# norms (at most 16 and 16 in a row), beyond that by rows of 256 and a sum in float64.
_AT_ONCE = 256
_SHORT_ROW = 128
_SHORT_ROWS_TO = 1 << 15

# In a training loop, with one thread, this costs 3 to 5 us more per gradient of 257 to 32,768
# elements than a dot product does: 0.4% of the default MLP's step, 2% of that of 20 layers of width
# 128.

# From this many gradients of one shape on, each of at most this many elements, one stack of them is
# measured: the 42 gradients of a 20-layer net of width 32 take 110 us in a training loop, compared
# with 150 one by one. Copying larger ones costs what it saves.
_MANY = 8
_STACKED_TO = 1 << 12

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
        parts = [local_part(parameter) for parameter in self.parameters]
        self._trusted_from = [_trusted_from(part) for part in parts]
        self._stacks, self._alone = _stacked_and_alone(parts)
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

        Each is right to 1e-6, relative to its size, whatever the elements are (see
        `sum_of_squares`), also beyond float32's range: gradients of 1e-24 are not measured as zero,
        nor gradients of 1e18 as infinite. On an accelerator nothing is transferred to the host.

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
            zero = local_part(self.parameters[0]).new_zeros((), dtype=dtype)
            return torch.stack([zero if one is None else _norm(one, dtype) for one in gradients])

    def _norms_on_cpu(self, gradients: Sequence[Tensor | None]) -> list[float]:
        """Return the norm of each gradient; `no_grad`, which nothing here needs, costs time."""
        norms = [math.nan] * len(gradients)
        for places in self._stacks:
            found, usual = _usual(gradients, places)
            for place, norm in zip(found, _norms_of_stack(usual), strict=True):
                norms[place] = norm
        for place, measure in self._alone:
            gradient = gradients[place]
            if gradient is not None and gradient.dtype is torch.float32 and not gradient.is_sparse:
                norms[place] = measure(gradient)
        # Those that are not usual, or out of float32's range.
        if not (all(map(le, self._trusted_from, norms)) and max(norms) <= _TRUSTED_TO):
            for place, (least, value) in enumerate(zip(self._trusted_from, norms, strict=True)):
                if not least <= value <= _TRUSTED_TO:
                    norms[place] = math.sqrt(sum_of_squares(gradients[place]))
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

    A float32 tensor is summed in float32, in short pieces. If the result is out of float32's range,
    it is computed again in float64. The norm's relative error is below 1e-6 whatever the elements
    are. The worst that `benchmarks/norms.py` finds, among them elements chosen to be lost:

        elements               random    equal or clipped    any
        1..256                  7e-8          2.4e-7        9.3e-7
        257..32,768             7e-8          2.1e-7        6.9e-7
        32,769..40,000,000      5e-9          2.4e-7        9.3e-7

    A single float32 dot product is off by up to 1.9e-6 at 4,096 equal elements, 3.6e-5 at 100,000
    and 1.5e-2 at 40 million.
    """
    if tensor is None:
        return 0.0
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.dtype is torch.float32:
        norm = _measure_of(tensor.numel())(tensor)
        if _trusted_from(tensor) <= norm <= _TRUSTED_TO:
            return norm * norm
    return _norm(tensor, torch.float64).item() ** 2


def _measure_of(elements: int) -> _Measure:
    """Return the cheapest function that gives the norm of so many elements to 1e-6."""
    if elements <= _AT_ONCE:
        return _norm_by_product
    if elements > _SHORT_ROWS_TO:
        return _norm_by_rows
    return _norm_by_squares if elements % _SHORT_ROW else _norm_by_short_rows


def _norm_by_product(tensor: Tensor) -> float:
    """Return the norm of a dense float32 tensor of at most 256 elements."""
    flat = tensor if tensor.ndim == 1 else tensor.flatten()
    return math.sqrt(torch.dot(flat, flat).item())


def _norm_by_squares(tensor: Tensor) -> float:
    """Return the norm of a dense float32 tensor, of whose squares a copy is made."""
    # `torch.sum` adds up in blocks of blocks, and so may take any number of elements.
    return math.sqrt((tensor * tensor).sum().item())


def _norm_by_short_rows(tensor: Tensor) -> float:
    """Return the norm of a dense float32 tensor of at most 256 rows of 128 elements."""
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    norms = torch.linalg.vector_norm(tensor.view(-1, _SHORT_ROW), 2, 1)
    return math.sqrt(torch.dot(norms, norms).item())


def _norms_of_stack(tensors: Sequence[Tensor]) -> Iterable[float]:
    """Return the norm of each of any number of dense float32 tensors of one shape."""
    if not tensors:
        return ()
    elements = tensors[0].numel()
    stack = torch.stack(tuple(tensors)).view(len(tensors), elements)
    if elements <= _AT_ONCE:
        norms: list[float] = torch.linalg.vector_norm(stack, 2, 1).tolist()
        return norms
    return map(math.sqrt, stack.mul_(stack).sum(1).tolist())


def _norm_by_rows(tensor: Tensor) -> float:
    """Return the norm of a dense float32 tensor: of rows in float32, of their norms in float64."""
    # Each call costs about 5 us after a backward pass, so the usual tensor gets as few as possible.
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    odd, rest = tensor.numel() % _AT_ONCE, 0.0
    if odd:
        flat = tensor.view(-1)
        tensor, last = flat[:-odd], flat[-odd:]
        rest = math.sqrt(torch.dot(last, last).item())
    norms = torch.linalg.vector_norm(tensor.view(-1, _AT_ONCE), 2, 1)
    # Of the ways to sum few numbers in float64 this is the cheapest: 3 us, converting them 14.
    norm: float = torch.linalg.vector_norm(norms, dtype=torch.float64).item()
    return math.hypot(norm, rest) if odd else norm


def _trusted_from(tensor: Tensor) -> float:
    """Return the smallest norm for which float32 can hold the squares of a tensor."""
    return math.sqrt(tensor.numel() * _TRUSTED_FROM_PER_ELEMENT)


def _stacked_and_alone(
    parameters: Sequence[Tensor],
) -> tuple[list[list[int]], list[tuple[int, _Measure]]]:
    """Return the places of parameters measured in a stack, and those measured alone, and how."""
    alike: dict[torch.Size, list[int]] = {}
    for place, parameter in enumerate(parameters):
        if parameter.numel() <= _STACKED_TO:
            alike.setdefault(parameter.shape, []).append(place)
    stacks = [places for places in alike.values() if len(places) >= _MANY]
    stacked = set(chain.from_iterable(stacks))
    alone = [
        (place, _measure_of(parameter.numel()))
        for place, parameter in enumerate(parameters)
        if place not in stacked
    ]
    return stacks, alone


def _usual(
    gradients: Sequence[Tensor | None], places: Sequence[int]
) -> tuple[Sequence[int], Sequence[Tensor]]:
    """Return the places whose gradients exist, dense and of float32, and those gradients."""
    chosen = [gradients[place] for place in places]
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
