"""Rules on the data: labels that do not belong to the inputs, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import AT_CHANCE, LOSS_KEPT, MOVED, TINY_BATCH
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
from gradcli.records import Finding, Floats

# How far above chance an accuracy must be to count, in its own standard deviations.
_BEYOND_CHANCE = 3.0
# In fewer steps a sound model may not have left the loss of guessing yet.
_FEWEST_STEPS = 60
# A block of one class: the loss falls for so many steps (but one) to below this share of that of
# guessing, then rises by this much and above guessing within a few steps.
_FALL = 8
_BELOW_GUESSING = 0.9
_HEIGHT = 0.3
_RISE = 4
_FEWEST_BLOCKS = 3


def labels(evidence: Evidence) -> Iterator[Finding]:
    """The model moves and gets gradients, but learns nothing that holds for other examples."""
    if evidence.steps < _FEWEST_STEPS or not evidence.classes > 1 or evidence.fault is not None:
        return
    if not np.isfinite(evidence.update_ratios).any():
        return
    usual = float(np.nanmax(evidence.usual_update_ratios))
    distance = evidence.steps * usual
    if not distance > MOVED.value:
        return
    last, guessing = evidence.convergence.last_loss, evidence.loss_of_guessing
    accuracy, chance = _validation(evidence)
    memorised = not math.isnan(accuracy) and last < AT_CHANCE.value * guessing and chance
    stuck = (last >= AT_CHANCE.value * guessing and chance) or (
        math.isnan(accuracy) and last >= LOSS_KEPT.value * guessing and not evidence.is_on_its_way
    )
    if not memorised and not stuck:
        return
    seen = (
        f"the loss on training batches fell to {numbers.norm(last)}, but the accuracy on other "
        f"examples, {accuracy:.2f}, is that of guessing"
        if memorised
        else f"after {evidence.steps} steps the loss is {numbers.norm(last)}, while guessing has "
        f"{numbers.norm(guessing)}"
    )
    yield Finding(
        code="labels",
        severity="warning",
        layer=None,
        evidence={
            "last_loss": last,
            "loss_of_guessing": guessing,
            "val_accuracy": accuracy,
            "distance": distance,
        },
        threshold=f"updates that add up to more than {MOVED} of the weights, and a loss above "
        f"{AT_CHANCE} of that of guessing, or an accuracy on other examples within "
        f"{_BEYOND_CHANCE:g} deviations of guessing ({MOVED.source})",
        message="The labels do not seem to belong to the inputs, or the model does not see the "
        f"inputs: gradients arrive and the weights move, but {seen}. Compare some inputs with "
        "their labels.",
        override=None,
        mend="Keep inputs and labels in the same order: shuffle both with one permutation, and "
        "look at some pairs.",
    )


def _validation(evidence: Evidence) -> tuple[float, bool]:
    """Return the last accuracy on other examples (NaN if none), and whether guessing has it."""
    known = [one for one in evidence.evals if not math.isnan(one.accuracy)]
    if not known:
        return math.nan, False
    accuracy = known[-1].accuracy
    share = 1 / evidence.classes
    count = evidence.info.data.val or evidence.info.data.test or 100
    deviation = math.sqrt(share * (1 - share) / count)
    return accuracy, accuracy < share + _BEYOND_CHANCE * deviation


def data_order(evidence: Evidence) -> Iterator[Finding]:
    """The classes come one after the other: the loss falls, and rises at once, repeatedly."""
    if evidence.steps < FEWEST_STEPS or not evidence.classes > 2:
        return
    if not (evidence.losses >= 0).all():
        return
    if any(change.factor > 1 for change in evidence.rate_changes):
        return  # which throws the loss up by itself
    if 0 < evidence.batch_size <= TINY_BATCH.value:
        return  # from one or two examples to the next, the loss jumps anyway
    relative = evidence.losses / evidence.loss_of_guessing
    blocks = block_starts(relative)
    if len(blocks) < _FEWEST_BLOCKS:
        return
    yield Finding(
        code="data-order",
        severity="warning",
        layer=None,
        evidence={"blocks": len(blocks), "last_loss": evidence.convergence.last_loss},
        threshold=f"{_FEWEST_BLOCKS} or more times a loss that fell for {_FALL} steps to below "
        f"{_BELOW_GUESSING} of that of guessing, then rose above it within {_RISE} steps",
        message=f"The examples are not shuffled: {len(blocks)} times the loss fell step by step "
        "and then rose at once above that of guessing, as it does when the classes come one after "
        "the other.",
        override=None,
        mend="Shuffle the examples (DataLoader(..., shuffle=True)), so that each batch has all "
        "classes.",
    )


def block_starts(relative: Floats) -> list[int]:
    """Return the places at which the loss rises above guessing after it has fallen step by step.

    The loss of shuffled batches goes up and down by chance. In a block of one class it falls at
    nearly each step, and rises within a few steps when the next block begins.

    Args:
        relative: the losses as multiples of that of guessing, (n,).
    """
    falls = np.diff(relative, prepend=math.inf) <= 0
    found: list[int] = []
    at = _FALL
    while at < len(relative) - 1:
        fell = falls[at - _FALL + 1 : at + 1].sum() >= _FALL - 1 and relative[at] < _BELOW_GUESSING
        ahead = relative[at + 1 : at + 1 + _RISE]
        lowest = relative[at] <= ahead[0]
        if fell and lowest and ahead.max() > max(1.0, relative[at] + _HEIGHT):
            found.append(at + 1)
            at += _RISE
        at += 1
    return found
