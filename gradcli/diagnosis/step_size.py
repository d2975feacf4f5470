"""Rules on the size of steps: does each move the weights far enough, and not too far?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.broken import is_of_any_size
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    ALWAYS,
    BATCH_LOSS,
    BATCH_NORM,
    CLIPPED_TO,
    DISTANCE,
    FIRST_UPDATES,
    HALF_LEARNED,
    HALF_LEFT,
    LARGE_UPDATE,
    LEARNED_ANYWAY,
    LOSS_BLOWN_UP,
    LOSS_KEPT,
    NOISE_SCALE,
    PASSED,
    RATE_GONE,
    SCATTER,
    SETTLED_LEFT,
    SOON,
    SPIKE,
    SPIKE_HARM,
    SPIKE_HARM_AT_LEAST,
    STILL_TO_LEARN,
    TINY_BATCH,
    UPDATE_JUMP,
    USUAL_UPDATE,
)
from gradcli.diagnosis.loss_trend import FEWEST_STEPS, RateChange, Spike
from gradcli.diagnosis.update_sizes import first_jump, harmful_jump, updates_too_large
from gradcli.notation import numbers
from gradcli.records import Finding, was_clipped

# The scatter that the proposed larger batch should bring.
_GOOD_SCATTER = 0.3
# Where a value that is not finite may be the work of updates; inputs and labels are not.
_PHASES_OF_TRAINING = ("forward", "loss", "backward", "parameters", "update")


def spike(evidence: Evidence) -> Iterator[Finding]:
    """After a norm far above those before it, the loss rose and stayed high."""
    if 0 < evidence.batch_size <= TINY_BATCH.value:
        return  # from one or two examples to the next, losses and norms jump anyway
    first_loss = evidence.convergence.first_loss
    thrown = harmful_jump(evidence)
    for one in evidence.spikes:
        if not one.loss_before > 0:
            continue  # of a loss that may be negative, no multiple means anything
        if _is_of_another_loss(evidence, one):
            continue
        slow = one.steps_to_recover > PASSED.value * evidence.steps
        passed = evidence.fault is None and evidence.has_learned and not slow
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
        broken = not evidence.has_learned or _killed(evidence, one)
        noticed = one.loss_at - one.loss_before >= SPIKE_HARM_AT_LEAST.value * first_loss
        set_back = one.is_unannounced and slow and noticed
        if one.is_of_the_batch and not jumps and (harmful or broken or set_back):
            yield _bad_batch(
                one, is_over=(passed or _ends_well(evidence)) and not _killed(evidence, one)
            )
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
    return evidence.fault is None and evidence.loss_kept < LEARNED_ANYWAY.value


def _is_of_another_loss(evidence: Evidence, one: Spike) -> bool:
    """Whether the loss is computed in another way after the spike than before it."""
    before = [setup.loss_path for setup in evidence.setups if setup.step + 1 < one.step]
    after = [setup.loss_path for setup in evidence.setups if setup.step + 1 >= one.step]
    return bool(before and after) and before[-1] != after[0]


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


def learning_rate_too_high(evidence: Evidence) -> Iterator[Finding]:
    """Updates so large that the model breaks, or never settles."""
    if not np.isfinite(evidence.update_ratios).any():
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
    name = evidence.layers[place].name
    when = f"at step {step} " if jump else ""
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
        f"{size:.0%} of their norm. {consequence}",
        override=override,
        mend=mend,
    )


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
    course = (
        f"The loss went from {numbers.norm(first)} up to {numbers.norm(evidence.losses.max())} and "
        f"ended at {numbers.norm(last)}."
        if evidence.highest_loss > 1.1 * first
        else f"The loss began at {numbers.norm(first)} and ended at {numbers.norm(last)}."
    )
    if silent and (jump or ratio > LARGE_UPDATE.value) and not evidence.has_learned:
        place = min(silent, key=lambda at: (evidence.silent_since[at], -at))
        return (
            f"From step {evidence.silent_since[place]} on no gradient reaches "
            f"{evidence.layers[place].name}: its units are dead. {course}"
        )
    certain_loss = evidence.classes > 1
    if evidence.blown_up and (certain_loss or ratio > LARGE_UPDATE.value):
        return course
    if not evidence.judges_loss:
        return ""
    did_harm = harmful_jump(evidence) is not None
    if evidence.has_learned:
        half_learned = (did_harm and evidence.loss_left > HALF_LEARNED.value) or (
            updates_too_large(evidence) and evidence.loss_left > SETTLED_LEFT.value
        )
        return course if half_learned and certain_loss else ""
    if jumps_about or did_harm or (evidence.fell_back and ratio > LARGE_UPDATE.value / 2):
        return course
    return ""


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
    has_not_fallen = evidence.loss_kept > LOSS_KEPT.value and not evidence.comes_from_high
    hardly_moves = 0 < distance < DISTANCE.value and ratio < USUAL_UPDATE.value
    if not (hardly_moves and has_not_fallen):
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
        threshold=f"steps times the update ratio below {DISTANCE} in every layer, and a last loss "
        f"above {LOSS_KEPT} of the first one ({DISTANCE.source})",
        message=f"The learning rate is too low: {evidence.steps} updates together changed no "
        f"layer's weights by more than {100 * distance:.2g}% ({name} moved most), and the loss "
        f"{_hardly(evidence.convergence.first_loss, evidence.convergence.last_loss)}.",
        override=remedies.raise_learning_rate(evidence, ratio),
        mend=remedies.raise_learning_rate_in_words(evidence, ratio),
    )


def _rate_gone(evidence: Evidence) -> Finding | None:
    """Report a schedule that ended in the first half of the training, with much left to learn."""
    since, last = evidence.rate_gone_since, evidence.convergence.last_loss
    too_early = since > 0 and evidence.last_step - since + 1 > evidence.steps / 2
    if not too_early or not evidence.loss_kept > STILL_TO_LEARN.value or evidence.fault is not None:
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


def noise_dominated(evidence: Evidence) -> Iterator[Finding]:
    """A batch holds more noise than signal while there is still much to learn."""
    scatter = evidence.convergence.scatter
    if 0 < evidence.batch_size <= TINY_BATCH.value and evidence.loss_left > STILL_TO_LEARN.value:
        yield _tiny_batches(evidence)
        return
    scale = evidence.probed.noise_scale if evidence.probed is not None else None
    size = evidence.info.batch_size
    if scatter > SCATTER.value and evidence.loss_left > STILL_TO_LEARN.value:
        yield Finding(
            code="noise-dominated",
            severity="warning",
            layer=None,
            evidence={"loss_scatter": scatter, "batch_size": size},
            threshold=f"losses of consecutive batches that differ by more than {SCATTER} of the "
            f"loss, with more than {STILL_TO_LEARN} of it left ({SCATTER.source})",
            message=f"Noise dominates: the loss changes by {scatter:.0%} from one batch to the "
            "next, so single steps go in almost random directions. Larger batches reduce the "
            "noise with the square root of their size; a lower learning rate averages over steps.",
            override=remedies.larger_batches(evidence, (scatter / _GOOD_SCATTER) ** 2),
            mend=f"Use batches {(scatter / _GOOD_SCATTER) ** 2:.0f} times as large, or lower the "
            "learning rate.",
        )
    elif scale is not None and size and scale[1] > NOISE_SCALE.value * size:
        # Near a minimum the mean gradient goes to zero and the noise does not: that is normal.
        late = evidence.loss_left < HALF_LEFT.value
        yield Finding(
            code="noise-dominated",
            severity="info" if late else "warning",
            layer=None,
            evidence={
                "noise_scale": scale[0],
                "noise_scale_low": scale[1],
                "noise_scale_high": scale[2],
                "batch_size": size,
            },
            threshold=f"a noise scale above {NOISE_SCALE} batches ({NOISE_SCALE.source})",
            message=f"Noise dominates: it takes about {numbers.norm(scale[0])} examples for as "
            f"much signal as noise in the gradient, and a batch has {size}."
            + (
                " That is normal late in training; larger batches or a lower learning rate would "
                "still help."
                if late
                else ""
            ),
            override=remedies.larger_batches(evidence, min(scale[0], scale[1] * 2) / size),
        )


def _tiny_batches(evidence: Evidence) -> Finding:
    size = evidence.batch_size
    scatter = evidence.convergence.scatter
    return Finding(
        code="noise-dominated",
        severity="warning",
        layer=None,
        evidence={"batch_size": size, "loss_scatter": scatter, "loss_left": evidence.loss_left},
        threshold=f"batches of at most {TINY_BATCH}, with more than {STILL_TO_LEARN} of the loss "
        f"left ({TINY_BATCH.source})",
        message=f"Noise dominates: a batch has {numbers.count(size, 'example')}, so single steps "
        "go in almost random directions. Larger batches reduce the noise with the square root of "
        "their size; a lower learning rate averages over steps.",
        override=remedies.larger_batches(evidence, 64 / size),
        mend=f"Raise the batch size from {size} to 32 or more, or lower the learning rate.",
    )


def plateau(evidence: Evidence) -> Iterator[Finding]:
    """The loss has not fallen, and no other rule explains it."""
    first, last = evidence.convergence.first_loss, evidence.convergence.last_loss
    if not evidence.is_long_enough or evidence.convergence.trend == "falling":
        return
    if not evidence.loss_kept > LOSS_KEPT.value:
        return
    guessing = evidence.loss_of_guessing
    aside = "" if math.isnan(guessing) else f" Guessing has {numbers.norm(guessing)}."
    yield Finding(
        code="plateau",
        severity="warning" if evidence.should_fall else "info",
        layer=None,
        evidence={"first_loss": first, "last_loss": last, "steps": evidence.steps},
        threshold=f"a last loss above {LOSS_KEPT} of the first one, or of that of guessing "
        f"({LOSS_KEPT.source})",
        message=f"The loss {_hardly(first, last)}: it began at {numbers.norm(first)} and is "
        f"{numbers.norm(last)} after {evidence.steps} steps, although gradients arrive and the "
        f"weights move.{aside} "
        + (
            "Check the data (do the labels match the inputs?), dropout, and whether the model is "
            "large enough."
            if evidence.should_fall
            else "Some losses rise by design; if this one should fall, check the data."
        ),
        override=None,
    )


def _hardly(first: float, last: float) -> str:
    return "has hardly fallen" if last < first else "has not fallen"
