"""Rules on the size of steps: does each move the weights far enough, and not too far?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    ALWAYS,
    CLIPPED_TO,
    DISTANCE,
    FIRST_UPDATES,
    HALF_LEARNED,
    LARGE_UPDATE,
    LOSS_BLOWN_UP,
    LOSS_KEPT,
    LOSS_THROWN_UP,
    MOVED,
    RATE_GONE,
    SETTLED_LEFT,
    STILL_TO_LEARN,
    TINY_BATCH,
    UPDATE_JUMP,
    USUAL_UPDATE,
)
from gradcli.diagnosis.loss_course import (
    blown_up,
    comes_from_high,
    fell_back,
    has_learned,
    has_risen,
    highest_loss,
    loss_at_first,
    loss_kept,
    loss_left,
    may_still_fall,
    still_falls,
    turned_at,
)
from gradcli.diagnosis.loss_jumps import loss_jump
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.diagnosis.rules.broken import is_of_any_size
from gradcli.diagnosis.standing import standing
from gradcli.diagnosis.update_sizes import (
    first_jump,
    harmful_jump,
    updates_too_large,
    updates_too_large_together,
)
from gradcli.diagnosis.which_loss import (
    classes_told_apart,
    has_known_zero,
    is_measured_by_guessing,
    judges_loss,
)
from gradcli.notation import numbers
from gradcli.records import Finding, was_clipped

# With so many, the gradient of a batch is no longer mostly that of single examples.
_ENOUGH_EXAMPLES = 64
# How far below a rate at which training turns, one is that it goes well with.
_MARGIN = 3
# Where a value that is not finite may be the work of updates; inputs and labels are not.
_PHASES_OF_TRAINING = ("forward", "loss", "backward", "parameters", "update")


def learning_rate_too_high(evidence: Evidence) -> Iterator[Finding]:
    """Updates so large that the model breaks, or never settles."""
    if np.isnan(evidence.update_ratios).all():
        return
    if evidence.steps < FEWEST_STEPS and evidence.fault is None:
        return
    largest = np.fmax.reduce(evidence.update_ratios, axis=0)
    worst = int(np.nanargmax(largest))
    ratio = float(largest[worst])
    consequence = _what_it_did(evidence, ratio)
    if not consequence:
        return
    jump = first_jump(evidence)
    step, place, size = jump or (0, worst, ratio)
    of_rate = [
        change
        for change in evidence.rate_changes
        if change.factor > 1
        and (FIRST_UPDATES.value < change.step if jump is None else change.step <= step)
    ]
    risen = _risen_rate(evidence)
    override = remedies.lower_learning_rate(evidence, size / LARGE_UPDATE.value)
    mend = remedies.lower_learning_rate_in_words(
        evidence, size / LARGE_UPDATE.value, evidence.layers[place]
    )
    if of_rate:
        override = remedies.smooth_schedule(evidence)
        mend = (
            f"Remove the jump of the schedule at step {of_rate[-1].step}, where it multiplies the "
            f"learning rate by {numbers.norm(of_rate[-1].factor)}: lower it there."
        )
    elif evidence.info.is_own_loop and risen:
        mend = f"Let the schedule rise to {risen[1] / _MARGIN:.2g} at most."
    elif _is_of_tiny_batches(evidence):
        override = remedies.larger_batches(evidence, _ENOUGH_EXAMPLES / evidence.batch_size)
        mend = (
            f"Use batches of {_ENOUGH_EXAMPLES} examples, whose gradient allows a higher rate than "
            f"that of {evidence.batch_size}. {mend}"
        )
    name = evidence.layers[place].name
    when = f"at step {step} " if jump else ""
    turn = (
        f" The loss fell until step {risen[0]}, when the rate had risen to "
        f"{numbers.norm(risen[1])}, and rose after that."
        if risen
        else ""
    )
    first, last = evidence.convergence.first_loss, evidence.convergence.last_loss
    yield Finding(
        code="lr-too-high",
        severity="error",
        layer=name,
        evidence={
            "update_ratio": size,
            **({"at_step": step} if jump else {}),
            "largest_update_ratio": ratio,
            "first_loss": first,
            "highest_loss": float(evidence.losses.max(initial=-math.inf)),
            "last_loss": last,
            "learning_rate": evidence.info.learning_rate,
        },
        threshold=f"a loss or layers that do not recover (a last loss above {LOSS_KEPT} of the "
        f"reference, layers without gradient, a loss above {LOSS_BLOWN_UP} times the first one), "
        f"after an update above {UPDATE_JUMP} of a layer's weights or a usual one above "
        f"{LARGE_UPDATE} ({LARGE_UPDATE.source})",
        message=f"The learning rate is too high: {when}one update changed the weights of {name} by "
        f"{_of_their_norm(size)}.{turn} {consequence}",
        override=override,
        mend=mend,
    )


def _risen_rate(evidence: Evidence) -> tuple[int, float] | None:
    """Return the step from which the loss rose again, and the learning rate there.

    None if it did not, or if the rate had not risen by much until then.
    """
    at, rates = turned_at(evidence), evidence.learning_rates
    if not 0 < at < len(rates) or not rates[at] > _MARGIN * rates[0]:
        return None
    return int(evidence.sampled_steps[at]), float(rates[at])


def _of_their_norm(ratio: float) -> str:
    """Write an update ratio in percent, or as a multiple if it has more than three digits."""
    if math.isinf(ratio):
        return "more than float32 can hold"
    return f"{ratio:.0%} of their norm" if ratio < 10 else f"{numbers.norm(ratio)} times their norm"


def _is_of_tiny_batches(evidence: Evidence) -> bool:
    """Whether the noise of one to four examples makes steps too large, and not the rate alone."""
    tiny = 0 < evidence.batch_size <= TINY_BATCH.value
    return tiny and evidence.fault is None and not blown_up(evidence)


def _what_it_did(evidence: Evidence, ratio: float) -> str:
    """Say what too large updates did, the first thing first; empty if they did no harm."""
    first, last = evidence.convergence.first_loss, evidence.convergence.last_loss
    if evidence.fault is not None:
        if evidence.fault.phase not in _PHASES_OF_TRAINING or is_of_any_size(evidence.fault):
            return ""
        grew = len(evidence.losses) > 0 and evidence.losses.max() > LOSS_BLOWN_UP.value * first
        if ratio > UPDATE_JUMP.value or grew:
            return f"At step {evidence.fault.step} the first value was no longer finite."
        return ""
    usual = evidence.usual_update_ratios
    jumps_about = bool(np.nanmax(usual) > LARGE_UPDATE.value)
    jump = first_jump(evidence)
    silent = evidence.fell_silent
    together = updates_too_large_together(evidence)
    course = (
        f"The loss went from {numbers.norm(first)} up to {numbers.norm(evidence.losses.max())} and "
        f"ended at {numbers.norm(last)}."
        if highest_loss(evidence) > 1.1 * first
        else f"The loss began at {numbers.norm(first)} and ended at {numbers.norm(last)}."
    )
    large = jump is not None or ratio > LARGE_UPDATE.value or together
    if silent and large and not has_learned(evidence):
        place = min(silent, key=lambda at: (evidence.silent_since[at], -at))
        return (
            f"From step {evidence.silent_since[place]} on no gradient reaches "
            f"{evidence.layers[place].name}: its units are dead. {course}"
        )
    certain_loss = classes_told_apart(evidence) > 1
    if blown_up(evidence) and (certain_loss or ratio > LARGE_UPDATE.value):
        return course
    did_harm = harmful_jump(evidence) is not None
    if not has_known_zero(evidence):
        return course if (jumps_about or did_harm) and has_risen(evidence) else ""
    if not judges_loss(evidence):
        return ""
    if is_measured_by_guessing(evidence):
        unsettled = jumps_about or did_harm or together
        return course if unsettled and _cannot_settle(evidence) else ""
    if has_learned(evidence):
        half_learned = ((did_harm or together) and loss_left(evidence) > HALF_LEARNED.value) or (
            updates_too_large(evidence) and loss_left(evidence) > SETTLED_LEFT.value
        )
        return course if half_learned and certain_loss else ""
    if jumps_about or did_harm or together:
        return course
    is_back = fell_back(evidence) and ratio > LARGE_UPDATE.value / 2
    return course if is_back and loss_jump(evidence) is None else ""


def _cannot_settle(evidence: Evidence) -> bool:
    """Whether the loss stays above that of guessing, or was thrown far above it on the way there.

    A constant output only takes the last biases, so what does not find it goes about. Where the
    first update has replaced the weights, it need not have lasted: nothing else was learnt.
    """
    stood, replaced = standing(evidence), updates_too_large(evidence)
    height = highest_loss(evidence) / loss_at_first(evidence)
    if stood == "worse":
        return replaced or not still_falls(evidence)
    if stood == "as good":
        return replaced or height > LOSS_THROWN_UP.value
    return replaced and height > LOSS_BLOWN_UP.value and loss_left(evidence) > SETTLED_LEFT.value


def learning_rate_too_low(evidence: Evidence) -> Iterator[Finding]:
    """The weights have hardly moved, or do not move any more, and there is much to learn."""
    gone = _rate_gone(evidence)
    if gone is not None:
        yield gone
        return
    if evidence.steps < FEWEST_STEPS or not np.isfinite(evidence.update_ratios).any():
        return
    usual = evidence.usual_update_ratios
    best = int(np.nanargmax(usual))
    ratio, name = float(usual[best]), evidence.layers[best].name
    distance = evidence.steps * ratio
    stands_still = hardly_moves(evidence) and _has_not_fallen(evidence)
    if not stands_still and not _is_far_from_guessing(evidence):
        return
    yield Finding(
        code="lr-too-low",
        severity="warning",
        layer=None,
        evidence={
            "update_ratio": ratio,
            "steps": evidence.steps,
            "first_loss": evidence.convergence.first_loss,
            "last_loss": evidence.convergence.last_loss,
            "learning_rate": evidence.info.learning_rate,
        },
        threshold=f"steps times the update ratio below {DISTANCE} in every layer, and a mean loss "
        f"of the second half above {LOSS_KEPT} of the first one ({DISTANCE.source}); or updates "
        f"below {USUAL_UPDATE} of the weights, and a loss above that of the best constant output",
        message=f"The learning rate is too low: {evidence.steps} updates together changed no "
        f"layer's weights by more than {100 * distance:.2g}% ({name} moved most), and the loss "
        f"{hardly(evidence.convergence.first_loss, evidence.convergence.last_loss)}.",
        override=remedies.raise_learning_rate(evidence, ratio),
        mend=remedies.raise_learning_rate_in_words(evidence, ratio),
    )


def hardly_moves(evidence: Evidence) -> bool:
    """Whether all updates together have changed no layer by much; False if none was measured."""
    usual = evidence.usual_update_ratios
    ratio = float(np.nanmax(usual)) if np.isfinite(usual).any() else 0.0
    return 0 < evidence.steps * ratio < DISTANCE.value and ratio < USUAL_UPDATE.value


def _has_not_fallen(evidence: Evidence) -> bool:
    """Whether there is much to learn in all of the second half: its end may just have begun to."""
    if not has_known_zero(evidence):
        return still_falls(evidence)
    if is_measured_by_guessing(evidence):
        return loss_left(evidence) > LOSS_KEPT.value
    return loss_left(evidence) > LOSS_KEPT.value and not (
        comes_from_high(evidence) and loss_kept(evidence) > LOSS_KEPT.value
    )


def _is_far_from_guessing(evidence: Evidence) -> bool:
    """Whether small updates have not found the best constant output yet, or not moved far from it.

    A loss that is flat above it, after all that, is stuck there.
    """
    ratio = float(np.nanmax(evidence.usual_update_ratios))
    stood, guessing = standing(evidence), evidence.info.levels.guessing
    if not 0 < ratio < USUAL_UPDATE.value:
        return False
    if stood == "worse":
        return may_still_fall(evidence, evidence.convergence.last_loss - guessing)
    return stood == "as good" and evidence.steps * ratio < MOVED.value


def _rate_gone(evidence: Evidence) -> Finding | None:
    """Report a schedule that ended in the first half of the training, with much left to learn."""
    since, last = evidence.rate_gone_since, evidence.convergence.last_loss
    too_early = since > 0 and evidence.last_step - since + 1 > evidence.steps / 2
    if (
        not too_early
        or not loss_kept(evidence) > STILL_TO_LEARN.value
        or evidence.fault is not None
    ):
        return None
    return Finding(
        code="lr-too-low",
        severity="warning",
        layer=None,
        evidence={"since_step": since, "steps": evidence.steps, "last_loss": last},
        threshold=f"a learning rate below {RATE_GONE} of its largest value in the second half of "
        f"the steps, and more than {STILL_TO_LEARN} of the loss left ({RATE_GONE.source})",
        message=f"The learning rate falls too early: from step {since} of {evidence.last_step} on "
        f"it is less than {RATE_GONE} of its largest value, so updates change hardly anything. "
        f"The loss ends at {numbers.norm(last)}.",
        override=remedies.smooth_schedule(evidence),
        mend="Step the schedule once per epoch and not per batch, or choose one that lasts for all "
        "steps.",
    )


def always_clipped(evidence: Evidence) -> Iterator[Finding]:
    """Clipping sets the length of every step."""
    if evidence.steps < FEWEST_STEPS:
        return
    if evidence.is_adaptive and is_measured_by_guessing(evidence):
        return  # a norm has the scale of the targets, and the optimizer divides by it
    halfway = len(evidence.clip_coefficients) // 2
    for start in (0, halfway):  # it may have begun midway
        share = float(was_clipped(evidence.clip_coefficients[start:]).mean())
        coefficient = float(np.median(evidence.clip_coefficients[start:]))
        if share > ALWAYS.value and 0 < coefficient < CLIPPED_TO.value:
            break
    else:
        return
    when = " in the second half" if start else ""
    yield Finding(
        code="always-clipped",
        severity="warning",
        layer=None,
        evidence={
            "clipped_fraction": share,
            "median_coefficient": coefficient,
            "grad_norm_before_clip": evidence.convergence.last_norm,
        },
        threshold=f"more than {ALWAYS} of the steps clipped, to less than {CLIPPED_TO} of their "
        f"norm in the median ({ALWAYS.source})",
        message=f"{share:.0%} of the steps{when} are clipped, usually to "
        f"{numbers.norm(coefficient)} times their norm: clipping no longer guards against "
        "outliers but sets the length of every step, so a step's size no longer shows how steep "
        "the loss is.",
        override=remedies.raise_clip_limit(evidence, coefficient),
        mend=f"Raise the limit of the clipping (max_norm) to {numbers.norm(3 / coefficient)} times "
        "what it is, so that it only meets outliers.",
    )


def hardly(first: float, last: float) -> str:
    """Say of a loss that went from `first` to `last` that it has not fallen by much."""
    return "has hardly fallen" if last < first else "has not fallen"
