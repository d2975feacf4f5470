"""Recurrent networks that read an image row by row, top to bottom, or a signal from its start."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from gradcli.models.activation import Activation
from gradcli.models.checks import require_choice, require_dropout, require_image, require_positive

_CELLS = ("tanh", "relu", "gru", "lstm")


class RNN(nn.Module):
    """A recurrent network over an image's rows or a signal's positions, and a dense head.

    The head reads the last state.

    A row is a time step: an image of height 28 is a sequence of 28 steps, and the gradient w.r.t.
    the first row has passed the recurrent matrix 28 times. So is a position of a signal. The layers
    are `rnn`, `hidden`, `output`.

    `cell` chooses the nonlinearity inside the recurrence; the activation is that of the dense
    head. `cell=relu` with `init=orthogonal` is close to the
    IRNN of Le et al. 2015 (arXiv 1504.00941).

    Args:
        input_shape: (channels, height, width) of an image, or (channels, length) of a signal.
        classes: the number of logits.
        activation: makes the activation of the head's hidden layer.
        cell: `tanh` or `relu` (Elman's cell with that nonlinearity), `gru` (Cho et al. 2014,
            arXiv 1406.1078) or `lstm` (Hochreiter and Schmidhuber 1997).
        hidden: the units of the recurrent state and of the head's hidden layer.
        layers: the number of stacked recurrent layers.
        dropout: the probability of zeroing a unit, between recurrent layers and in the head.

    Raises:
        UserError: a size or probability is out of range, or there is no such cell.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        activation: Activation,
        cell: Literal["tanh", "relu", "gru", "lstm"] = "lstm",
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("RNN", input_shape, or_signal=True)
        require_choice("model.cell", cell, _CELLS)
        require_positive("model.hidden", hidden)
        require_positive("model.layers", layers)
        require_dropout(dropout)
        inputs = math.prod(input_shape) // input_shape[1]  # of a time step
        # torch warns about dropout between layers if there is only one.
        self.rnn = _recurrent(cell, inputs, hidden, layers, dropout if layers > 1 else 0.0)
        self.hidden = nn.Linear(hidden, hidden)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w), or signals (b, c, length), to logits (b, classes)."""
        rows = images.transpose(1, 2).flatten(start_dim=2)  # (b, h, c * w) or (b, length, c)
        states, _ = self.rnn(rows)  # (b, h, hidden)
        signal = self.activation(self.hidden(states[:, -1]))
        logits: torch.Tensor = self.output(self.dropout(signal))
        return logits


def _recurrent(cell: str, inputs: int, units: int, layers: int, dropout: float) -> nn.RNNBase:
    """Build the recurrent module, batch first."""
    match cell:
        case "lstm":
            return nn.LSTM(inputs, units, layers, dropout=dropout, batch_first=True)
        case "gru":
            return nn.GRU(inputs, units, layers, dropout=dropout, batch_first=True)
        case _:
            return nn.RNN(
                inputs, units, layers, nonlinearity=cell, dropout=dropout, batch_first=True
            )
