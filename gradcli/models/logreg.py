"""Logistic regression: one linear layer on the pixels."""

from __future__ import annotations

import math

import torch
from torch import nn


class LogisticRegression(nn.Module):
    """A linear map from pixels to logits; its training loss is convex.

    The only layer is `output`.

    Args:
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
    """

    def __init__(self, *, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(math.prod(input_shape), classes)

    @property
    def chain(self) -> list[nn.Module]:
        """The only module that flattened images pass through."""
        return [self.output]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w) to logits (b, classes)."""
        logits: torch.Tensor = self.output(images.flatten(start_dim=1))
        return logits
