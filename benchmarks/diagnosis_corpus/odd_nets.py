"""Nets that look odd and are sound: rows nobody uses, branches that begin at zero, tied weights."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diagnosis_corpus.nets import WIDTH


class Lora(nn.Module):
    """A frozen linear layer and a trained difference of low rank that begins at zero."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, signal: Tensor) -> Tensor:
        return self.base(signal) + self.up(self.down(signal))


class Texts(nn.Module):
    """Word indices (b, n) to two logits: an embedding, a recurrent layer, a head."""

    def __init__(self, rows: int, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(rows, width)
        self.cell = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, texts: Tensor) -> Tensor:
        return self.head(self.cell(self.embed(texts))[0].mean(1))


class LayerScaled(nn.Module):
    """x + scale * f(x), with a scale that begins next to nothing (Touvron et al. 2021)."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), scale))
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())

    def forward(self, signal: Tensor) -> Tensor:
        return signal + self.scale * self.body(signal)


class Sometimes(nn.Module):
    """A residual block that is left out of some steps (Huang et al. 2016)."""

    def __init__(self, body: nn.Module, drawn: random.Random) -> None:
        super().__init__()
        self.body, self._drawn = body, drawn

    def forward(self, signal: Tensor) -> Tensor:
        if self.training and self._drawn.random() < 0.3:
            return signal
        return signal + self.body(signal)


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's matrix, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(196, WIDTH)
        self.bias = nn.Parameter(torch.zeros(196))

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(self.encoder(images.flatten(1)))
        return F.linear(hidden, self.encoder.weight.t(), self.bias)


class Pair(nn.Module):
    """A generator and a discriminator of points in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))


class _SquareRoot(torch.autograd.Function):
    """sign(x) (sqrt(1 + |x|) - 1), with its derivative."""

    @staticmethod
    def forward(context: Any, signal: Tensor) -> Tensor:
        context.save_for_backward(signal)
        return signal.sign() * ((1 + signal.abs()).sqrt() - 1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (signal,) = context.saved_tensors
        return gradient / (2 * (1 + signal.abs()).sqrt())


class _Rounded(torch.autograd.Function):
    """Rounds to sixteenths, and passes gradients straight through (Bengio et al. 2013)."""

    @staticmethod
    def forward(context: Any, signal: Tensor) -> Tensor:
        return (signal * 16).round() / 16

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


class ByHand(nn.Module):
    """An activation with a backward pass written by hand."""

    def __init__(self, *, rounds: bool) -> None:
        super().__init__()
        self.rounds = rounds

    def forward(self, signal: Tensor) -> Tensor:
        return _Rounded.apply(signal) if self.rounds else _SquareRoot.apply(signal)
