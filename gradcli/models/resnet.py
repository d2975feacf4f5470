"""Residual convolutional networks in the layout of He et al. 2015 for small images."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import Activation
from gradcli.models.checks import require_image, require_positive

#: Each stage but the first halves the image.
_STAGES = 3


class ResNet(nn.Module):
    """A convolution, three stages of residual blocks, the mean over the image, a linear output.

    The layout of He et al. 2015 for CIFAR-10 (arXiv 1512.03385, section 4.2): stage k has `blocks`
    blocks of two 3x3 convolutions with batch norm and `width` * 2^(k-1) channels. The first
    convolution of the second and the third stage has stride 2. A shortcut adds a block's input to
    its output; where the shapes differ, it takes every other pixel and pads the channels with
    zeros, without parameters (their option A). The layers are `conv`, `norm`,
    `stage1_block1.conv1`, `.norm1`, `.conv2`, `.norm2`, ..., `output`.

    Args:
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
        activation: makes the activation after the first norm, and the two of each block.
        width: the channels of the first stage; 16 in the paper.
        blocks: of each stage: 6 * `blocks` + 2 layers in all, 3 blocks are the paper's ResNet-20.

    Raises:
        UserError: a size is below 1, or the image is too small to be halved twice.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        activation: Activation,
        width: int = 16,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        require_image("ResNet", input_shape)
        require_positive("model.width", width)
        require_positive("model.blocks", blocks)
        channels, *sides = input_shape
        smallest = 2 ** (_STAGES - 1)
        if min(sides) < smallest:
            raise UserError(
                f"ResNet halves images twice, so that they need at least {smallest} x {smallest} "
                f"pixels, not {sides[0]} x {sides[1]}",
                where="model",
                hint="model=mlp",
            )
        self.conv = _convolution(channels, width, stride=1)
        self.norm = nn.BatchNorm2d(width)
        self.activation = activation()
        self._blocks: list[str] = []
        widths = [width, *(width * 2**stage for stage in range(_STAGES))]
        for stage, (before, after) in enumerate(pairwise(widths), start=1):
            for block in range(1, blocks + 1):
                first = block == 1
                name = f"stage{stage}_block{block}"
                self.add_module(
                    name,
                    _Block(
                        before if first else after,
                        after,
                        stride=2 if first and stage > 1 else 1,
                        activation=activation,
                    ),
                )
                self._blocks.append(name)
        self.output = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w) to logits (b, classes)."""
        signal = self.activation(self.norm(self.conv(images)))
        for name in self._blocks:
            signal = getattr(self, name)(signal)
        logits: torch.Tensor = self.output(signal.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two convolutions with batch norm, added to their input."""

    def __init__(self, before: int, after: int, *, stride: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = _convolution(before, after, stride=stride)
        self.norm1 = nn.BatchNorm2d(after)
        self.activation1 = activation()
        self.conv2 = _convolution(after, after, stride=1)
        self.norm2 = nn.BatchNorm2d(after)
        self.activation2 = activation()
        self._stride, self._new_channels = stride, after - before

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Map the signal (b, before, h, w) to (b, after, h / stride, w / stride)."""
        shortcut = signal[:, :, :: self._stride, :: self._stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self._new_channels))
        inner = self.activation1(self.norm1(self.conv1(signal)))
        after: torch.Tensor = self.activation2(shortcut + self.norm2(self.conv2(inner)))
        return after


def _convolution(before: int, after: int, *, stride: int) -> nn.Conv2d:
    """Return a 3x3 convolution, without a bias because a batch norm follows it."""
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
