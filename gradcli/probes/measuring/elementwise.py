"""Activation modules: which modules are one, and the derivative of any of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Beyond +-20 every common activation is straight or flat to float32 rounding.
_GRID = torch.linspace(-20.0, 20.0, 4001)
# Within half a unit of zero no activation that should pass a signal is flat.
_NEAR_ZERO = torch.tensor([[-0.5, 0.5]])


@dataclass(frozen=True, slots=True)
class Shape:
    """What the derivative of an activation looks like from -20 to 20."""

    largest_derivative: float
    """The largest absolute value: 1 for tanh and ReLU, 1/4 for the sigmoid."""
    saturates: bool
    """Whether it vanishes at both ends but on neither side of zero, as tanh's does. ReLU is
    straight at one end, and ReLU6 is flat below zero: half of the units are off there."""


def activation_shape(module: nn.Module, flat_below_share: float) -> Shape | None:
    """Describe `module` if it is an activation: a nonlinear function of each element alone.

    A module qualifies if it has no children and at most one parameter, and if it gives the same
    for each half of a grid of numbers as for the whole. Softmax and norms do not, nor does
    anything that changes the shape. Linear functions do not count (identity, flatten, dropout).

    Args:
        module: any module; a copy of it is called, in evaluation mode.
        flat_below_share: the share of the largest derivative below which an activation is flat.
    """
    parameters = list(module.parameters())
    if any(True for _ in module.children()) or sum(p.numel() for p in parameters) > 1:
        return None
    twin = copy.deepcopy(module).eval()
    device = parameters[0].device if parameters else _GRID.device
    grid = _GRID.to(device).unsqueeze(0)
    half = grid.shape[1] // 2
    try:
        whole, derivative = value_and_derivative(twin, grid)
        parts = [value_and_derivative(twin, p)[0] for p in (grid[:, :half], grid[:, half:])]
        _, near_zero = value_and_derivative(twin, _NEAR_ZERO.to(device))
    except Exception:
        # A module that rejects a row of numbers does not act on each element alone.
        return None
    elementwise = whole.shape == grid.shape and torch.equal(whole, torch.cat(parts, dim=1))
    if not elementwise or bool((derivative == derivative[0, 0]).all()):
        return None
    largest = float(derivative.abs().max())
    flat = flat_below_share * largest
    ends_are_flat = bool((derivative[0, [0, -1]].abs() < flat).all())
    return Shape(largest, ends_are_flat and bool((near_zero.abs() >= flat).all()))


def value_and_derivative(module: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(inputs) and f'(inputs) of an elementwise module, both in the inputs' shape.

    `forward` is called directly, so that no hook runs.
    """
    with torch.enable_grad():
        points = inputs.detach().requires_grad_()
        # A module may work in place, and a leaf must not be overwritten.
        values = module.forward(points.clone())
        (derivative,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), derivative
