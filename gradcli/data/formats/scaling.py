"""Inputs and targets of a file in deviations from their means, as the training examples have them.

Pixels are another matter: they stay bytes, and are normalised batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

#: Targets whose mean or deviation is larger are far from what a network gives at the beginning.
_LARGE: Final = 100


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is standardised: mean 0 and deviation 1 in the training examples."""

    inputs: bool = False
    targets: bool = False


def standardized(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return parts with mean 0 and deviation 1 in the first: float32.

    Args:
        parts: (n, ...) each, the training examples first. Each number of an example has a mean and
            a deviation of its own; one that is constant in the first part becomes 0 there.
    """
    mean, deviation = _moments(parts[0])
    return [((part.double() - mean) / deviation).float() for part in parts]


def on_standardized_targets(training: Tensor) -> str:
    """Say in which units the scores are, of targets (n, ...) as the file has them."""
    mean, deviation = _moments(training)
    if mean.numel() > 1:
        return "Each target is standardised: the loss and the scores are in its deviations."
    return (
        f"The targets are standardised: (target - {mean.item():.4g}) / {deviation.item():.4g}. The "
        f"loss and the scores are in deviations: 1 is {deviation.item():.4g} in the file, squared "
        "for mse."
    )


def on_large_targets(targets: Tensor) -> tuple[str, ...]:
    """Say that numbers to predict are too large to be learnt by default."""
    mean, deviation = _moments(targets.flatten())
    if max(abs(mean.item()), deviation.item()) <= _LARGE:
        return ()
    return (
        f"The targets have mean {mean.item():.2g} and deviation {deviation.item():.2g}; a network "
        "begins near 0, and takes long to get there. data.standardize_targets=true learns them in "
        "deviations, in which the loss and the scores are then given.",
    )


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over the examples, as float64; 1 instead of no deviation."""
    values = values.double()
    mean, deviation = values.mean(dim=0), values.std(dim=0, correction=0)
    return mean, torch.where(deviation == 0, 1, deviation)
