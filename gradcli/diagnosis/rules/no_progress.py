"""Rules on trainings that learn nothing, though gradients arrive and the weights move."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import BEYOND_CHANCE, LARGE_UPDATE, LOSS_KEPT
from gradcli.diagnosis.loss_course import (
    has_learned,
    is_long_enough,
    loss_kept,
    may_still_fall,
    still_falls,
)
from gradcli.diagnosis.rules.step_size import hardly
from gradcli.diagnosis.standing import last_quarter, standing
from gradcli.diagnosis.which_loss import (
    classes_told_apart,
    is_measured_by_guessing,
    loss_of_guessing,
    should_fall,
)
from gradcli.notation import numbers
from gradcli.records import Finding

# Outputs begin near 0, and ten deviations from there the loss is a hundred times the variance.
_FAR = 100


def constant_targets(evidence: Evidence) -> Iterator[Finding]:
    """All targets are the same, so there is nothing to learn."""
    if evidence.info.levels.guessing != 0 or classes_told_apart(evidence) > 2:
        return  # `one_class` looks at the labels themselves
    yield Finding(
        code="labels",
        severity="warning",
        layer=None,
        evidence={"loss_of_guessing": 0.0, "last_loss": evidence.convergence.last_loss},
        threshold="a constant output with a loss of exactly 0",
        message="All targets are the same: a constant output has a loss of 0, and there is nothing "
        "to learn but that.",
        override=None,
        mend="Look at some targets, and at how they are made.",
    )


def unscaled_targets(evidence: Evidence) -> Iterator[Finding]:
    """The targets are so far from the first outputs that training only goes there."""
    first, guessing = evidence.convergence.first_loss, evidence.info.levels.guessing
    far = is_measured_by_guessing(evidence) and first > _FAR * guessing > 0
    if not far or has_learned(evidence) or not is_long_enough(evidence):
        return
    last = float(last_quarter(evidence).mean())
    yield Finding(
        code="loss-scale",
        severity="warning",
        layer=None,
        evidence={"first_loss": first, "last_loss": last, "loss_of_guessing": guessing},
        threshold=f"a first loss above {_FAR} times that of the best constant output, and a last "
        "one that is not below it",
        message=f"The targets are far from the first outputs, compared with how they differ: the "
        f"loss begins at {numbers.norm(first)} and ends at {numbers.norm(last)}, while a constant "
        f"output has {numbers.norm(guessing)}. The training is spent on getting there.",
        override=None,
        mend="Standardise the targets: subtract their mean, and divide by their standard "
        "deviation.",
    )


def memorised(evidence: Evidence) -> Iterator[Finding]:
    """The model learns the training examples alone: on others it was never better than guessing."""
    if standing(evidence) != "memorised" or evidence.fault is not None:
        return
    levels = evidence.info.levels
    best = min(one.loss for one in evidence.evals if one.split == "val")
    last = float(last_quarter(evidence).mean())
    yield Finding(
        code="labels",
        severity="warning",
        layer=None,
        evidence={
            "last_loss": last,
            "loss_of_guessing": levels.guessing,
            "best_val_loss": best,
            "val_loss_of_guessing": levels.guessing_val,
        },
        threshold="a loss on training batches below that of the best constant output by more than "
        f"{BEYOND_CHANCE} standard errors, and one on validation examples that never was "
        f"({BEYOND_CHANCE.source})",
        message="The targets do not seem to belong to the inputs, or there are too few examples: "
        f"the loss on training batches fell to {numbers.norm(last)}, but on other examples it was "
        f"never below {numbers.norm(best)}, and a constant output has "
        f"{numbers.norm(levels.guessing_val)}. Compare some inputs with their targets.",
        override=None,
        mend="Keep inputs and targets in the same order: shuffle both with one permutation, and "
        "look at some pairs.",
    )


def plateau(evidence: Evidence) -> Iterator[Finding]:
    """The loss has not fallen, and no other rule explains it."""
    if not is_long_enough(evidence):
        return
    if is_measured_by_guessing(evidence):
        if _is_left_at_guessing(evidence) or _is_stuck_above(evidence):
            yield _no_better_than_guessing(evidence)
        return
    first, last = evidence.convergence.first_loss, evidence.convergence.last_loss
    if evidence.convergence.trend == "falling" or not loss_kept(evidence) > LOSS_KEPT.value:
        return
    guessing = loss_of_guessing(evidence)
    aside = "" if math.isnan(guessing) else f" Guessing has {numbers.norm(guessing)}."
    yield Finding(
        code="plateau",
        severity="warning" if should_fall(evidence) else "info",
        layer=None,
        evidence={"first_loss": first, "last_loss": last, "steps": evidence.steps},
        threshold=f"a last loss above {LOSS_KEPT} of the first one, or of that of guessing "
        f"({LOSS_KEPT.source})",
        message=f"The loss {hardly(first, last)}: it began at {numbers.norm(first)} and is "
        f"{numbers.norm(last)} after {evidence.steps} steps, although gradients arrive and the "
        f"weights move.{aside} "
        + (
            "Check the data (do the labels match the inputs?), dropout, and whether the model is "
            "large enough."
            if should_fall(evidence)
            else "Some losses rise by design; if this one should fall, check the data."
        ),
        override=None,
    )


def _is_left_at_guessing(evidence: Evidence) -> bool:
    """Whether updates of a known size have brought the loss no lower than that of guessing."""
    moved = bool(np.isfinite(evidence.update_ratios).any())
    return standing(evidence) == "as good" and moved and not still_falls(evidence)


def _is_stuck_above(evidence: Evidence) -> bool:
    """Whether the loss stays above that of guessing, and is flat there."""
    above = evidence.convergence.last_loss - evidence.info.levels.guessing
    return standing(evidence) == "worse" and not may_still_fall(evidence, above)


def _no_better_than_guessing(evidence: Evidence) -> Finding:
    first, guessing = evidence.convergence.first_loss, evidence.info.levels.guessing
    last = float(last_quarter(evidence).mean())
    worse = standing(evidence) == "worse"
    usual = evidence.usual_update_ratios
    ratio = float(np.nanmax(usual)) if np.isfinite(usual).any() else 0.0
    override = None
    if ratio > LARGE_UPDATE.value:
        override = remedies.lower_learning_rate(evidence, ratio / LARGE_UPDATE.value)
        advice = (
            f"The usual update changes a layer by {ratio:.0%} of its norm: try a lower learning "
            "rate first. If that does not help, compare some inputs with their targets."
        )
    elif worse:
        advice = (
            "See whether the outputs can reach the targets: an activation behind the last layer "
            "may cut them off, and without a bias they cannot become a constant."
        )
    else:
        advice = (
            "Compare some inputs with their targets first: do they belong together, and does the "
            "model see the inputs? Then check dropout, and whether the model is large enough."
        )
    return Finding(
        code="plateau",
        severity="warning",
        layer=None,
        evidence={
            "first_loss": first,
            "last_loss": last,
            "loss_of_guessing": guessing,
            "steps": evidence.steps,
        },
        threshold="a last quarter of the losses that is not below the loss of the best constant "
        f"output by more than {BEYOND_CHANCE} standard errors ({BEYOND_CHANCE.source})",
        message=f"The model is {'worse' if worse else 'no better'} than guessing: a constant "
        f"output has a loss of {numbers.norm(guessing)}, this one {numbers.norm(last)} after "
        f"{evidence.steps} steps, although gradients arrive and the weights move. {advice}",
        override=override,
    )
