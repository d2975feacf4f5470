"""Modules with a fault: they cut the graph, lie about their derivative, or fail at some values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Detach(nn.Module):
    """Passes values, and no gradient."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return signal.detach()


class WithoutGrad(nn.Module):
    """Runs a module under `no_grad`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.inner(signal)


class Unused(nn.Module):
    """Runs a module, and passes on what it was given instead."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        self.inner(signal)
        return signal


class _Wrong(torch.autograd.Function):
    """The identity, with a backward pass that is not its derivative."""

    @staticmethod
    def forward(context: Any, signal: torch.Tensor, factor: float) -> torch.Tensor:
        context.factor = factor
        return signal.view_as(signal)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return context.factor * gradient, None


class Wrong(nn.Module):
    """Scales gradients by a factor that it has no right to."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return _Wrong.apply(signal, self.factor)


class Broken(nn.Module):
    """Arithmetic that fails for some values."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, signal: Tensor) -> Tensor:
        match self.name:
            case "log":
                return torch.log(signal)
            case "sqrt":
                return torch.sqrt(signal * (signal > 0))
            case "division":
                return signal / torch.relu(signal[:, :1]).round()
            case "exp":
                return torch.exp(150 * signal.abs()) / torch.exp(150 * signal.abs()).sum()
        raise ValueError(self.name)
