"""Whether a training is better than guessing, as far as its losses and their noise tell.

For a loss of which it is recorded what the best constant output costs. The noise is that of the
batches, and what parameters that are fitted to noise gain by chance.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import BEYOND_CHANCE, LOSS_KEPT
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.diagnosis.which_loss import is_measured_by_guessing
from gradcli.records import Doubles

# Of normally distributed targets, the farthest hundredth has 8% of the squares.
_OF_FEW = 0.5
_FEWEST_EVALUATIONS = 4

Standing = Literal["better", "memorised", "unsure", "as good", "worse", "unknown"]
"""`better`: below guessing beyond chance, on examples that were not learnt from if there are any.
`memorised`: on the training examples alone. `unsure`: within what chance does, but likely.
`as good`: within chance. `worse`: above it, so that not even the best constant was learnt.
`unknown`: guessing is not known, or there are fewer than 20 steps."""


def standing(evidence: Evidence) -> Standing:
    """Return how the last quarter of the training, and its evaluations, compare with guessing."""
    if not is_measured_by_guessing(evidence) or evidence.steps < FEWEST_STEPS:
        return "unknown"
    levels = evidence.info.levels
    gain, margin = _gain(evidence)
    on_others = _gains_on_others(evidence)
    if len(on_others):
        chance = BEYOND_CHANCE.value**2 * levels.chance / max(1, evidence.info.data.val)
        if on_others.max() > chance and (gain > margin or on_others[-1] > chance):
            return "better"  # with dropout, training batches may show less than others do
        if gain > margin:
            return "unsure" if on_others.max() > 0 else "memorised"
    elif gain > margin:
        return "better" if gain > _gain_by_heart(evidence) else "unsure"
    if gain > margin / BEYOND_CHANCE.value and not on_others.max(initial=-math.inf) <= 0:
        return "unsure"
    too_high = -gain > (1 / LOSS_KEPT.value - 1) * (levels.guessing - levels.lowest)
    return "worse" if too_high and -gain > margin else "as good"


def falls_on_others(evidence: Evidence) -> bool:
    """Whether the loss on validation examples still falls: it is lowest at the end.

    What is learnt by heart makes it rise, sooner or later.
    """
    losses = -_gains_on_others(evidence)
    quarter = max(1, len(losses) // 4)
    if len(losses) < _FEWEST_EVALUATIONS:
        return False
    end, before = losses[-quarter:], losses[quarter:-quarter]
    return bool(end.mean() < before.mean() and end.min() <= losses.min())


def hangs_on_few(evidence: Evidence) -> bool:
    """Whether a few far targets decide what guessing costs, and so how the loss compares with it.

    Not if the model is better than guessing all the same.
    """
    if not is_measured_by_guessing(evidence) or standing(evidence) == "better":
        return False
    return evidence.info.levels.of_few > _OF_FEW


def last_quarter(evidence: Evidence) -> Doubles:
    """Return the losses of the last quarter of the training."""
    return np.asarray(evidence.losses[len(evidence.losses) * 3 // 4 :], dtype=np.float64)


def _gain(evidence: Evidence) -> tuple[float, float]:
    """Return how far the last quarter of the losses is below guessing, and what chance allows."""
    end = last_quarter(evidence)
    error = float(end.std(ddof=1)) / math.sqrt(len(end))
    rounding = float(np.finfo(np.float32).eps) * abs(float(end.mean()))
    margin = BEYOND_CHANCE.value * error + rounding
    return evidence.info.levels.guessing - float(end.mean()), margin


def _gains_on_others(evidence: Evidence) -> Doubles:
    """Return how far each evaluation on validation examples is below guessing; none if unknown."""
    guessing = evidence.info.levels.guessing_val
    losses = [one.loss for one in evidence.evals if one.split == "val" and math.isfinite(one.loss)]
    return guessing - np.array([] if math.isnan(guessing) else losses)


def _gain_by_heart(evidence: Evidence) -> float:
    """Return what a model of this size gains on examples that it has seen, by learning noise.

    In the first epoch there are none. In later ones each parameter gains what chance does, and
    with as many parameters as examples all of it may be noise.
    """
    info = evidence.info
    if info.batch_size * evidence.last_step <= info.data.train:
        return 0.0
    if info.model_size >= info.data.train:
        return math.inf
    spread = BEYOND_CHANCE.value * math.sqrt(2 * info.model_size)
    return (info.model_size + spread) * info.levels.chance / info.data.train
