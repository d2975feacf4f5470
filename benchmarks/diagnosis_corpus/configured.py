"""Models that a config can name beyond gradcli's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diagnosis_corpus.broken_modules import Wrong
from diagnosis_corpus.nets import Attention


class Transformer(nn.Module):
    """Rows of an image as tokens, blocks of attention, and a head on the mean of the tokens."""

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, width: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        _, height, row = input_shape
        self.embed = nn.Linear(row, width)
        self.place = nn.Parameter(0.02 * torch.randn(height, width))
        self.blocks = nn.Sequential(*(Attention(width) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.blocks(self.embed(images[:, 0]) + self.place)
        return self.head(self.norm(tokens).mean(1))


class WrongBackward(nn.Sequential):
    """An MLP with an identity in its middle whose backward pass scales gradients."""

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, factor: float = -1.0
    ) -> None:
        channels, height, width = input_shape
        size = channels * height * width
        first = [nn.Flatten(), nn.Linear(size, 32), nn.Tanh(), Wrong(factor)]
        super().__init__(*first, nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, classes))
