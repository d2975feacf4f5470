"""Probe: whether the gradients of consecutive steps point the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading, spread, with_sign

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 5
_AGREEMENT = 0.2
"""A mean cosine beyond this is more than independent directions would give by chance."""


def gradient_cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return <a, b> / (||a|| ||b||) of two gradients, each a list of tensors of equal shapes.

    Near 1 the steps agree. Near 0 noise dominates, since independent directions in many
    dimensions are almost orthogonal. Negative values mean oscillation across a valley. Summed in
    float64; NaN if a gradient is zero or not finite.
    """
    import torch

    product = first_squared = second_squared = 0.0
    for a, b in zip(first, second, strict=True):
        x, y = a.detach().reshape(-1).double(), b.detach().reshape(-1).double()
        product += float(torch.dot(x, y))
        first_squared += float(torch.dot(x, x))
        second_squared += float(torch.dot(y, y))
    scale = math.sqrt(first_squared) * math.sqrt(second_squared)
    return product / scale if 0 < scale < math.inf else math.nan


class StepCosine:
    """The cosine between each gradient it is given and the one before.

    Costs one copy of the gradient in memory and three inner products per step; no passes.
    """

    def __init__(self) -> None:
        self._last: list[Tensor] | None = None

    def __call__(self, gradients: Sequence[Tensor]) -> float:
        """Return the cosine between `gradients` and those of the previous call; NaN at first."""
        last = self._last
        # The caller's tensors are overwritten by the next step.
        self._last = [gradient.detach().clone() for gradient in gradients]
        return math.nan if last is None else gradient_cosine(last, self._last)


def _run(target: ProbeTarget) -> tuple[float, ...]:
    """Return the cosines of the next few steps, each with the step before it."""
    cosine, values = StepCosine(), []
    for _ in range(_STEPS + 1):
        target.step()
        values.append(cosine([p.grad for p in target.model.parameters() if p.grad is not None]))
    return tuple(values[1:])


def _summary(cosines: Sequence[float]) -> ProbeSummary:
    known = [one for one in cosines if not math.isnan(one)]
    return spread(float(np.mean(known)) if known else math.nan, known)


def _sentences(cosines: Sequence[float], batch_size: int) -> list[str]:
    known = [cosine for cosine in cosines if not math.isnan(cosine)]
    if not known:
        return ["unknown: no two consecutive gradients were finite and nonzero"]
    mean = sum(known) / len(known)
    if mean > _AGREEMENT:
        meaning = "consecutive gradients agree"
    elif mean < -_AGREEMENT:
        meaning = "the steps oscillate across a valley"
    else:
        meaning = "consecutive gradients are almost unrelated: noise dominates"
    ends = f"{min(known):+.2f} to {max(known):+.2f} over {numbers.count(len(known), 'step')}"
    return [f"mean {mean:+.2f} ({ends}): {meaning}"]


COSINE = Probe(
    name="cosine",
    cost="six training steps, on a copy",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="gradient cosine", write=with_sign),
    takes_steps=True,
)
