"""Steps from which the loss is another one at once, although no update can have done that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import SPIKE_HARM, SPIKE_HARM_AT_LEAST, UPDATE_JUMP
from gradcli.diagnosis.loss_trend import FEWEST_STEPS, describe_loss_trend
from gradcli.diagnosis.which_loss import (
    classes_told_apart,
    has_another_loss_from,
    judges_loss,
    should_fall,
)
from gradcli.records import Doubles, Floats


@dataclass(frozen=True, slots=True)
class LossJump:
    """Between two steps the loss leaves its range; 20 steps on either side do not overlap."""

    step: int
    """The first step with the new loss."""
    before: float
    after: float
    """The median losses of 20 steps on either side."""
    norm_before: float
    norm_after: float
    """The median gradient norms of these steps."""


def loss_jump(evidence: Evidence) -> LossJump | None:
    """Return the largest jump of the loss that updates, rates and another loss do not explain.

    An update that breaks a model is large, or its gradient is far above those before it, or the
    learning rate jumped.
    """
    # A cross-entropy smaller than this rounds to 0 in float32.
    losses = np.maximum(evidence.losses, np.finfo(np.float32).eps)
    if not judges_loss(evidence) or len(losses) < 2 * FEWEST_STEPS:
        return None
    if not len(evidence.sampled_steps):
        return None
    windows = sliding_window_view(losses, FEWEST_STEPS)
    before, after = windows[:-FEWEST_STEPS], windows[FEWEST_STEPS:]
    apart = (after.min(axis=1) > before.max(axis=1)) | (after.max(axis=1) < before.min(axis=1))
    # The last of the losses before and the first after: a window may also begin too early.
    at_once = np.abs(np.log(after[:, 0] / before[:, -1]))
    factors = np.where(apart, np.minimum(at_once, _apart(before, after)), 0.0)
    place = int(np.argmax(factors))
    if not factors[place] > np.log(SPIKE_HARM.value):
        return None
    at = place + FEWEST_STEPS
    norms = np.linalg.norm(evidence.norms, axis=1)
    found = LossJump(
        step=int(evidence.sampled_steps[at]),
        before=float(np.median(before[place])),
        after=float(np.median(after[place])),
        norm_before=float(np.median(norms[at - FEWEST_STEPS : at])),
        norm_after=float(np.median(norms[at : at + FEWEST_STEPS])),
    )
    return None if _is_explained(evidence, found) else found


def loss_that_stays_up(evidence: Evidence) -> LossJump | None:
    """Return such a jump if a loss of classes rose by much, and does not fall any more.

    The targets of a regression may move by design, as those of a value function do.
    """
    if classes_told_apart(evidence) < 2 or not should_fall(evidence):
        return None
    jump = loss_jump(evidence)
    if jump is None:
        return None
    # At first it falls anyway, to the loss of guessing if all labels are wrong.
    later = np.flatnonzero(evidence.sampled_steps >= jump.step)
    later = later[len(later) // 2 :]
    norms = np.linalg.norm(evidence.norms[later], axis=1)
    trend = describe_loss_trend(evidence.losses[later], norms).trend
    rise = evidence.convergence.last_loss - jump.before
    stays = rise >= SPIKE_HARM_AT_LEAST.value * evidence.convergence.first_loss
    higher = evidence.convergence.last_loss > SPIKE_HARM.value * jump.before
    return jump if stays and higher and trend in ("plateau", "noise", "rising") else None


def _apart(before: Floats, after: Floats) -> Doubles:
    """Return by which factor, as a logarithm, the medians of the windows (n, 20) differ, (n,)."""
    factors = np.median(after, axis=1) / np.median(before, axis=1)
    return np.asarray(np.abs(np.log(factors)), dtype=np.float64)


def _is_explained(evidence: Evidence, jump: LossJump) -> bool:
    """Whether the training itself, or another loss, did it."""
    soon = range(jump.step - FEWEST_STEPS, jump.step + 1)
    earlier = evidence.record_steps < jump.step
    return (
        any(change.step in soon for change in evidence.rate_changes)
        or any(one.step in soon[:-1] for one in evidence.spikes)
        or bool((evidence.update_ratios[earlier][1:] > UPDATE_JUMP.value).any())
        or has_another_loss_from(evidence, jump.step)
    )
