"""A transformer that predicts the next token of a text at every position, and its blocks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.models.activation import Activation
from gradcli.models.checks import require_dropout, require_positive

#: The standard deviation of the embeddings at the start, that of GPT-2 (Radford et al. 2019, as
#: released: https://github.com/openai/gpt-2/blob/master/src/model.py). PyTorch's is 1, with which a
#: tied head would begin with logits of the order of sqrt(width).
_EMBEDDING_STD = 0.02


class GPT(nn.Module):
    """Embeddings of tokens and positions, blocks of causal attention and an MLP, a linear head.

    The layout of GPT-2 (Radford et al. 2019, Language models are unsupervised multitask learners,
    section 2.3): each block normalises its input before attention and before the MLP, and a last
    norm comes before the head. The layers are `tokens`, `positions`, `block1.norm1`,
    `block1.queries_keys_values`, `block1.projection`, `block1.norm2`, `block1.expand`,
    `block1.contract`, ..., `norm` and, unless tied, `output`.

    Args:
        input_shape: (t,), the length of a sequence; shorter ones are taken, too.
        classes: how many different tokens there are.
        activation: makes the activation of each block's MLP.
        width: the size of the signal at each position; a multiple of `heads`.
        layers: the number of blocks.
        heads: the attention heads of a block.
        tied: whether the head uses the tokens' embeddings as its weight (Press and Wolf 2017,
            arXiv 1608.05859).
        dropout: the probability of zeroing a unit of the embeddings, an attention weight, or what a
            block adds to the signal.

    Raises:
        UserError: an example is no sequence, a size or probability is out of range, or the heads do
            not divide the width.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        activation: Activation,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(input_shape) != 1:
            raise UserError(
                "GPT reads sequences of tokens, of shape (length,); an example of this data set "
                f"has the shape {tuple(input_shape)}",
                where="model",
                hint="model=mlp; or data=austen, or data=text data.path=FILE",
            )
        for key, size in (("width", width), ("layers", layers), ("heads", heads)):
            require_positive(f"model.{key}", size)
        require_dropout(dropout)
        require_heads(width, heads)
        self.tokens = nn.Embedding(classes, width)
        self.positions = nn.Embedding(input_shape[0], width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=_EMBEDDING_STD)
        self.dropout = nn.Dropout(dropout)
        self._blocks = [f"block{number}" for number in range(1, layers + 1)]
        for name in self._blocks:
            self.add_module(name, TransformerBlock(width, heads, activation, dropout, causal=True))
        self.norm = nn.LayerNorm(width)
        self.output = None if tied else nn.Linear(width, classes, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens, int64 (b, t), to logits for the token after each of them (b, t, classes)."""
        if tokens.is_floating_point():
            raise UserError(
                "GPT reads tokens, which are integers; the inputs of this data set are "
                f"{str(tokens.dtype).removeprefix('torch.')}",
                where="model",
                hint="model=mlp; or data=austen, or data=text data.path=FILE",
            )
        places = torch.arange(tokens.shape[1], device=tokens.device)
        signal = self.dropout(self.tokens(tokens) + self.positions(places))
        for name in self._blocks:
            signal = getattr(self, name)(signal)
        signal = self.norm(signal)
        if self.output is None:
            return F.linear(signal, self.tokens.weight)
        logits: torch.Tensor = self.output(signal)
        return logits


def require_heads(width: int, heads: int) -> None:
    """Raise a `UserError` unless the width is a multiple of the heads."""
    if width % heads:
        raise UserError(
            f"the width must be a multiple of the heads; {width} is none of {heads}",
            where="model.width",
            hint=f"model.width={math.ceil(width / heads) * heads}",
        )


class TransformerBlock(nn.Module):
    """Attention and an MLP, each of the normalised signal and added to it.

    Args:
        width: the size of the signal at each position.
        heads: of the attention; they divide the width.
        activation: makes that of the MLP.
        dropout: the probability of zeroing an attention weight, or what is added to the signal.
        causal: whether a position attends only to itself and those before it.
    """

    def __init__(
        self, width: int, heads: int, activation: Activation, dropout: float, *, causal: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.activation = activation()
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        self._heads, self._causal = heads, causal

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Map the signal (b, t, width) to that of the next block."""
        signal = signal + self.dropout(self._attended(self.norm1(signal)))
        hidden = self.activation(self.expand(self.norm2(signal)))
        after: torch.Tensor = signal + self.dropout(self.contract(hidden))
        return after

    def _attended(self, signal: torch.Tensor) -> torch.Tensor:
        """Let each position attend to all, or to itself and those before it: (b, t, width)."""
        heads = self.queries_keys_values(signal).unflatten(2, (3, self._heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # (b, heads, t, width / heads) each
        dropout = self.dropout.p if self.training else 0.0
        read = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=self._causal, dropout_p=dropout
        )
        projected: torch.Tensor = self.projection(read.transpose(1, 2).flatten(2))
        return projected
