"""The multilayer perceptron: fully connected layers of any number and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import Activation
from gradcli.models.checks import require_choice, require_dropout, require_positive

_NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    """Hidden blocks of linear, norm, activation and dropout, then a linear output.

    The layers are `hidden1`, `norm1`, `hidden2`, ..., `output`. Without hidden sizes it is a
    logistic regression.

    Args:
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
        activation: makes the activation of each block.
        hidden: the units of each hidden block, first to last.
        norm: `batch` (Ioffe and Szegedy 2015, arXiv 1502.03167) or `layer` (Ba et al. 2016,
            arXiv 1607.06450) normalises between the linear map and the activation.
        dropout: the probability of zeroing a unit after the activation.
        residual: add a block's input to its output (He et al. 2015, arXiv 1512.03385) if both
            have the same width. A block that changes the width stays plain, because a projection
            would be another layer. Without a norm the signal grows from block to block.

    Raises:
        UserError: a size or probability is out of range, or `residual` has no block of equal
            input and output width to act on.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        activation: Activation,
        hidden: Sequence[int] = (256, 128),
        norm: Literal["none", "batch", "layer"] = "none",
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        require_positive("model.hidden", *hidden)
        require_choice("model.norm", norm, ("none", *_NORMS))
        require_dropout(dropout)
        widths = [math.prod(input_shape), *hidden]
        if residual and all(before != after for before, after in pairwise(widths)):
            raise UserError(
                "residual needs a block with equal input and output width; the widths here are "
                f"{widths}",
                where="model.residual",
                hint="model.hidden=[128,128,128]",
            )
        self._residual = residual
        self._blocks: list[list[str]] = []
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            block: dict[str, nn.Module] = {f"hidden{number}": nn.Linear(before, after)}
            if norm != "none":
                block[f"norm{number}"] = _NORMS[norm](after)
            block[f"activation{number}"] = activation()
            if dropout:
                block[f"dropout{number}"] = nn.Dropout(dropout)
            for name, module in block.items():
                self.add_module(name, module)
            self._blocks.append(list(block))
        self.output = nn.Linear(widths[-1], classes)

    @property
    def chain(self) -> list[nn.Module] | None:
        """The modules that flattened images pass through in turn, or None if residual."""
        if self._residual:
            return None
        hidden = [self.get_submodule(name) for block in self._blocks for name in block]
        return [*hidden, self.output]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w) to logits (b, classes)."""
        signal = images.flatten(start_dim=1)
        for block in self._blocks:
            entered = signal
            for name in block:
                signal = getattr(self, name)(signal)
            if self._residual and signal.shape == entered.shape:
                signal = signal + entered
        logits: torch.Tensor = self.output(signal)
        return logits
