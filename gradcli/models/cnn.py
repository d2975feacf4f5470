"""Convolutional networks of the LeNet family: convolutions with pooling, then a dense head.

They read images, and signals with convolutions along their only axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import Activation
from gradcli.models.checks import require_dropout, require_image, require_positive

#: A convolution and a pooling, by the axes that a kernel moves along.
_LAYERS: dict[int, tuple[Any, Any]] = {
    1: (nn.Conv1d, nn.MaxPool1d),
    2: (nn.Conv2d, nn.MaxPool2d),
}


class CNN(nn.Module):
    """Stages of convolution, activation and max-pooling by 2, a hidden layer, the output.

    The layout of LeNet-5 (LeCun et al. 1998, section II.B) with max-pooling and with
    convolutions that keep the image's size. The layers are `conv1`, `conv2`, ..., `hidden`,
    `output`.

    Args:
        input_shape: (channels, height, width) of an image, or (channels, length) of a signal.
        classes: the number of logits.
        activation: makes the activation of each stage and of the hidden layer.
        channels: the output channels of each convolution, first to last.
        kernel_size: the side of the kernels; odd, so that the padding is symmetric.
        hidden: the units of the dense hidden layer.
        dropout: the probability of zeroing a unit of the hidden layer.

    Raises:
        UserError: a size or probability is out of range, or an example is too small to be
            halved by every stage.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        activation: Activation,
        channels: Sequence[int] = (16, 32),
        kernel_size: int = 5,
        hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("CNN", input_shape, or_signal=True)
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
        channels, sides = [input_shape[0], *channels], input_shape[1:]
        stages_count = len(channels) - 1
        shrink = 2**stages_count
        if min(sides) < shrink:
            needed, found = (" x ".join(map(str, one)) for one in ([shrink] * len(sides), sides))
            unit = "pixels" if len(sides) == 2 else "positions"
            raise UserError(
                f"{stages_count} pooling layers need at least {needed} {unit}, not {found}",
                where="model.channels",
            )
        convolution, pooling = _LAYERS[len(sides)]
        stages = nn.ModuleDict()
        for number, (before, after) in enumerate(pairwise(channels), start=1):
            stages[f"conv{number}"] = convolution(
                before, after, kernel_size, padding=kernel_size // 2
            )
            stages[f"activation{number}"] = activation()
            stages[f"pool{number}"] = pooling(2)
        for name, module in stages.items():
            self.add_module(name, module)
        self._stages = list(stages)
        left = math.prod(side // shrink for side in sides)
        self.hidden = nn.Linear(channels[-1] * left, hidden)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w), or signals (b, c, length), to logits (b, classes)."""
        signal = images
        for name in self._stages:
            signal = getattr(self, name)(signal)
        signal = self.activation(self.hidden(signal.flatten(start_dim=1)))
        logits: torch.Tensor = self.output(self.dropout(signal))
        return logits
