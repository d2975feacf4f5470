"""Probe: the signs and orders of magnitude of a gradient's elements, in fixed bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading, spread
from gradcli.records import DECADES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from gradcli.objectives import LossFunction


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
    """The gradient of a layer: of all its trained parameters together."""

    layer: str
    histogram: LogHistogram


def gradient_histograms(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossFunction | None = None
) -> tuple[LayerHistogram, ...]:
    """Return the histogram of each layer's gradient.

    Costs one forward-backward pass and a search among 33 edges for each parameter. The result
    takes half a kilobyte per layer, whatever the layer's size.

    Args:
        model: maps inputs to outputs.
        inputs: a batch, (b, ...).
        targets: its targets, (b, ...).
        loss: of outputs and targets, (); None is cross-entropy.
    """
    from gradcli.gradients.layers import find_layers
    from gradcli.objectives.shipped import cross_entropy
    from gradcli.probes.measuring.batch_loss import BatchLoss

    at = BatchLoss(model, inputs, targets, loss or cross_entropy)
    _, gradients = at.gradient(at.parameters)
    return tuple(
        LayerHistogram(
            layer.name,
            log_histogram([gradients[p.name] for p in layer.parameters if p.name in gradients]),
        )
        for layer in find_layers(model)
    )


def log_histogram(tensors: list[Tensor]) -> LogHistogram:
    """Count the elements of `tensors`, of any shapes, by sign and decade."""
    import torch

    from gradcli.gradients.norms import accumulator_dtype

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
    import torch

    inner_edges = magnitudes.new_tensor([10.0**decade for decade in DECADES[1:]])
    bins = torch.bucketize(magnitudes, inner_edges, right=True)
    return torch.bincount(bins, minlength=len(DECADES)).cpu()


def _run(target: ProbeTarget) -> tuple[LayerHistogram, ...]:
    return gradient_histograms(target.model, *target.batches[0], target.loss)


def _summary(layers: Sequence[LayerHistogram]) -> ProbeSummary:
    """Return the share of elements that are exactly zero, over all layers and by layer."""
    counts = [(one.histogram.zeros, one.histogram.size) for one in layers if one.histogram.size]
    zeros, size = (sum(column) for column in zip(*counts, strict=True))
    return spread(zeros / size, [of_one / all_of_one for of_one, all_of_one in counts])


def _sentences(layers: Sequence[LayerHistogram], batch_size: int) -> list[str]:
    histograms = [layer.histogram for layer in layers]
    size = sum(histogram.size for histogram in histograms)
    zeros = sum(histogram.zeros for histogram in histograms)
    share = [one.zeros / one.size if one.size else 0.0 for one in histograms]
    total = numbers.share(zeros / size if size else math.nan)
    sentence = f"{total} of all elements are exactly zero"
    if zeros:
        most = int(np.argmax(share))
        sentence += f", most in {layers[most].layer} ({numbers.share(share[most])})"
    non_finite = sum(histogram.non_finite for histogram in histograms)
    if non_finite:
        sentence += f"; {numbers.count(non_finite)} are not finite"
    return [sentence]


def _draw(figure: Figure, layers: Sequence[LayerHistogram]) -> None:
    """Draw how the elements of each layer's gradient spread over signs and powers of ten.

    Negative elements stand to the left and positive ones to the right, small ones in the
    middle, with the exact zeros between them; darker is a larger share of the layer.
    """
    negative = np.array([one.histogram.negative for one in layers], dtype=np.float64)
    positive = np.array([one.histogram.positive for one in layers], dtype=np.float64)
    sizes = np.array([max(one.histogram.size, 1) for one in layers], dtype=np.float64)
    zeros = np.array([one.histogram.zeros for one in layers], dtype=np.float64)
    used = np.flatnonzero((negative + positive).sum(axis=0))
    low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    figure.set_figheight(max(2.8, 1.5 + 0.24 * len(layers)))
    left, middle, right = figure.subplots(
        1, 3, sharey=True, gridspec_kw={"width_ratios": [high - low, 1.2, high - low]}
    )
    panels = {
        left: negative[:, low:high][:, ::-1],
        middle: zeros[:, np.newaxis],
        right: positive[:, low:high],
    }
    largest = max(float((counts / sizes[:, np.newaxis]).max()) for counts in panels.values())
    images = [
        axes.imshow(
            np.where(counts > 0, counts / sizes[:, np.newaxis], np.nan),
            aspect="auto",
            cmap="viridis_r",
            vmin=0,
            vmax=max(largest, 0.01),
            interpolation="nearest",
        )
        for axes, counts in panels.items()
    ]
    powers = [DECADES[place] for place in range(low, high)]
    every = max(1, len(powers) // 4)
    edges = np.arange(0, len(powers), every)
    right.set_xticks(edges - 0.5, [f"1e{powers[edge]}" for edge in edges])
    left.set_xticks(len(powers) - 0.5 - edges, [f"-1e{powers[edge]}" for edge in edges])
    middle.set_xticks([0], ["0"])
    left.set_yticks(range(len(layers)), [one.layer for one in layers])
    left.set_ylabel("layer (input at the top)")
    left.set_xlabel("negative")
    right.set_xlabel("positive")
    figure.colorbar(images[0], ax=right, pad=0.02).set_label("share of the layer's elements")
    figure.suptitle("Sign and magnitude of the gradient's elements", fontsize="medium")


HISTOGRAMS = Probe(
    name="histograms",
    cost="one pass",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="zeros in the gradient", write=numbers.share),
    draw=_draw,
)
