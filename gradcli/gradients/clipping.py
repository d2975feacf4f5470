"""Clipping: how gradients are limited between the backward pass and the update.

Each rule is a class of its own with the constants of its paper as defaults. A rule is called
with the gradients and their norms, changes the gradients in place, and returns the norms that
they have afterwards. A gradient with a non-finite norm is left as it is, and leaves no trace
in a rule's statistics: the training loop stops there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradcli.errors import UserError
from gradcli.gradients.norms import Gradients, Norms, as_tensor, scaled, total_norm


class Clip:
    """A rule that limits gradients; this one, `none`, leaves them alone."""

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit `gradients` in place.

        Args:
            gradients: of P parameters.
            norms: their norms before clipping.

        Returns:
            Their norms after clipping.
        """
        return norms

    def state_dict(self) -> dict[str, Any]:
        """Return the rule's statistics as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the statistics that `state_dict` returned."""


class NoClip(Clip):
    """Gradients reach the optimizer as they are."""


class ClipNorm(Clip):
    """Scale all gradients by min(1, max_norm / ||g||), ||g|| over all parameters.

    Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks"
    (arXiv 1211.5063), algorithm 1. Keeps the gradient's direction.

    Args:
        max_norm: the norm that is not exceeded.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        self.max_norm = _positive("max_norm", max_norm)

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm."""
        return _scale_to(self.max_norm, gradients, norms)


class ClipPerLayer(Clip):
    """Scale each layer's gradients by min(1, max_norm / ||g_layer||).

    Keeps the direction within a layer, not that of the whole gradient.

    Args:
        max_norm: the norm that no layer exceeds.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        self.max_norm = _positive("max_norm", max_norm)

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit each layer's norm."""
        of_layers = _coefficient(self.max_norm, gradients.layer_norms(norms))
        finite = torch.isfinite(as_tensor(norms)).all()
        coefficients = torch.where(finite, of_layers[gradients.layer_of_parameter], 1.0)
        gradients.scale_(coefficients)
        return scaled(norms, coefficients)


class ClipValue(Clip):
    """Limit every element of every gradient to [-max_value, max_value].

    Changes the gradient's direction. See `torch.nn.utils.clip_grad_value_`.

    Args:
        max_value: the absolute value that no element exceeds.
    """

    def __init__(self, max_value: float = 0.01) -> None:
        self.max_value = _positive("max_value", max_value)

    @torch.no_grad()
    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit each element."""
        if isinstance(norms, list) and not math.isfinite(sum(norms)):
            return norms
        for parameter in gradients.parameters:
            if parameter.grad is not None:
                parameter.grad.clamp_(-self.max_value, self.max_value)
        return gradients.norms()


class ClipAGC(Clip):
    """Adaptive gradient clipping: limit each output unit's gradient relative to its weights.

    Where ||G_i|| / max(||W_i||, eps) > clip_factor, G_i is scaled so that the ratio is
    clip_factor; i is a row of a matrix, a filter of a convolution, or the whole of a vector.
    Brock, De, Smith, Simonyan 2021, "High-performance large-scale image recognition without
    normalization" (arXiv 2102.06171), section 4.1; the last layer is left out, as there.

    Args:
        clip_factor: the ratio that is not exceeded (0.01 there for batches of 1024 to 4096,
            larger for small ones).
        eps: the norm that a unit's weights are taken to have at least.
        clip_output: whether the last layer is clipped too.
    """

    def __init__(
        self, clip_factor: float = 0.04, eps: float = 1e-3, clip_output: bool = False
    ) -> None:
        self.clip_factor = _positive("clip_factor", clip_factor)
        self.eps = _positive("eps", eps)
        self.clip_output = clip_output

    @torch.no_grad()
    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit each unit's ratio of gradient to weights."""
        if isinstance(norms, list) and not math.isfinite(sum(norms)):
            return norms
        left_out = 0 if self.clip_output else len(gradients.layers[-1].parameters)
        for parameter in gradients.parameters[: len(gradients.parameters) - left_out]:
            if parameter.grad is not None:
                largest = _unit_norms(parameter).clamp_(min=self.eps).mul_(self.clip_factor)
                parameter.grad.mul_(_coefficient(largest, _unit_norms(parameter.grad)))
        return gradients.norms()


class AutoClip(Clip):
    """Limit the global norm to a percentile of the norms seen so far, this one included.

    Seetharaman, Wichern, Pardo, Le Roux 2020, "AutoClip: adaptive gradient clipping for
    source separation networks" (arXiv 2007.14469), section 2; they find the 10th best.

    The history is kept in bounded space, as counts in bins whose edges are 1.5% apart, so that
    the percentile is that of the whole history to within 0.75%.

    Args:
        percentile: which percentile of the history is the limit, between 0 and 100.
    """

    _RATIO = 1.015
    _LOWEST = 1e-30
    _HIGHEST = 1e30
    _BINS = math.ceil(math.log(_HIGHEST / _LOWEST) / math.log(_RATIO))

    def __init__(self, percentile: float = 10.0) -> None:
        if not 0.0 <= percentile <= 100.0:
            raise UserError(
                f"percentile is {percentile}, which is not between 0 and 100.",
                where="clip.percentile",
                hint="clip.percentile=10",
            )
        self.percentile = percentile
        self.counts = torch.zeros(self._BINS, dtype=torch.int64)

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Add the global norm to the history and limit it to the history's percentile."""
        self.observe(total_norm(norms))
        return self.clip(gradients, norms)

    def clip(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm to the percentile of the history as it stands."""
        return _scale_to(self.limit(), gradients, norms)

    def observe(self, norm: Tensor) -> None:
        """Add a global norm () to the history; one that is not finite is left out."""
        self.counts = self.counts.to(norm.device)
        position = torch.log(norm / self._LOWEST) / math.log(self._RATIO)
        finite = torch.isfinite(norm)
        index = torch.where(finite, position, 0.0).clamp(0, self._BINS - 1).long()
        self.counts.index_add_(0, index.view(1), finite.long().view(1))

    def limit(self) -> Tensor:
        """Return the percentile of the history, float64 (); infinite while it is empty.

        Between two norms of the history it is interpolated, as by `numpy.percentile`.
        """
        cumulative = self.counts.cumsum(0)
        position = (cumulative[-1] - 1).clamp(min=0) * (self.percentile / 100.0)
        ranks = torch.stack([position.floor(), position.ceil()]).long() + 1
        below, above = self._LOWEST * self._RATIO ** (
            torch.searchsorted(cumulative, ranks).double() + 0.5
        )
        interpolated = below + (above - below) * position.frac()
        return torch.where(cumulative[-1] > 0, interpolated, math.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return the history."""
        return {"counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a history."""
        self.counts = state["counts"].clone()


class ZClip(Clip):
    """Limit spikes: a global norm too many deviations above its running mean.

    With z = (||g|| - mu) / sigma, where z > z_threshold the norm is cut to
    mu + z_threshold * sigma / (z / z_threshold): the larger the spike, the harder the cut.
    mu and sigma are exponential moving averages over the norms after clipping, begun with the
    mean and deviation of the first `warmup_steps` norms, which are not clipped.
    Kumar, Owen, Chowdhury, Güra 2025, "ZClip: adaptive spike mitigation for LLM pre-training"
    (arXiv 2504.02507), section 3.

    Args:
        z_threshold: how many deviations are taken for a spike.
        decay: the weight of the past in the moving averages.
        warmup_steps: how many norms begin the averages.
    """

    def __init__(
        self, z_threshold: float = 2.5, decay: float = 0.97, warmup_steps: int = 25
    ) -> None:
        self.z_threshold = _positive("z_threshold", z_threshold)
        if not 0.0 < decay < 1.0:
            raise UserError(
                f"decay is {decay}, which is not between 0 and 1.",
                where="clip.decay",
                hint="clip.decay=0.97",
            )
        self.decay = decay
        self.warmup_steps = int(_positive("warmup_steps", warmup_steps))
        # Count, mean and variance: float64 (3,).
        self.statistics = torch.zeros(3, dtype=torch.float64)

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm and take the result into the averages."""
        self.statistics = self.statistics.to(as_tensor(norms))
        clipped = self.clip(gradients, norms)
        self.observe(total_norm(clipped))
        return clipped

    def clip(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm with the averages as they stand."""
        return _scale_to(self.limit(total_norm(norms)), gradients, norms)

    def limit(self, norm: Tensor) -> Tensor:
        """Return the limit for a global norm (): infinite where it is no spike."""
        count, mean, variance = self.statistics.to(norm).unbind()
        deviation = variance.sqrt()
        z = (norm - mean) / deviation
        spike = (count >= self.warmup_steps) & (z > self.z_threshold)
        limit = mean + self.z_threshold * deviation / (z / self.z_threshold)
        return torch.where(spike, limit, math.inf)

    def observe(self, norm: Tensor) -> None:
        """Take a global norm () into the averages; one that is not finite is left out."""
        count, mean, variance = self.statistics.unbind()
        warming_up = count < self.warmup_steps
        # While warming up, Welford's running mean and variance; then the moving averages.
        weight = torch.where(warming_up, 1.0 / (count + 1.0), 1.0 - self.decay)
        difference = norm - mean
        new_mean = mean + weight * difference
        new_variance = torch.where(
            warming_up,
            variance + weight * (difference * (norm - new_mean) - variance),
            variance + weight * ((norm - new_mean).square() - variance),
        )
        updated = torch.stack([count + 1.0, new_mean, new_variance])
        self.statistics = torch.where(torch.isfinite(norm), updated, self.statistics)

    def state_dict(self) -> dict[str, Any]:
        """Return count, mean and variance."""
        return {"statistics": self.statistics.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over count, mean and variance."""
        self.statistics = state["statistics"].clone()


def _coefficient(limit: float | Tensor, norm: Tensor) -> Tensor:
    """Return min(1, limit / norm), and 1 for a norm that is zero or not finite."""
    # limit / 0 is infinite and becomes 1; an infinite or NaN norm is not below infinity.
    return torch.where(norm < math.inf, (limit / norm).clamp_(max=1.0), 1.0)


def _scale_to(limit: float | Tensor, gradients: Gradients, norms: Norms) -> Norms:
    """Scale all gradients so that their global norm is at most `limit`."""
    if isinstance(norms, list):
        total = math.hypot(*norms)
        if not float(limit) < total < math.inf:
            return norms
        factor = float(limit) / total
        gradients.scale_(factor)
        return [norm * factor for norm in norms]
    coefficient = _coefficient(limit, total_norm(norms))
    gradients.scale_(coefficient)
    return norms * coefficient


def _unit_norms(tensor: Tensor) -> Tensor:
    """Return the norms of the output units, shaped to multiply `tensor`."""
    dimensions = tuple(range(1, tensor.ndim)) or None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=dimensions, keepdim=True)
    return norms


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise UserError(
            f"{name} is {value}, which is not above zero.",
            where=f"clip.{name}",
            hint="clip=none, to leave the gradients alone",
        )
    return value
