"""How far the loss has come: what is left of it, and whether the training has learned."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    AT_CHANCE,
    BEYOND_CHANCE,
    HAD_LEARNED,
    LEARNED_ANYWAY,
    LOSS_BLOWN_UP,
    LOSS_KEPT,
    LOSS_OF_GUESSING,
    SLOW_START,
)
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.diagnosis.standing import standing
from gradcli.diagnosis.which_loss import is_measured_by_guessing, judges_loss, loss_of_guessing
from gradcli.records import Doubles


def reference_loss(evidence: Evidence) -> float:
    """Return the first loss, or that of guessing if it is lower; NaN if the loss is not judged.

    Where it is known what the best constant output costs, that is the reference, above the lowest
    loss that there can be.
    """
    if not judges_loss(evidence):
        return math.nan
    if is_measured_by_guessing(evidence):
        return evidence.info.levels.guessing - evidence.info.levels.lowest
    return float(np.fmin(evidence.convergence.first_loss, loss_of_guessing(evidence)))


def loss_kept(evidence: Evidence) -> float:
    """Return the last loss as a share of the reference."""
    last = evidence.convergence.last_loss
    if is_measured_by_guessing(evidence) and len(evidence.losses):
        # Not the median: of rare positives, most batches have none, and a small loss.
        last = float(evidence.losses[-max(1, len(evidence.losses) // 10) :].mean())
    return _share(last, evidence)


def lowest_loss_kept(evidence: Evidence) -> float:
    """Return the lowest loss that lasted, as a share of the reference."""
    return _share(float(_lasting_losses(evidence).min()), evidence)


def loss_left(evidence: Evidence) -> float:
    """Return the mean loss of the second half as a share of the reference.

    The mean, because with tiny batches the median is the loss of an easy example, and what
    is left to learn is in the hard ones.
    """
    half = evidence.losses[len(evidence.losses) // 2 :]
    return _share(float(half.mean()), evidence) if len(half) else math.nan


def _share(loss: float, evidence: Evidence) -> float:
    """Return a loss as a share of the reference; infinity if guessing leaves nothing to learn."""
    reference = reference_loss(evidence)
    lowest = evidence.info.levels.lowest if is_measured_by_guessing(evidence) else 0.0
    return math.inf if reference == 0 else (loss - lowest) / reference


def highest_loss(evidence: Evidence) -> float:
    """Return the highest loss that lasted: the largest median of five consecutive steps."""
    return float(_lasting_losses(evidence).max())


def _lasting_losses(evidence: Evidence) -> Doubles:
    """Return the medians of five consecutive steps."""
    windows = sliding_window_view(evidence.losses, min(5, len(evidence.losses)))
    return np.asarray(np.median(windows, axis=1), dtype=np.float64)


def blown_up(evidence: Evidence) -> bool:
    """Whether training has driven the loss far above the first one, and it stayed high."""
    if evidence.steps < FEWEST_STEPS or not loss_kept(evidence) > LOSS_KEPT.value:
        return False
    if is_measured_by_guessing(evidence) and has_learned(evidence):
        return False
    return highest_loss(evidence) > LOSS_BLOWN_UP.value * loss_at_first(evidence)


def loss_at_first(evidence: Evidence) -> float:
    """Return the first loss, or that of guessing if it is higher and not just ln(classes).

    The first batch may be an easy one by chance.
    """
    guessing = evidence.info.levels.guessing if is_measured_by_guessing(evidence) else math.nan
    return float(np.fmax(evidence.convergence.first_loss, guessing))


def began_exploded(evidence: Evidence) -> bool:
    """Whether the loss of the initial weights is far above that of guessing."""
    return evidence.convergence.first_loss > LOSS_OF_GUESSING.value * loss_of_guessing(evidence)


def has_learned(evidence: Evidence) -> bool:
    """Whether the loss has fallen, as far as it can be judged."""
    if is_measured_by_guessing(evidence):
        return standing(evidence) in ("better", "memorised", "unsure")
    return loss_kept(evidence) <= LOSS_KEPT.value


def is_long_enough(evidence: Evidence) -> bool:
    """Whether the loss of a sound training would have fallen by now.

    How slow an own loop is at first is not known, so it is given more steps.
    """
    fewest = SLOW_START.value if evidence.info.is_own_loop else FEWEST_STEPS
    return evidence.steps >= fewest


def is_on_its_way(evidence: Evidence) -> bool:
    """Whether the loss is not far below guessing yet, but falls beyond chance."""
    below_chance = loss_kept(evidence) < AT_CHANCE.value
    return evidence.convergence.trend == "falling" and (below_chance or comes_from_high(evidence))


def comes_from_high(evidence: Evidence) -> bool:
    """Whether the loss has fallen, if not below that of guessing."""
    return evidence.convergence.last_loss < LOSS_KEPT.value * evidence.convergence.first_loss


def learned_anyway(evidence: Evidence) -> bool:
    """Whether so little of the loss is left that whatever is odd did no harm that shows."""
    return evidence.fault is None and loss_left(evidence) < LEARNED_ANYWAY.value


def fell_back(evidence: Evidence) -> bool:
    """Whether the loss once was well below that of guessing, and is there no more."""
    if is_measured_by_guessing(evidence) and has_learned(evidence):
        return False
    return lowest_loss_kept(evidence) < HAD_LEARNED.value and loss_kept(evidence) > AT_CHANCE.value


def turned_at(evidence: Evidence) -> int:
    """Return the place among the n sampled steps from which the loss rose again; 0 if it did not.

    That is where its median over five steps was lowest.
    """
    has_turned = len(evidence.losses) > 0 and fell_back(evidence)
    return int(_lasting_losses(evidence).argmin()) + 2 if has_turned else 0


def of_the_flow(evidence: Evidence) -> Evidence:
    """Return the evidence on how gradients flow: of the first step if training broke the model.

    Gradients in a broken model add no information, and no single layer causes them.
    """
    if not blown_up(evidence) and evidence.fault is None:
        return evidence
    return replace(evidence, norms=evidence.norms[:1], input_norms=evidence.input_norms[:1])


def still_falls(evidence: Evidence) -> bool:
    """Whether the last quarter of the losses is below the half before it, beyond chance."""
    fall, margin = _latest_fall(evidence)
    return fall > margin


def may_still_fall(evidence: Evidence, excess: float) -> bool:
    """Whether it cannot be ruled out that the loss still falls by a tenth of an excess, or more."""
    fall, margin = _latest_fall(evidence)
    return not fall + margin < excess / 10


def _latest_fall(evidence: Evidence) -> tuple[float, float]:
    """Return how far the last quarter of the losses is below the half before, and chance's part.

    Means, so that a slow fall shows among the noise of the batches, and of rare positives too.
    NaN for fewer than 20 steps.
    """
    if evidence.steps < FEWEST_STEPS:
        return math.nan, math.nan
    quarter = len(evidence.losses) // 4
    before, end = evidence.losses[quarter:-quarter], evidence.losses[-quarter:]
    error = math.sqrt(before.var(ddof=1) / len(before) + end.var(ddof=1) / len(end))
    return float(before.mean() - end.mean()), BEYOND_CHANCE.value * error


def has_risen(evidence: Evidence) -> bool:
    """Whether the last tenth of the losses is above the first one by more than their own spread."""
    tenth = len(evidence.losses) // 10
    first, last = evidence.losses[:tenth], evidence.losses[-tenth:]
    if tenth < 2:
        return False
    spread = max(float(first.std(ddof=1)), float(last.std(ddof=1)))
    return bool(last.mean() - first.mean() > spread)
