"""Clipping: how gradients are limited between the backward pass and the update.

Each rule is a class whose defaults are the constants of its paper. A rule is called with the
gradients and their norms, changes the gradients in place, and returns their norms afterwards. It
does not change gradients with a non-finite norm, nor count them in its statistics: the training
loop stops there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradcli.errors import UserError
from gradcli.gradients.norms import Gradients, Norms, as_tensor, scaled, total_norm


class Clip:
    """A rule that limits gradients. This one does not change them.

    Derive from it and override `__call__`, which is called once per step. The constructor's keyword
    arguments are the keys of the option's YAML; it raises `UserError` for one out of range.

    A rule may assume that it sees every step, in order, and that a parameter's gradient is None if
    the loss does not reach it. It must leave gradients alone if a norm is not finite, must not wait
    for an accelerator (no `.item()` on a tensor), and uses no random numbers. One that remembers
    earlier steps returns all of that from `state_dict`, so that a resumed run has the same bits.
    """

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit `gradients` in place.

        Args:
            gradients: of P parameters. `scale_` multiplies them by one factor or by one each. Only
                a factor that all share may be left to the update, so a rule that changes `p.grad`
                itself sees it as the backward pass left it.
            norms: their norms before clipping, float64: a list of P numbers on the CPU, a tensor
                (P,) on an accelerator.

        Returns:
            Their norms after clipping, of the same kind: `norms.scaled` multiplies either,
            `gradients.norms()` measures again.
        """
        return norms

    def state_dict(self) -> dict[str, Any]:
        """Return the rule's statistics as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the statistics that `state_dict` returned."""


class NoClip(Clip):
    """Gradients reach the optimizer unchanged."""


class ClipNorm(Clip):
    """Scale all gradients by min(1, max_norm / ||g||), ||g|| over all parameters.

    Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks"
    (arXiv 1211.5063), algorithm 1. Keeps the gradient's direction.

    Args:
        max_norm: the largest norm allowed.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        self.max_norm = _positive("max_norm", max_norm)

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm."""
        return _scale_to(self.max_norm, gradients, norms)


class ClipPerLayer(Clip):
    """Scale each layer's gradients by min(1, max_norm / ||g_layer||).

    Keeps the direction within a layer, but not that of the whole gradient.

    Args:
        max_norm: the largest norm allowed in a layer.
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
        max_value: the largest absolute value allowed.
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

    If ||G_i|| / max(||W_i||, eps) > clip_factor, G_i is scaled so that the ratio is clip_factor; i
    is a row of a matrix, a filter of a convolution, or a whole vector.
    Brock, De, Smith, Simonyan 2021, "High-performance large-scale image recognition without
    normalization" (arXiv 2102.06171), section 4.1; as there, the last layer is
    not clipped.

    Args:
        clip_factor: the largest ratio allowed (in the paper 0.01 for batches of 1024 to 4096, and
            more for smaller ones).
        eps: the smallest norm assumed for a unit's weights.
        clip_output: whether the last layer is also clipped.
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
    """Limit the global norm to a percentile of all norms so far, including this one.

    Seetharaman, Wichern, Pardo, Le Roux 2020, "AutoClip: adaptive gradient clipping for
    source separation networks" (arXiv 2007.14469), section 2, which finds the 10th best.

    The history is stored as counts in bins whose edges are 1.5% apart, so that its size is bounded
    and the percentile is right to within 0.75%.

    Args:
        percentile: the percentile of the history to limit to, from 0 to 100.
    """

    _RATIO = 1.015
    _LOWEST = 1e-30
    _HIGHEST = 1e30
    _BINS = math.ceil(math.log(_HIGHEST / _LOWEST) / math.log(_RATIO))

    def __init__(self, percentile: float = 10.0) -> None:
        if not 0.0 <= percentile <= 100.0:
            raise UserError(
                f"the percentile must be from 0 to 100, not {percentile}",
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
        """Limit the global norm to the percentile of the current history."""
        return _scale_to(self.limit(), gradients, norms)

    def observe(self, norm: Tensor) -> None:
        """Add a global norm () to the history, unless it is not finite."""
        self.counts = self.counts.to(norm.device)
        position = torch.log(norm / self._LOWEST) / math.log(self._RATIO)
        finite = torch.isfinite(norm)
        index = torch.where(finite, position, 0.0).clamp(0, self._BINS - 1).long()
        self.counts.index_add_(0, index.view(1), finite.long().view(1))

    def limit(self) -> Tensor:
        """Return the percentile of the history, float64 (); infinite if the history is empty.

        It is interpolated between two norms of the history, as in `numpy.percentile`.
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
        """Continue with a history."""
        self.counts = state["counts"].clone()


class ZClip(Clip):
    """Limit spikes: global norms that are too many deviations above their running mean.

    Let z = (||g|| - mu) / sigma. If z > z_threshold, the norm is reduced to
    mu + z_threshold * sigma / (z / z_threshold): the larger the spike, the stronger the reduction.
    mu and sigma are exponential moving averages of the norms after clipping. They start from the
    mean and deviation of the first `warmup_steps` norms, which are not clipped.
    Kumar, Owen, Chowdhury, Güra 2025, "ZClip: adaptive spike mitigation for LLM pre-training"
    (arXiv 2504.02507), section 3.

    Args:
        z_threshold: the number of deviations that makes a spike.
        decay: the weight of the past in the moving averages.
        warmup_steps: the number of norms that the averages start from.
    """

    def __init__(
        self, z_threshold: float = 2.5, decay: float = 0.97, warmup_steps: int = 25
    ) -> None:
        self.z_threshold = _positive("z_threshold", z_threshold)
        if not 0.0 < decay < 1.0:
            raise UserError(
                f"the decay must be between 0 and 1, not {decay}",
                where="clip.decay",
                hint="clip.decay=0.97",
            )
        self.decay = decay
        self.warmup_steps = int(_positive("warmup_steps", warmup_steps))
        # Count, mean and variance: float64 (3,).
        self.statistics = torch.zeros(3, dtype=torch.float64)

    def __call__(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm and update the averages with the result."""
        self.statistics = self.statistics.to(as_tensor(norms))
        clipped = self.clip(gradients, norms)
        self.observe(total_norm(clipped))
        return clipped

    def clip(self, gradients: Gradients, norms: Norms) -> Norms:
        """Limit the global norm with the current averages."""
        return _scale_to(self.limit(total_norm(norms)), gradients, norms)

    def limit(self, norm: Tensor) -> Tensor:
        """Return the limit for a global norm (); infinite if it is not a spike."""
        count, mean, variance = self.statistics.to(norm).unbind()
        deviation = variance.sqrt()
        z = (norm - mean) / deviation
        spike = (count >= self.warmup_steps) & (z > self.z_threshold)
        limit = mean + self.z_threshold * deviation / (z / self.z_threshold)
        return torch.where(spike, limit, math.inf)

    def observe(self, norm: Tensor) -> None:
        """Update the averages with a global norm (), unless it is not finite."""
        count, mean, variance = self.statistics.unbind()
        warming_up = count < self.warmup_steps
        # During the warm-up Welford's running mean and variance, then the moving averages.
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
        """Continue with count, mean and variance."""
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
            f"{name} must be above 0, not {value}",
            where=f"clip.{name}",
            hint="clip=none, to leave the gradients unchanged",
        )
    return value
