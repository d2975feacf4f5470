"""The initial weights of a model.

An initialisation fills every weight matrix of the linear, convolutional and recurrent modules
and sets their biases. It never touches the scales and shifts of norm layers. A recurrent module
stacks the matrices of its gates; each gate's block is filled as a separate matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import usual_gain
from gradcli.models.checks import require_choice

Distribution = Literal["normal", "uniform"]

_DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True, kw_only=True)
class Initialisation(ABC):
    """Fills the weights of a model in place, with torch's default generator.

    A subclass implements `fill`, which initialises one weight matrix.

    Args:
        bias: a constant for all biases; None leaves those that PyTorch drew.
    """

    bias: float | None = 0.0

    def __call__(self, model: nn.Module, activation: nn.Module) -> None:
        """Initialise `model`, whose layers feed activations like `activation`."""
        for matrix, default_gain in _matrices(model, usual_gain(activation)):
            self.fill(matrix, default_gain)
        if self.bias is not None:
            for bias in _biases(model):
                nn.init.constant_(bias, self.bias)

    @abstractmethod
    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Fill a weight (out, in, *kernel) in place; `default_gain` suits the next activation."""


@dataclass(frozen=True, kw_only=True)
class Default(Initialisation):
    """What PyTorch's modules do themselves: uniform within 1/sqrt(fan_in), also for biases.

    Recurrent modules use 1/sqrt(hidden size) for everything.

    Args:
        bias: a constant for all biases; None leaves those that PyTorch drew.
    """

    bias: float | None = None

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Leave the weight as the module drew it."""


@dataclass(frozen=True, kw_only=True)
class Xavier(Initialisation):
    """Variance gain^2 * 2 / (fan_in + fan_out) (Glorot and Bengio 2010, equations 12 and 16).

    Args:
        gain: the factor on the standard deviation; None is the activation's usual one
            (`usual_gain`), and 1 in recurrent modules, where it would compound over time.
        distribution: the distribution with that variance.
        bias: a constant for all biases; None leaves those that PyTorch drew.

    Raises:
        UserError: the gain is negative or there is no such distribution.
    """

    gain: float | None = None
    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        _require_gain(self.gain)
        require_choice("init.distribution", self.distribution, ("normal", "uniform"))

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Draw with standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
        gain = default_gain if self.gain is None else self.gain
        fan_in, fan_out = _fans(matrix)
        _draw(matrix, gain * math.sqrt(2.0 / (fan_in + fan_out)), self.distribution)


@dataclass(frozen=True, kw_only=True)
class Kaiming(Initialisation):
    """Variance gain^2 / fan_in (He et al. 2015, arXiv 1502.01852, section 2.2).

    Args:
        gain: the factor on the standard deviation; None is the activation's usual one
            (`usual_gain`), and 1 in recurrent modules, where it would compound over time.
        mode: `fan_in` keeps the variance of the signal in the forward pass, `fan_out` that of
            the gradient in the backward pass.
        distribution: the distribution with that variance.
        bias: a constant for all biases; None leaves those that PyTorch drew.

    Raises:
        UserError: the gain is negative, or there is no such mode or distribution.
    """

    gain: float | None = None
    mode: Literal["fan_in", "fan_out"] = "fan_in"
    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        _require_gain(self.gain)
        require_choice("init.mode", self.mode, ("fan_in", "fan_out"))
        require_choice("init.distribution", self.distribution, ("normal", "uniform"))

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Draw with standard deviation gain / sqrt(fan)."""
        gain = default_gain if self.gain is None else self.gain
        fan_in, fan_out = _fans(matrix)
        fan = fan_in if self.mode == "fan_in" else fan_out
        _draw(matrix, gain / math.sqrt(fan), self.distribution)


@dataclass(frozen=True, kw_only=True)
class Orthogonal(Initialisation):
    """Orthonormal rows or columns, whichever are fewer, times the gain.

    A kernel is flattened to (out, in * height * width). Saxe et al. 2013, arXiv 1312.6120,
    section 3.

    Args:
        gain: every singular value; None is the activation's usual one (`usual_gain`), and 1 in
            recurrent modules, where it would compound over time.
        bias: a constant for all biases; None leaves those that PyTorch drew.

    Raises:
        UserError: the gain is negative.
    """

    gain: float | None = None

    def __post_init__(self) -> None:
        _require_gain(self.gain)

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Draw an orthogonal matrix uniformly and multiply it by the gain."""
        nn.init.orthogonal_(matrix, default_gain if self.gain is None else self.gain)


@dataclass(frozen=True, kw_only=True)
class Normal(Initialisation):
    """Normal with the same standard deviation for every layer, whatever its size.

    Args:
        std: the standard deviation.
        bias: a constant for all biases; None leaves those that PyTorch drew.

    Raises:
        UserError: the standard deviation is not positive.
    """

    std: float = 0.05

    def __post_init__(self) -> None:
        _require_std(self.std)

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Draw with the standard deviation; the gain is not used."""
        nn.init.normal_(matrix, std=self.std)


@dataclass(frozen=True, kw_only=True)
class TruncatedNormal(Initialisation):
    """Normal, cut at two standard deviations, with the same `std` for every layer.

    Args:
        std: the standard deviation before the cut, which reduces it to 0.880 of that.
        bias: a constant for all biases; None leaves those that PyTorch drew.

    Raises:
        UserError: the standard deviation is not positive.
    """

    std: float = 0.05

    def __post_init__(self) -> None:
        _require_std(self.std)

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Draw with the standard deviation; the gain is not used."""
        nn.init.trunc_normal_(matrix, std=self.std, a=-2 * self.std, b=2 * self.std)


@dataclass(frozen=True, kw_only=True)
class Zeros(Initialisation):
    """All weights zero, where a model without hidden layers may begin: its loss is convex.

    Units of a hidden layer would all get the same gradient, or none, and stay alike.

    Args:
        bias: a constant for all biases; None leaves those that PyTorch drew.
    """

    def fill(self, matrix: torch.Tensor, default_gain: float) -> None:
        """Set every weight to zero; the gain is not used."""
        nn.init.zeros_(matrix)


def _matrices(model: nn.Module, dense_gain: float) -> Iterator[tuple[torch.Tensor, float]]:
    """Yield each weight matrix as a view to fill, and its usual gain."""
    for module in model.modules():
        if isinstance(module, _DENSE):
            yield module.weight.detach(), dense_gain
        elif isinstance(module, _RECURRENT):
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("weight"):
                    for gate in torch.split(parameter.detach(), module.hidden_size):
                        yield gate, 1.0


def _biases(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the biases that belong to the weights of `_matrices`."""
    for module in model.modules():
        if isinstance(module, (*_DENSE, *_RECURRENT)):
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("bias"):
                    yield parameter


def _fans(matrix: torch.Tensor) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight (out, in, *kernel)."""
    outputs, inputs, *kernel = matrix.shape
    return inputs * math.prod(kernel), outputs * math.prod(kernel)


def _draw(matrix: torch.Tensor, std: float, distribution: Distribution) -> None:
    if distribution == "normal":
        nn.init.normal_(matrix, std=std)
    else:
        bound = math.sqrt(3.0) * std
        nn.init.uniform_(matrix, -bound, bound)


def _require_gain(gain: float | None) -> None:
    if gain is not None and not 0.0 <= gain < math.inf:
        raise UserError(f"the gain must be 0 or more, not {gain}", where="init.gain")


def _require_std(std: float) -> None:
    if not 0.0 < std < math.inf:
        raise UserError(f"the standard deviation must be above 0, not {std}", where="init.std")
