"""A transformer that reads an image as a sequence of patches."""

from __future__ import annotations

import math

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import Activation
from gradcli.models.checks import require_dropout, require_image, require_positive
from gradcli.models.transformer import TransformerBlock, require_heads

#: The standard deviation of the positions' embeddings at the start (Dosovitskiy et al., as
#: released: https://github.com/google-research/vision_transformer/blob/main/vit_jax/models_vit.py).
_EMBEDDING_STD = 0.02


class ViT(nn.Module):
    """Embeddings of patches and positions, blocks of attention and an MLP, a linear output.

    The layout of Dosovitskiy et al. 2020 (arXiv 2010.11929, section 3.1): each block normalises
    its input before attention and before the MLP, and a last norm comes before the output. The
    output reads the mean over the patches instead of a class token, which does as well (their
    appendix D.3). The layers are `patches`, `positions`, `block1.norm1`,
    `block1.queries_keys_values`, `block1.projection`, `block1.norm2`, `block1.expand`,
    `block1.contract`, ..., `norm`, `output`.

    Args:
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
        activation: makes the activation of each block's MLP.
        patch: the side of a square patch, which must divide the height and the width.
        width: the size of the signal at each patch; a multiple of `heads`.
        layers: the number of blocks.
        heads: the attention heads of a block.
        dropout: the probability of zeroing a unit of the embeddings, an attention weight, or what a
            block adds to the signal.

    Raises:
        UserError: a size or probability is out of range, or the patches do not divide the image,
            or the heads the width.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        activation: Activation,
        patch: int = 7,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("ViT", input_shape)
        for key, size in (("patch", patch), ("width", width), ("layers", layers), ("heads", heads)):
            require_positive(f"model.{key}", size)
        require_dropout(dropout)
        require_heads(width, heads)
        channels, height, image_width = input_shape
        if height % patch or image_width % patch:
            common = math.gcd(height, image_width)
            sides = [side for side in range(1, common + 1) if common % side == 0]
            raise UserError(
                f"patches of {patch} x {patch} pixels do not divide images of {height} x "
                f"{image_width}",
                where="model.patch",
                choices=tuple(f"model.patch={side}" for side in _nearest(sides, patch)),
            )
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = nn.Embedding((height // patch) * (image_width // patch), width)
        nn.init.normal_(self.positions.weight, std=_EMBEDDING_STD)
        self.dropout = nn.Dropout(dropout)
        self._blocks = [f"block{number}" for number in range(1, layers + 1)]
        for name in self._blocks:
            self.add_module(name, TransformerBlock(width, heads, activation, dropout, causal=False))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w) to logits (b, classes)."""
        patches = self.patches(images).flatten(2).transpose(1, 2)  # (b, patches, width)
        places = torch.arange(patches.shape[1], device=images.device)
        signal = self.dropout(patches + self.positions(places))
        for name in self._blocks:
            signal = getattr(self, name)(signal)
        logits: torch.Tensor = self.output(self.norm(signal).mean(dim=1))
        return logits


def _nearest(sides: list[int], wanted: int) -> list[int]:
    """Return the three sides that are nearest to the wanted one."""
    return sorted(sides, key=lambda side: abs(side - wanted))[:3]
