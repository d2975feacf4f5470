"""Rules on the data: labels that do not belong to the inputs, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    AT_CHANCE,
    BEYOND_CHANCE,
    BLOCK_FALL,
    BLOCK_HEIGHT,
    BLOCK_LOW,
    BLOCKS,
    LOSS_KEPT,
    MOVED,
    SLOW_START,
    TINY_BATCH,
)
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
from gradcli.records import Finding, Floats

# Within so many steps of a block's end, the loss has risen: a batch or two may hold two classes.
_RISE = 4


def labels(evidence: Evidence) -> Iterator[Finding]:
    """The model moves and gets gradients, but learns nothing that holds for other examples."""
    if evidence.steps < SLOW_START.value or not evidence.classes > 1 or evidence.fault is not None:
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
        f"{BEYOND_CHANCE} deviations of guessing ({MOVED.source})",
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
    return accuracy, accuracy < share + BEYOND_CHANCE.value * deviation


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
    if len(blocks) < BLOCKS.value:
        return
    yield Finding(
        code="data-order",
        severity="warning",
        layer=None,
        evidence={"blocks": len(blocks), "last_loss": evidence.convergence.last_loss},
        threshold=f"{BLOCKS} or more times a loss that fell for {BLOCK_FALL} steps to below "
        f"{BLOCK_LOW} of that of guessing, then rose above it within {_RISE} steps "
        f"({BLOCKS.source})",
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
    fall = int(BLOCK_FALL.value)
    at = fall
    while at < len(relative) - 1:
        fell = falls[at - fall + 1 : at + 1].sum() >= fall - 1 and relative[at] < BLOCK_LOW.value
        ahead = relative[at + 1 : at + 1 + _RISE]
        lowest = relative[at] <= ahead[0]
        if fell and lowest and ahead.max() > max(1.0, relative[at] + BLOCK_HEIGHT.value):
            found.append(at + 1)
            at += _RISE
        at += 1
    return found
