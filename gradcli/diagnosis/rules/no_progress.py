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
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.diagnosis.rules.step_size import hardly, hardly_moves
from gradcli.diagnosis.standing import falls_on_others, hangs_on_few, last_quarter, standing
from gradcli.diagnosis.update_sizes import updates_too_large
from gradcli.diagnosis.which_loss import (
    classes_told_apart,
    is_measured_by_guessing,
    loss_of_guessing,
    should_fall,
)
from gradcli.notation import numbers
from gradcli.records import Finding

# Outputs begin near 0: training has to take them over so many deviations of the targets.
_FAR = 3
# Outputs begin at about 1 in size, and weights grow slowly.
_LARGE = 30
#: What an operation can give, whatever its input.
_REACH = {
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Relu": (0.0, math.inf),
}


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


def targets_out_of_reach(evidence: Evidence) -> Iterator[Finding]:
    """The operation behind the last layer cannot give some of the targets."""
    setup, (low, high) = evidence.setup, evidence.info.levels.usual_targets
    if setup is None or not 0 <= setup.output_at < len(setup.loss_path):
        return
    operation = setup.loss_path[setup.output_at]
    least, most = _REACH.get(operation, (-math.inf, math.inf))
    if not (low < least or high > most):
        return
    reach = "below 0" if math.isinf(most) else f"outside {least:g} to {most:g}"
    yield Finding(
        code="saturated",
        severity="warning",
        layer=None,
        evidence={
            "operation": operation.lower(),
            "usual_targets_from": low,
            "usual_targets_to": high,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold="an operation at the model's output that is bounded, and more than 5% of the "
        "targets above or below its bounds",
        message=f"The output cannot reach the targets: it passes through a {operation.lower()}, "
        f"which gives nothing {reach}, and 90% of the targets are from {numbers.norm(low)} to "
        f"{numbers.norm(high)}.",
        override=None,
        mend=f"Remove the {operation.lower()} from the model's output, or scale the targets to "
        "what it can give.",
    )


def unscaled_targets(evidence: Evidence) -> Iterator[Finding]:
    """The targets are so far from the first outputs that training only goes there."""
    levels = evidence.info.levels
    if not is_measured_by_guessing(evidence) or not levels.guessing > 0:
        return
    if hangs_on_few(evidence) or next(targets_out_of_reach(evidence), None) is not None:
        return
    if evidence.steps >= FEWEST_STEPS and (
        has_learned(evidence)
        or not is_long_enough(evidence)
        or hardly_moves(evidence)
        or updates_too_large(evidence)
    ):
        return  # they have come there, or it is the steps that keep them from it
    power = 1 if _is_of_distances(evidence) else 2
    shift = (levels.of_zero / levels.guessing) ** (1 / power)
    deviation = levels.guessing ** (1 / power)
    first_outputs = evidence.first_setup.outputs if evidence.first_setup is not None else None
    begun = 1.0 if first_outputs is None else max(1.0, first_outputs.std)
    if not (shift > _FAR or deviation > _LARGE * begun):
        return
    what = (
        f"they are about {numbers.norm(shift)} times as far from 0 as from one another"
        if shift > _FAR
        else f"they differ by about {numbers.norm(deviation)}, and the first outputs are about 1"
    )
    first = evidence.convergence.first_loss
    facts: dict[str, float | int | str] = {
        "first_loss": first,
        "loss_of_guessing": levels.guessing,
        "loss_of_zero": levels.of_zero,
    }
    course = f"the loss begins at {numbers.norm(first)}"
    if evidence.steps >= FEWEST_STEPS:
        last = float(last_quarter(evidence).mean())
        facts["last_loss"] = last
        course += f" and ends at {numbers.norm(last)}"
    yield Finding(
        code="loss-scale",
        severity="warning",
        layer=None,
        evidence=facts,
        threshold=f"targets more than {_FAR} deviations from 0, or that differ by more than "
        f"{_LARGE} times the first outputs, and a last loss that is not below that of the best "
        "constant output",
        message=f"The targets are not scaled: {what}. Training has to take the outputs there "
        f"first: {course}, while a constant output has {numbers.norm(levels.guessing)}.",
        override=None,
        mend="Standardise the targets: subtract their mean, and divide by their standard "
        "deviation.",
    )


def _is_of_distances(evidence: Evidence) -> bool:
    """Whether the loss grows with the distance from the target, and not with its square."""
    path = () if evidence.setup is None else evidence.setup.loss_path
    return any(name.startswith(("Abs", "L1Loss")) for name in path)


def memorised(evidence: Evidence) -> Iterator[Finding]:
    """The model learns the training examples alone: on others it was never better than guessing."""
    if standing(evidence) != "memorised" or evidence.fault is not None:
        return
    if falls_on_others(evidence) or hangs_on_few(evidence):
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
    if not is_long_enough(evidence) or hangs_on_few(evidence):
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
            "See whether the outputs can reach the targets: without a bias in the last layer they "
            "cannot become a constant, and what comes behind it may cut them off."
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
