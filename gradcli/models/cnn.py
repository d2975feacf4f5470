"""Convolutional networks of the LeNet family: convolutions with pooling, then a dense head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import Activation
from gradcli.models.checks import require_dropout, require_image, require_positive


class CNN(nn.Module):
    """Stages of convolution, activation and 2x2 max-pooling, a hidden layer, the output.

    The layout of LeNet-5 (LeCun et al. 1998, section II.B) with max-pooling and with
    convolutions that keep the image's size. The layers are `conv1`, `conv2`, ..., `hidden`,
    `output`.

    Args:
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
        activation: makes the activation of each stage and of the hidden layer.
        channels: the output channels of each convolution, first to last.
        kernel_size: the side of the square kernels; odd, so that the padding is symmetric.
        hidden: the units of the dense hidden layer.
        dropout: the probability of zeroing a unit of the hidden layer.

    Raises:
        UserError: a size or probability is out of range, or the image is too small to be
            halved by every stage.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        activation: Activation,
        channels: Sequence[int] = (16, 32),
        kernel_size: int = 5,
        hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("CNN", input_shape)
        require_positive("model.channels", *channels)
        require_positive("model.kernel_size", kernel_size)
        require_positive("model.hidden", hidden)
        require_dropout(dropout)
        if kernel_size % 2 == 0:
            raise UserError(
                f"kernel_size must be odd to keep the image's size, not {kernel_size}",
                where="model.kernel_size",
                hint=f"model.kernel_size={kernel_size + 1}",
            )
        image_channels, height, width = input_shape
        shrink = 2 ** len(channels)
        if min(height, width) < shrink:
            raise UserError(
                f"{len(channels)} pooling layers need images of at least {shrink} x {shrink} "
                f"pixels, not {height} x {width}",
                where="model.channels",
            )
        stages = nn.ModuleDict()
        for number, (before, after) in enumerate(pairwise([image_channels, *channels]), start=1):
            stages[f"conv{number}"] = nn.Conv2d(
                before, after, kernel_size, padding=kernel_size // 2
            )
            stages[f"activation{number}"] = activation()
            stages[f"pool{number}"] = nn.MaxPool2d(2)
        for name, module in stages.items():
            self.add_module(name, module)
        self._stages = list(stages)
        last_channels = [image_channels, *channels][-1]
        self.hidden = nn.Linear(last_channels * (height // shrink) * (width // shrink), hidden)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w) to logits (b, classes)."""
        signal = images
        for name in self._stages:
            signal = getattr(self, name)(signal)
        signal = self.activation(self.hidden(signal.flatten(start_dim=1)))
        logits: torch.Tensor = self.output(self.dropout(signal))
        return logits
