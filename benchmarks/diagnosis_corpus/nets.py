"""The architectures of the own loops: a stem, some blocks and a head, called in this order.

Faults are planted by position, so every net has `stem`, `blocks` and `head`.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from diagnosis_corpus.tasks import CLASSES

WIDTH = 48
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU)


class Net(nn.Module):
    """Images (b, 1, 14, 14) to logits (b, 10) by way of a stem, blocks and a head."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)))


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, signal: Tensor) -> Tensor:
        return signal + self.body(signal)


class Recurrent(nn.Module):
    """Reads (b, 14, width) row by row and puts out all states, or the last one."""

    def __init__(self, cell: nn.RNNBase, last: bool) -> None:
        super().__init__()
        self.cell, self.last = cell, last

    def forward(self, rows: Tensor) -> Tensor:
        states = self.cell(rows)[0]
        return states[:, -1] if self.last else states


class Rows(nn.Module):
    """Images to sequences of their rows: (b, 1, 14, 14) to (b, 14, 14)."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0]


class Attention(nn.Module):
    """A pre-norm block of self-attention and a small MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.norm2(tokens))


class Tokens(nn.Module):
    """Rows of the image as tokens, with a learnt place each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(14, width)
        self.place = nn.Parameter(0.02 * torch.randn(14, width))

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(images[:, 0]) + self.place


class MeanHead(nn.Module):
    """The mean over tokens, normalised, to logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(self.norm(tokens).mean(1))


def build(architecture: str, drawn: random.Random) -> Net:
    """Return a net; weights come from torch's default generator."""
    activation = drawn.choice(ACTIVATIONS)
    head: nn.Module = nn.Linear(WIDTH, CLASSES)
    match architecture:
        case "mlp":
            depth = drawn.randint(1, 4)
            return Net(_flat(activation), [_dense(activation) for _ in range(depth)], head)
        case "normalised":
            norm = drawn.choice((nn.BatchNorm1d, nn.LayerNorm))
            blocks = [_dense(activation, norm) for _ in range(drawn.randint(2, 5))]
            return Net(_flat(activation), blocks, head)
        case "residual":
            norm = drawn.choice((nn.BatchNorm1d, nn.LayerNorm))
            count = drawn.randint(2, 6)
            bodies = [
                nn.Sequential(norm(WIDTH), activation(), nn.Linear(WIDTH, WIDTH))
                for _ in range(count)
            ]
            return Net(_flat(nn.Identity), [Residual(body) for body in bodies], head)
        case "cnn":
            return _convolutions(activation, drawn)
        case "rnn":
            make = drawn.choice((nn.RNN, nn.GRU, nn.LSTM))
            first = Recurrent(make(14, WIDTH, batch_first=True), last=False)
            blocks = [Recurrent(make(WIDTH, WIDTH, batch_first=True), last=True)]
            return Net(nn.Sequential(Rows(), first), blocks, head)
        case "transformer":
            blocks = [Attention(32) for _ in range(drawn.randint(1, 2))]
            return Net(Tokens(32), blocks, MeanHead(32))
    raise ValueError(architecture)


def _flat(activation: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(196, WIDTH), activation())


def _dense(activation: type[nn.Module], norm: type[nn.Module] | None = None) -> nn.Module:
    linear = nn.Linear(WIDTH, WIDTH)
    return nn.Sequential(linear, *([norm(WIDTH)] if norm else []), activation())


def _convolutions(activation: type[nn.Module], drawn: random.Random) -> Net:
    channels = drawn.choice((6, 8))
    stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), activation(), nn.MaxPool2d(2))
    last = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), activation(), nn.MaxPool2d(2))
    middle = [
        nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), activation())
        for _ in range(drawn.randint(0, 1))
    ]
    dense = nn.Sequential(nn.Flatten(), nn.Linear(16 * 9, WIDTH), activation())
    return Net(stem, [*middle, last, dense], nn.Linear(WIDTH, CLASSES))
