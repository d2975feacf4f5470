"""The signs and orders of magnitude of a gradient's elements, in a fixed number of bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import accumulator_dtype
from gradcli.probes.batch_loss import BatchLoss
from gradcli.records import DECADES


@dataclass(frozen=True, slots=True)
class LogHistogram:
    """How many elements have which sign and order of magnitude; n = len(DECADES) bins."""

    negative: NDArray[np.int64]
    """Counts of negative elements by magnitude, (n,)."""
    positive: NDArray[np.int64]
    """Counts of positive elements by magnitude, (n,)."""
    zeros: int
    """Elements that are exactly zero."""
    non_finite: int
    """Elements that are NaN or infinite."""

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(self.negative.sum() + self.positive.sum()) + self.zeros + self.non_finite


@dataclass(frozen=True, slots=True)
class LayerHistogram:
    """A layer's gradient: that of all its parameters that are trained, taken together."""

    layer: str
    histogram: LogHistogram


def gradient_histograms(
    model: nn.Module, inputs: Tensor, labels: Tensor
) -> tuple[LayerHistogram, ...]:
    """Return the histogram of each layer's gradient.

    Costs one forward-backward pass and a search among 33 edges for each parameter; the result
    takes half a kilobyte a layer, whatever the layer's size.

    Args:
        model: maps inputs to logits (b, classes).
        inputs: a batch, (b, c, h, w).
        labels: its classes, (b,).
    """
    loss = BatchLoss(model, inputs, labels)
    _, gradients = loss.gradient(loss.parameters)
    return tuple(
        LayerHistogram(
            layer.name,
            log_histogram([gradients[p.name] for p in layer.parameters if p.name in gradients]),
        )
        for layer in find_layers(model)
    )


def log_histogram(tensors: list[Tensor]) -> LogHistogram:
    """Count the elements of `tensors`, of any shapes, by sign and decade."""
    counts = torch.zeros(2, len(DECADES), dtype=torch.int64)
    zeros = non_finite = 0
    for tensor in tensors:
        values = tensor.detach().reshape(-1).to(accumulator_dtype(tensor.device))
        finite = values[values.isfinite()]
        non_finite += values.numel() - finite.numel()
        zeros += int((finite == 0).sum())
        counts[0] += _by_decade(-finite[finite < 0])
        counts[1] += _by_decade(finite[finite > 0])
    negative, positive = counts.numpy()
    return LogHistogram(negative, positive, zeros, non_finite)


def _by_decade(magnitudes: Tensor) -> Tensor:
    inner_edges = magnitudes.new_tensor([10.0**decade for decade in DECADES[1:]])
    bins = torch.bucketize(magnitudes, inner_edges, right=True)
    return torch.bincount(bins, minlength=len(DECADES)).cpu()
