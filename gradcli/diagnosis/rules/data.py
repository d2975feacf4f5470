"""Rules on the data: outliers and other spikes, labels of other inputs, and the order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    AT_CHANCE,
    BATCH_LOSS,
    BATCH_NORM,
    BEYOND_CHANCE,
    BLOCK_FALL,
    BLOCK_HEIGHT,
    BLOCK_LOW,
    BLOCKS,
    FEWEST_ROWS,
    LEARNED_ANYWAY,
    LOSS_KEPT,
    MOVED,
    ONE_CLASS,
    PASSED,
    SLOW_START,
    SOON,
    SPIKE,
    SPIKE_HARM,
    SPIKE_HARM_AT_LEAST,
    TINY_BATCH,
)
from gradcli.diagnosis.loss_course import has_learned, is_on_its_way, loss_kept
from gradcli.diagnosis.loss_jumps import loss_jump
from gradcli.diagnosis.loss_trend import FEWEST_STEPS, RateChange, Spike
from gradcli.diagnosis.update_sizes import harmful_jump, updates_too_large
from gradcli.diagnosis.which_loss import (
    classes_told_apart,
    has_another_loss_from,
    has_known_zero,
    is_measured_by_guessing,
    loss_of_guessing,
)
from gradcli.notation import numbers
from gradcli.records import Finding, Floats

# Within so many steps of a block's end, the loss has risen: a batch or two may hold two classes.
_RISE = 4
# In fewer batches, the classes may not have come up yet.
_FEWEST_BATCHES = 3


def labels(evidence: Evidence) -> Iterator[Finding]:
    """The model moves and gets gradients, but learns nothing that holds for other examples."""
    if (
        evidence.steps < SLOW_START.value
        or not classes_told_apart(evidence) > 1
        or evidence.fault is not None
    ):
        return
    if is_measured_by_guessing(evidence) or not np.isfinite(evidence.update_ratios).any():
        return
    usual = float(np.nanmax(evidence.usual_update_ratios))
    distance = evidence.steps * usual
    if not distance > MOVED.value:
        return
    last, guessing = evidence.convergence.last_loss, loss_of_guessing(evidence)
    accuracy, chance = _validation(evidence)
    memorised = not math.isnan(accuracy) and last < AT_CHANCE.value * guessing and chance
    stuck = (last >= AT_CHANCE.value * guessing and chance) or (
        math.isnan(accuracy) and last >= LOSS_KEPT.value * guessing and not is_on_its_way(evidence)
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
    changed = loss_jump(evidence)
    changed = None if changed is None or changed.after < changed.before else changed
    from_then_on = f"From step {changed.step} on the" if changed else "The"
    first_seen = (
        f" At step {changed.step} the loss rose at once from {numbers.norm(changed.before)} to "
        f"{numbers.norm(changed.after)}, although no update before it was large."
        if changed
        else ""
    )
    yield Finding(
        code="labels",
        severity="warning",
        layer=None,
        evidence={
            **({"from_step": changed.step} if changed else {}),
            "last_loss": last,
            "loss_of_guessing": guessing,
            "val_accuracy": accuracy,
            "distance": distance,
        },
        threshold=f"updates that add up to more than {MOVED} of the weights, and a loss above "
        f"{AT_CHANCE} of that of guessing, or an accuracy on other examples within "
        f"{BEYOND_CHANCE} deviations of guessing ({MOVED.source})",
        message=f"{from_then_on} labels do not seem to belong to the inputs, or the model does not "
        f"see the inputs: gradients arrive and the weights move, but {seen}.{first_seen} Compare "
        "some inputs with their labels.",
        override=None,
        mend="Keep inputs and labels in the same order: shuffle both with one permutation, and "
        "look at some pairs.",
    )


def _validation(evidence: Evidence) -> tuple[float, bool]:
    """Return the last accuracy on other examples (NaN if none), and whether guessing has it."""
    known = [one for one in evidence.evals if not math.isnan(one.score)]
    if not known or not evidence.info.metric.is_accuracy:
        return math.nan, False
    accuracy = known[-1].score
    share = 1 / classes_told_apart(evidence)
    count = evidence.info.data.val or evidence.info.data.test or 100
    deviation = math.sqrt(share * (1 - share) / count)
    return accuracy, accuracy < share + BEYOND_CHANCE.value * deviation


def data_order(evidence: Evidence) -> Iterator[Finding]:
    """The classes come one after the other: batches hold one of them, or the loss shows it."""
    if evidence.steps < FEWEST_STEPS or not classes_told_apart(evidence) > 2:
        return
    alone = _classes_alone(evidence)
    if len(alone) > 1:
        yield _batches_of_one_class(evidence, alone)
        return
    if not (evidence.losses >= 0).all():
        return
    if any(change.factor > 1 for change in evidence.rate_changes):
        return  # which throws the loss up by itself
    if 0 < evidence.batch_size <= TINY_BATCH.value:
        return  # from one or two examples to the next, the loss jumps anyway
    relative = evidence.losses / loss_of_guessing(evidence)
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


def one_class(evidence: Evidence) -> Iterator[Finding]:
    """All labels that were seen are of one class."""
    if not classes_told_apart(evidence) > 2:
        return
    if any(setup.targets_seen < FEWEST_ROWS.value for setup in evidence.setups):
        return
    seen = [setup.usual_target for setup in evidence.setups]
    found = set(seen)
    if len(seen) < _FEWEST_BATCHES or len(found) > 1:
        return
    if evidence.setups[-1].step < evidence.steps / 2:
        return  # then the classes may come one after the other
    label, share = found.pop()
    if not share >= 1:
        return
    yield Finding(
        code="labels",
        severity="warning",
        layer=None,
        evidence={
            "label": label,
            "batches": len(seen),
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"{_FEWEST_BATCHES} or more batches with {FEWEST_ROWS} labels or more, to the "
        f"second half of the steps, all of one class ({FEWEST_ROWS.source})",
        message=f"All labels are of class {label}, in each of the {len(seen)} batches that were "
        "looked at: there is nothing to learn but that class.",
        override=None,
        mend="Count the labels of each class, and look at how they are made.",
    )


def _classes_alone(evidence: Evidence) -> dict[int, int]:
    """Return the classes that observed batches hold nearly alone: the first such step of each."""
    first: dict[int, int] = {}
    for setup in evidence.setups:
        label, share = setup.usual_target
        if share >= ONE_CLASS.value and setup.targets_seen >= FEWEST_ROWS.value:
            first.setdefault(label, setup.step + 1)
    return first


def _batches_of_one_class(evidence: Evidence, alone: dict[int, int]) -> Finding:
    (label, step), (other, later) = list(alone.items())[:2]
    return Finding(
        code="data-order",
        severity="warning",
        layer=None,
        evidence={
            "classes_alone": len(alone),
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"batches with {FEWEST_ROWS} labels or more of which one class makes up "
        f"{ONE_CLASS} or more, and not the same one in all of them ({ONE_CLASS.source})",
        message=f"The examples are not shuffled: nearly all of step {step} are of class {label}, "
        f"and nearly all of step {later} of class {other}. Each update learns one class and "
        "unlearns the others.",
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


def spike(evidence: Evidence) -> Iterator[Finding]:
    """After a norm far above those before it, the loss rose and stayed high."""
    if 0 < evidence.batch_size <= TINY_BATCH.value or not has_known_zero(evidence):
        return  # from one or two examples to the next, losses and norms jump anyway
    guessing = evidence.info.levels.guessing if is_measured_by_guessing(evidence) else 0.0
    first_loss = evidence.convergence.first_loss
    thrown = harmful_jump(evidence)
    for one in evidence.spikes:
        if not one.loss_before > 0:
            continue  # of a loss that may be negative, no multiple means anything
        if has_another_loss_from(evidence, one.step):
            continue
        if max(one.loss_at / BATCH_LOSS.value, one.loss_after / SPIKE_HARM.value) < guessing:
            continue  # a rare positive among batches without any, whose losses are small
        slow = one.steps_to_recover > PASSED.value * evidence.steps
        passed = evidence.fault is None and has_learned(evidence) and not slow
        rise = one.loss_after - one.loss_before
        harmful = (
            one.loss_after > SPIKE_HARM.value * one.loss_before
            and rise >= SPIKE_HARM_AT_LEAST.value * first_loss
        )
        jumps = [
            change
            for change in evidence.rate_changes
            if 0 <= one.step - change.step <= FEWEST_STEPS
        ]
        if thrown is not None and thrown[0] < one.step and not jumps:
            return  # updates were too large before it
        if updates_too_large(evidence) and not jumps:
            return
        killed = _killed(evidence, one)
        broken = killed or not has_learned(evidence)
        noticed = one.loss_at - one.loss_before >= SPIKE_HARM_AT_LEAST.value * first_loss
        set_back = one.is_unannounced and slow and noticed
        if one.is_of_the_batch and not jumps and (harmful or broken or set_back):
            yield _bad_batch(one, is_over=(passed or _ends_well(evidence)) and not killed)
            return
        recovered = evidence.fault is None and evidence.convergence.last_loss < one.loss_before
        if recovered or not harmful:
            continue
        yield _spike(evidence, one, jumps)
        return  # later ones happen to a model that the first one has disturbed


def _spike(evidence: Evidence, one: Spike, jumps: list[RateChange]) -> Finding:
    jump = max(jumps, key=lambda change: change.factor, default=RateChange(0, 1.0))
    cause = (
        f", right after the learning rate was multiplied by {numbers.norm(jump.factor)} "
        f"at step {jump.step}"
        if jumps
        else ""
    )
    return Finding(
        code="spike",
        severity="info" if _ends_well(evidence) else "warning",
        layer=one.layer,
        evidence={
            "step": one.step,
            "factor": one.factor,
            "loss_before": one.loss_before,
            "loss_after": one.loss_after,
        },
        threshold=f"a norm above {SPIKE} times the median of the 25 steps before, and a loss "
        f"above {SPIKE_HARM} times that before ({SPIKE_HARM.source})",
        message=f"At step {one.step} the gradient was {numbers.norm(one.factor)} times its "
        f"usual size, most of all in {one.layer}{cause}. The loss rose from "
        f"{numbers.norm(one.loss_before)} to {numbers.norm(one.loss_after)}.",
        override=remedies.smooth_schedule(evidence) if jumps else remedies.limit_spikes(evidence),
        mend=f"Remove the jump of the schedule at step {jump.step}."
        if jumps
        else "Clip the gradients to a few times their usual norm, or lower the learning rate.",
    )


def _ends_well(evidence: Evidence) -> bool:
    return evidence.fault is None and loss_kept(evidence) < LEARNED_ANYWAY.value


def _killed(evidence: Evidence, one: Spike) -> bool:
    """Whether a layer has had no gradient since a few steps after the spike."""
    since = [int(evidence.silent_since[at]) for at in evidence.fell_silent]
    return any(0 <= step - one.step <= SOON.value for step in since)


def _bad_batch(one: Spike, *, is_over: bool) -> Finding:
    """Report an outlier: as a remark if training has soon made up for it."""
    return Finding(
        code="bad-batch",
        severity="info" if is_over else "warning",
        layer=one.layer,
        evidence={
            "step": one.step,
            "factor": one.factor_at,
            "loss_before": one.loss_before,
            "loss_at": one.loss_at,
            "loss_after": one.loss_after,
            "steps_to_recover": one.steps_to_recover,
        },
        threshold=f"in one batch a loss above {BATCH_LOSS} times that before, or a norm above "
        f"{BATCH_NORM} times that before, and units that die, a loss that stays {SPIKE_HARM} times "
        f"as high, or one that takes more than {PASSED} of the steps to recover "
        f"({BATCH_NORM.source})",
        message=f"The batch of step {one.step} has an outlier: its loss was "
        f"{numbers.norm(one.loss_at)}, while that of the steps before was "
        f"{numbers.norm(one.loss_before)}, and its gradient {numbers.norm(one.factor_at)} times as "
        f"large as usual. The update with it left the loss at {numbers.norm(one.loss_after)}; "
        + _recovery(one),
        override=None,
        mend=f"Look at the examples of the batch of step {one.step} for an outlier, and remove it "
        "or clip the gradients.",
    )


def _recovery(one: Spike) -> str:
    if math.isinf(one.steps_to_recover):
        return "it has not come back since."
    steps = numbers.count(int(one.steps_to_recover), "step")
    return f"{steps} later it was back at where it had been."
