"""Autograd against central differences in float64: is each layer's derivative right?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradcli.errors import UserError
from gradcli.gradients.layers import find_layers
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.batch_loss import BatchLoss
from gradcli.probes.measuring.untouched import random_states_kept, untouched

#: The relative error up to which two derivatives agree. Correct ones agree to about 1e-7, or 1e-4
#: if the step crosses a kink of ReLU; wrong ones are off by several percent or more.
TOLERANCE = 1e-3
# With a shorter step the truncation error falls quadratically and the rounding error rises; a
# short step also crosses few kinks.
_STEP = 1e-6
# Biases of exactly zero and flat image borders lie on kinks of ReLU and ties of max-pooling, at
# which no derivative exists. Noise of this standard deviation shifts all points off them.
_SHIFT = 1e-3
_ROUNDING = 4 * torch.finfo(torch.float64).eps

_Function = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How autograd's derivatives compare with differences of function values in one place."""

    name: str
    relative_error: float
    """||autograd - numeric|| / max(||autograd||, ||numeric||) over the sampled directions."""
    derivative: float
    """That maximum."""
    resolution: float
    """The derivative that rounding alone can produce."""

    @property
    def agrees(self) -> bool:
        """Whether the two agree to `TOLERANCE`, or to within rounding."""
        return (
            self.relative_error * self.derivative <= TOLERANCE * self.derivative + self.resolution
        )

    @property
    def resolved(self) -> bool:
        """Whether an error of 1% would show: a vanished gradient is lost in rounding."""
        return self.resolution < 0.01 * self.derivative


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """The result for the whole model and for each of its parts."""

    layers: tuple[Agreement, ...]
    """The derivative of the loss w.r.t. each layer's parameters. One wrong module spoils those of
    all layers before it."""
    modules: tuple[Agreement, ...]
    """The derivative of each innermost module alone w.r.t. its own inputs and parameters."""

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of what has a wrong derivative; empty if nothing has.

        Those are modules. If layers disagree although every module alone is right, the fault is
        in a function between modules: the layer before it is named, which is the last one that
        disagrees.
        """
        modules = tuple(module.name for module in self.modules if not module.agrees)
        layers = tuple(layer.name for layer in self.layers if not layer.agrees)
        return modules or layers[-1:]


def check_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: LossFunction = cross_entropy,
    seed: int = 0,
    directions: int = 2,
    coordinates: int = 4,
) -> GradientCheck:
    """Compare derivatives by autograd with (f(x + s d) - f(x - s d)) / 2s, s = 1e-6.

    The directions d are random ones of norm 1 and single coordinates. The check uses a copy in
    float64, with weights shifted by noise of 1e-3 to avoid kinks at exact zeros.

    Costs two forward passes in float64 for each direction and coordinate: with P parameter
    tensors in L layers, 2 (directions L + coordinates P) of the whole model and about as many of
    each module alone.

    Args:
        model: maps inputs to outputs.
        inputs: a batch, (b, ...); a small one will do.
        targets: its targets, (b, ...).
        loss: of outputs and targets, ().
        seed: of the directions and the shifts.
        directions: how many random directions for each layer and module.
        coordinates: how many coordinates of each parameter.

    Raises:
        UserError: the model cannot be computed in float64.
    """
    generator = torch.Generator().manual_seed(seed)
    with untouched(model):
        twin = _in_float64(model)
        with torch.no_grad():
            for parameter in twin.parameters():
                if parameter.is_floating_point():
                    parameter.add_(_noise(parameter, generator), alpha=_SHIFT)
        try:
            calls = _record_calls(twin, inputs.double() if inputs.is_floating_point() else inputs)
        except RuntimeError as error:
            raise UserError(
                f"differences are taken in float64, and the model fails in float64: {error}",
                where="model",
            ) from error
        sampling = _Sampling(generator, directions, coordinates)
        layers = tuple(
            _check_layers(BatchLoss(twin, inputs, targets, loss, torch.float64), twin, sampling)
        )
        modules = tuple(_check_module(call, sampling) for call in calls)
    return GradientCheck(layers, modules)


@dataclass(frozen=True, slots=True)
class _Sampling:
    """The directions in which derivatives are compared."""

    generator: torch.Generator
    directions: int
    coordinates: int

    def __call__(self, point: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        """Yield directions of norm 1 in the space of `point`."""
        for _ in range(self.directions):
            random = [_noise(tensor, self.generator) for tensor in point]
            norm = math.sqrt(sum(float(tensor.square().sum()) for tensor in random))
            yield [tensor / norm for tensor in random]
        for index, tensor in enumerate(point):
            for _ in range(self.coordinates):
                unit = [
                    torch.zeros_like(other, memory_format=torch.contiguous_format)
                    for other in point
                ]
                place = torch.randint(tensor.numel(), (), generator=self.generator)
                unit[index].view(-1)[place] = 1.0
                yield unit


def _check_layers(loss: BatchLoss, twin: nn.Module, sampling: _Sampling) -> Iterator[Agreement]:
    for layer in find_layers(twin):
        names = [p.name for p in layer.parameters if p.name in loss.parameters]
        if names:
            yield _compare(
                layer.name,
                partial(_loss_at, loss, names),
                [loss.parameters[name] for name in names],
                sampling,
            )


def _loss_at(loss: BatchLoss, names: Sequence[str], values: Sequence[Tensor]) -> Tensor:
    return loss(dict(zip(names, values, strict=True)))


@dataclass(frozen=True, slots=True)
class _Call:
    """The first call of an innermost module, and its arguments."""

    name: str
    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


def _record_calls(twin: nn.Module, inputs: Tensor) -> list[_Call]:
    """Run `twin` once and return the calls of the modules that have no children."""
    calls: dict[str, _Call] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            copied = tuple(_copied(argument) for argument in arguments)
            calls.setdefault(name, _Call(name, module, copied, keywords))

        return hook

    handles = [
        module.register_forward_pre_hook(watch(name or "(model)"), with_kwargs=True)
        for name, module in twin.named_modules()
        if not any(True for _ in module.children())
    ]
    with torch.no_grad():
        twin(inputs)
    for handle in handles:
        handle.remove()
    return list(calls.values())


def _check_module(call: _Call, sampling: _Sampling) -> Agreement:
    """Check a module alone: the derivative of its output in a random direction."""
    arguments = list(call.arguments)
    places = [i for i, a in enumerate(arguments) if _is_real(a)]
    parameters = {n: p for n, p in call.module.named_parameters() if p.requires_grad}

    def output(values: Sequence[Tensor]) -> Tensor:
        given = list(arguments)
        for place, value in zip(places, values, strict=False):
            given[place] = value.clone()  # the module may work in place
        state = dict(zip(parameters, values[len(places) :], strict=True))
        with random_states_kept(call.module):
            result = functional_call(call.module, state, tuple(given), call.keywords)
        first: Tensor = result[0] if isinstance(result, tuple) else result
        return first

    shifted = [
        arguments[place] + _SHIFT * _noise(arguments[place], sampling.generator) for place in places
    ]
    point = [*shifted, *parameters.values()]
    with torch.no_grad():
        weights = _noise(output(point), sampling.generator)
    weights /= math.sqrt(weights.numel())
    return _compare(call.name, lambda values: (output(values) * weights).sum(), point, sampling)


def _compare(
    name: str, function: _Function, point: Sequence[Tensor], sampling: _Sampling
) -> Agreement:
    """Compare the derivatives of a scalar function of several tensors at `point`."""
    leaves = [tensor.detach().requires_grad_() for tensor in point]
    value = function(leaves)
    gradients = (
        torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        if value.requires_grad
        else [torch.zeros_like(leaf) for leaf in leaves]
    )
    by_autograd, numeric = [], []
    size = abs(float(value.detach()))
    with torch.no_grad():
        for direction in sampling(point):
            ahead, behind = (
                float(function([p + s * d for p, d in zip(point, direction, strict=True)]))
                for s in (_STEP, -_STEP)
            )
            numeric.append((ahead - behind) / (2 * _STEP))
            by_autograd.append(
                sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
            )
    difference = math.hypot(*(a - n for a, n in zip(by_autograd, numeric, strict=True)))
    derivative = max(math.hypot(*by_autograd), math.hypot(*numeric))
    return Agreement(
        name=name,
        relative_error=difference / derivative if derivative else 0.0,
        derivative=derivative,
        resolution=_ROUNDING * max(size, 1.0) / _STEP * math.sqrt(len(numeric)),
    )


def _in_float64(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers in the shape, type and place of `tensor`."""
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype).to(tensor.device)


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
