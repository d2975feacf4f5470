"""How much the examples' gradients disagree, and what that says of the batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import accumulator_dtype
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.per_example import MEMORY_BYTES, per_example_gradients
from gradcli.probes.measuring.untouched import untouched
from gradcli.records import Floats

# With fewer, leaving one out leaves too few to estimate a variance.
_FEWEST_EXAMPLES = 3
# Two-sided 95% of the normal distribution. The jackknife's own error outweighs what Student's
# distribution would add for as many examples as a batch has.
_NORMAL_95 = 1.959964
# Gradients come in float32: closer than this, the mean square and the squared mean are equal.
_ROUNDING = 1e-10


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval, which may extend to infinity."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """The noise in one layer's gradient."""

    layer: str
    noise_scale: Interval
    gsnr_excess: float


@dataclass(frozen=True, slots=True)
class GradientNoise:
    """What the gradients g_i of B examples, with mean g, say about the noise in g."""

    examples: int
    """B."""
    grad_norm: float
    """||g||."""
    noise_scale: Interval
    """tr(Sigma) / |G|^2 in examples, with the covariance Sigma of one example's gradient and its
    expectation G: the batch size at which noise and signal have equal squared norms. Much smaller
    batches waste steps, much larger ones waste examples. Infinite if no signal is left."""
    gsnr_excess: float
    """The mean over the parameters of g_j^2 / Var_i(g_ij), less 1/B, which pure noise gives.
    Parameters without variance are left out; NaN if none has any."""
    norm_test: float
    """tr(Sigma) / (B ||g||^2): a batch of B passes the norm test if this is at most theta^2."""
    inner_product_test: float
    """Var_i(g_i . g) / (B ||g||^4), for the inner-product test."""
    layers: tuple[LayerNoise, ...]
    """For each layer that is trained."""


def gradient_noise(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: LossFunction = cross_entropy,
    memory_bytes: int = MEMORY_BYTES,
) -> GradientNoise:
    """Measure the noise in the gradient over a probe set.

    Noise scale: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1; see `noise_scale`.
    GSNR: Liu et al. 2020, arXiv 2001.07384. Norm test: Byrd et al. 2012. Inner-product test:
    Bollapragada et al. 2017, arXiv 1710.11258.

    Costs two sweeps of per-example gradients (see `per_example_gradients`), the second because
    inner products with the mean need the mean: on one CPU core 250 forward-backward passes of the
    default MLP at B = 128, about 60 of a 20-layer one and 40 of a CNN. Takes memory for one chunk
    and a few float64 vectors of the size of the model.

    Args:
        model: maps inputs to outputs.
        inputs: the probe set, (b, ...); the more examples, the narrower the interval.
        targets: theirs, (b, ...).
        loss: of outputs and targets, ().
        memory_bytes: what a chunk of gradients may take.

    Raises:
        UserError: batch norm in training mode, or fewer than three examples.
    """
    count = len(targets)
    if count < _FEWEST_EXAMPLES:
        raise UserError(f"noise takes at least {_FEWEST_EXAMPLES} examples, and there are {count}")
    layers = _trained_layers(model)

    def sweep() -> Iterator[Tensor]:
        """Yield each example's gradient, (D,) in the order of `layers`, the same in each sweep."""
        names = [name for layer in layers for name in layer.parameters]
        with untouched(model):
            for chunk in per_example_gradients(
                model, inputs, targets, loss=loss, memory_bytes=memory_bytes
            ):
                yield from _rows([chunk[name] for name in names])

    mean, variance = _mean_and_variance(sweep(), count)
    squares, products = _squares_and_products(sweep(), mean, layers)
    squared_norms, products_with_mean = squares.sum(axis=1), products.sum(axis=1)
    squared_norm = float(torch.dot(mean, mean))
    product_variance = float(np.var(products_with_mean, ddof=1))
    return GradientNoise(
        examples=count,
        grad_norm=math.sqrt(squared_norm),
        noise_scale=noise_scale(squared_norms, products_with_mean),
        gsnr_excess=_gsnr_excess(mean, variance, count),
        norm_test=_ratio(float(variance.sum()), count * squared_norm),
        inner_product_test=_ratio(product_variance, count * squared_norm**2),
        layers=tuple(
            LayerNoise(
                layer=layer.name,
                noise_scale=noise_scale(squares[:, column], products[:, column]),
                gsnr_excess=_gsnr_excess(mean[layer.place], variance[layer.place], count),
            )
            for column, layer in enumerate(layers)
        ),
    )


def noise_scale(squared_norms: Floats, products: Floats) -> Interval:
    """Estimate tr(Sigma) / |G|^2 without bias from ||g_i||^2 and g_i . mean(g), (B,) each.

    McCandlish's estimators of |G|^2 and tr(Sigma), with B_small = 1 and B_big = B, are averages
    over all pairs of examples; the scale is their ratio. (The naive tr(Sigma) / ||mean(g)||^2
    counts the noise in the mean as signal, and cannot exceed B by much.)

    The interval is a jackknife's, leaving out one example at a time, on the reciprocal
    |G|^2 / tr(Sigma). That is nearly normal even if the signal is close to zero; if it reaches
    zero the scale has no upper end. The estimate is infinite if no signal was found, 0 if all
    gradients are equal, and NaN if they are zero or not finite.
    """
    count = len(squared_norms)
    square, mean_squared = squared_norms.mean(), products.mean()
    if not 0 < square < math.inf:
        return Interval(math.nan, math.nan, math.nan)
    if square <= mean_squared * (1 + _ROUNDING):
        return Interval(0.0, 0.0, 0.0)
    signal = _signal_to_noise(square, mean_squared, count)
    # The mean square and the squared mean without example i.
    others = count - 1
    square_without = (count * square - squared_norms) / others
    mean_squared_without = (
        count**2 * mean_squared - 2 * count * products + squared_norms
    ) / others**2
    without = _signal_to_noise(square_without, mean_squared_without, others)
    deviation = math.sqrt(others * float(np.var(without)))
    return Interval(
        estimate=_reciprocal(float(signal)),
        low=_reciprocal(float(signal) + _NORMAL_95 * deviation),
        high=_reciprocal(float(signal) - _NORMAL_95 * deviation),
    )


def _signal_to_noise(square: Any, mean_squared: Any, count: int) -> Any:
    """Return |G|^2 / tr(Sigma) from the mean of ||g_i||^2 and from ||mean(g)||^2."""
    signal = (count * mean_squared - square) / (count - 1)
    noise = (square - mean_squared) * count / (count - 1)
    # A layer without a gradient has neither: its ratio is NaN.
    with np.errstate(divide="ignore", invalid="ignore"):
        return signal / noise


def _reciprocal(signal: float) -> float:
    """Return examples for a signal-to-noise ratio: infinitely many unless it is positive."""
    return math.inf if signal <= 0 else 1.0 / signal


@dataclass(frozen=True, slots=True)
class _TrainedLayer:
    """A layer's trained parameters, and their place in the vector of all parameters."""

    name: str
    parameters: tuple[str, ...]
    place: slice


def _trained_layers(model: nn.Module) -> list[_TrainedLayer]:
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    layers, start = [], 0
    for layer in find_layers(model):
        names = tuple(p.name for p in layer.parameters if p.name in sizes)
        if names:
            end = start + sum(sizes[name] for name in names)
            layers.append(_TrainedLayer(layer.name, names, slice(start, end)))
            start = end
    return layers


def _rows(gradients: list[Tensor]) -> Iterator[Tensor]:
    """Yield one example after another of a chunk, (D,) in float64.

    One by one they stay in the processor's cache. Sums over a whole chunk, converted to float64,
    took 16 times as long.
    """
    for of_one in zip(*gradients, strict=True):
        row = torch.cat([gradient.reshape(-1) for gradient in of_one])
        yield row.to(accumulator_dtype(row.device))


def _mean_and_variance(rows: Iterator[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the unbiased variance over the examples of each element, (D,)."""
    first = next(rows)
    total, squares = first.clone(), first.square()
    for row in rows:
        total += row
        squares.addcmul_(row, row)
    mean = total / count
    return mean, ((squares - count * mean.square()) / (count - 1)).clamp_(min=0)


def _squares_and_products(
    rows: Iterator[Tensor], mean: Tensor, layers: list[_TrainedLayer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ||g_i||^2 and g_i . mean(g) by example and layer, (B, L) each."""
    squares, products = [], []
    for row in rows:
        parts = [(row[layer.place], mean[layer.place]) for layer in layers]
        squares.append(torch.stack([torch.dot(part, part) for part, _ in parts]))
        products.append(torch.stack([torch.dot(part, average) for part, average in parts]))
    return _to_numpy(torch.stack(squares)), _to_numpy(torch.stack(products))


def _gsnr_excess(mean: Tensor, variance: Tensor, count: int) -> float:
    """Return the mean of mean^2 / variance - 1/B over the elements that vary."""
    varies = variance > 0
    if not bool(varies.any()):
        return math.nan
    return float((mean[varies].square() / variance[varies]).mean()) - 1.0 / count


def _ratio(numerator: float, denominator: float) -> float:
    """Divide; noise without any signal is infinite."""
    if denominator > 0:
        return numerator / denominator
    return math.inf if numerator > 0 else math.nan


def _to_numpy(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.cpu().double().numpy()
    return array
