"""Rules on what a training starts from: the scale of its inputs and of its initial weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    HALF_LEFT,
    HUGE_WEIGHTS,
    INPUT_RANGE,
    LARGE_FIRST_LOSS,
    LARGE_WEIGHTS,
    LOSS_OF_GUESSING,
    SATURATED_UNITS,
    SMALL_WEIGHTS,
)
from gradcli.diagnosis.loss_course import began_exploded, has_learned, learned_anyway, loss_left
from gradcli.diagnosis.which_loss import loss_of_guessing
from gradcli.notation import numbers
from gradcli.records import Finding, TensorRange

# These bring inputs of any scale to their own.
_NORMALISING = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm", "RMSNorm", "Embedding")


def unscaled_inputs(evidence: Evidence) -> Iterator[Finding]:
    """The inputs are raw pixels, or other numbers far larger than 1."""
    setup = evidence.setup
    if setup is None or setup.inputs is None or setup.inputs.whole:
        return
    inputs = setup.inputs
    since = _unscaled_since(evidence)
    if since is None:
        return
    largest = max(abs(inputs.low), abs(inputs.high))
    size = _size(inputs)
    if not size > INPUT_RANGE.value or not math.isfinite(largest):
        return
    first = evidence.first_called
    # Behind the first layer, a norm layer only helps if nothing goes around it.
    called = evidence.called_first(2 if setup.single_path else 1)
    if any(layer.kind.startswith(_NORMALISING) for layer in called):
        return
    place = first.name if first is not None else evidence.layers[0].name
    yield Finding(
        code="unscaled-inputs",
        severity=_severity(evidence),
        layer=place,
        evidence={
            "lowest_input": inputs.low,
            "highest_input": inputs.high,
            "mean": inputs.mean,
            "std": inputs.std,
            "first_loss": evidence.convergence.first_loss,
            **({"since_step": since} if since > 1 else {}),
        },
        threshold=f"inputs with a root mean square above {INPUT_RANGE}, and no normalising layer "
        f"before or right behind {place} ({INPUT_RANGE.source})",
        message=(f"From step {since} on, if not before, the" if since > 1 else "The")
        + f" inputs are not scaled: they range from {numbers.norm(inputs.low)} to "
        f"{numbers.norm(inputs.high)}, so the signals and gradients of {place} are too large by "
        f"about {numbers.norm(size)}.{_all_the_same(evidence)}",
        override=remedies.scale_inputs(evidence),
        mend=f"Scale the inputs: subtract the mean, {numbers.norm(inputs.mean)}, and divide by "
        f"the standard deviation, {numbers.norm(inputs.std)}.",
    )


def constant_inputs(evidence: Evidence) -> Iterator[Finding]:
    """All inputs are the same number, so that no example tells itself from another."""
    observed = [one.inputs for one in evidence.setups if one.inputs is not None]
    if not observed and evidence.setup is not None and evidence.setup.inputs is not None:
        observed = [evidence.setup.inputs]
    values = {value for one in observed for value in (one.low, one.high)}
    if len(values) != 1 or has_learned(evidence):
        return
    if not all(len(one.shape) > 1 and one.shape[0] > 1 for one in observed):
        return
    value = values.pop()
    place = (evidence.first_called or evidence.layers[0]).name
    yield Finding(
        code="unscaled-inputs",
        severity="error" if value == 0 else "warning",
        layer=place,
        evidence={"lowest_input": value, "highest_input": value},
        threshold="inputs of which the lowest and the highest are the same number, whenever they "
        "were observed",
        message=f"All inputs are {numbers.norm(value)}: examples do not differ, so the model can "
        "only learn one output for all of them"
        + (f", and the weights of {place} get no gradient." if value == 0 else "."),
        override=None,
        mend="Look at how the inputs are read and scaled; divided by too large a number, or as "
        "integers, they become 0.",
    )


def _unscaled_since(evidence: Evidence) -> int | None:
    """Return the step from which all observed inputs are too large; None if one batch is at most.

    A single batch may have an outlier.
    """
    observed = [(one.step + 1, one.inputs) for one in evidence.setups if one.inputs is not None]
    if not observed and evidence.setup is not None and evidence.setup.inputs is not None:
        observed = [(1, evidence.setup.inputs)]
    too_large = [step for step, one in observed if _size(one) > INPUT_RANGE.value]
    for at, (step, _) in enumerate(observed):
        rest = [later for later, _ in observed[at:]]
        if rest == too_large[-len(rest) :] and (len(rest) > 1 or at == 0):
            return step
    return None


def _size(inputs: TensorRange) -> float:
    """Return the root mean square."""
    return math.hypot(inputs.mean, inputs.std)


def initial_scale(evidence: Evidence) -> Iterator[Finding]:
    """The initial weights are far larger or smaller than what keeps a signal's size."""
    gains = evidence.initial_gains
    known = np.isfinite(gains)
    if not known.any():
        return
    large, small = gains > LARGE_WEIGHTS.value, gains < SMALL_WEIGHTS.value
    # Some layers begin at exactly zero on purpose: adapters, the last of a residual branch, heads.
    if len(gains) == 1:
        small[:] = False  # a linear model begins anywhere; there is no layer for signals to fade in
    small &= ~np.array(evidence.frozen) & ((gains > 0) | (gains[known] == 0).all())
    first, guessing = evidence.convergence.first_loss, loss_of_guessing(evidence)
    if large.any() and (
        first > LARGE_FIRST_LOSS.value * guessing
        or not loss_left(evidence) <= HALF_LEFT.value
        or (np.nanmax(gains) > HUGE_WEIGHTS.value and not learned_anyway(evidence))
        or _saturated(evidence)
    ):
        place = int(np.flatnonzero(large)[0])
        relation, size = "large", "above"
        consequence = (
            f"before any update the loss is {numbers.norm(first)}, while guessing has "
            f"{numbers.norm(guessing)}"
            if first > LARGE_FIRST_LOSS.value * guessing
            else "signals grow, and activations saturate"
        )
        override = remedies.keep_signals_small(evidence)
    elif small.any() and evidence.steps > 1 and not learned_anyway(evidence):
        place = int(np.flatnonzero(small)[0])
        relation, size = "small", "below"
        consequence = "signals shrink from layer to layer, and gradients with them"
        override = remedies.usual_initialisation(evidence)
    else:
        return
    count = int(large.sum() if relation == "large" else small.sum())
    name, gain = evidence.layers[place].name, float(gains[place])
    yield Finding(
        code="initial-scale",
        severity=_severity(evidence),
        layer=name,
        evidence={
            "weight_rms_times_root_fan_in": gain,
            "layers": count,
            "first_loss": first,
            "loss_of_guessing": guessing,
        },
        threshold=f"initial weights with rms times sqrt(fan_in) {size} "
        f"{LARGE_WEIGHTS if relation == 'large' else SMALL_WEIGHTS} ({LARGE_WEIGHTS.source})",
        message=f"The initial weights of {name} are too {relation}: {numbers.norm(gain)} times "
        f"what keeps the size of a signal; {consequence}."
        + (f" {numbers.count(count - 1, 'other layer')} too." if count > 1 else "")
        + _all_the_same(evidence),
        override=override,
        mend=f"Initialise {name} with a standard deviation of 1/sqrt(fan_in), as PyTorch's own "
        "initialisation nearly does.",
    )


def _severity(evidence: Evidence) -> Literal["info", "warning"]:
    """A start that is wrong, but did no harm that shows, is a remark."""
    return "info" if learned_anyway(evidence) else "warning"


def _all_the_same(evidence: Evidence) -> str:
    return " The model learns all the same." if learned_anyway(evidence) else ""


def identical_units(evidence: Evidence) -> Iterator[Finding]:
    """All units of a layer have the same weights, so they compute and learn the same."""
    setup = evidence.first_setup
    if setup is None:
        return
    trained = [
        index
        for index in setup.identical_units
        if not evidence.is_frozen(evidence.info.layers[index].name)
    ]
    if not trained:
        return
    name = evidence.info.layers[trained[0]].name
    yield Finding(
        code="initial-scale",
        severity=_severity(evidence),
        layer=name,
        evidence={"layers": len(trained)},
        threshold="a layer whose units all have exactly the same weights, while it trains",
        message=f"All units of {name} have the same weights: they compute the same value and "
        f"get the same gradient, so they stay one unit.{_all_the_same(evidence)}",
        override=remedies.usual_initialisation(evidence),
        mend=f"Initialise {name} with random weights.",
    )


def zero_weights(evidence: Evidence) -> Iterator[Finding]:
    """Weights that are all 0 take the gradient from one another, so that none ever moves."""
    places = stuck_at_zero(evidence)
    if not places:
        return
    names = [evidence.layers[place].name for place in places]
    one = len(names) == 1
    named = " and ".join(names)
    if len(names) > 2:
        named = f"{names[0]} and {numbers.count(len(names) - 1, 'other layer')}"
    yield Finding(
        code="initial-scale",
        severity="error",
        layer=names[0],
        evidence={"layers": len(names), "largest_grad_norm": 0.0, "steps": len(evidence.norms)},
        threshold="initial weights of exactly 0, and a gradient of exactly 0 at every step",
        message=f"The initial weights of {named} are all 0, and their gradients are exactly 0 at "
        "every step: "
        + (
            "it never moves."
            if one
            else "each gets its gradient through another one, which is 0, so none ever moves."
        ),
        override=remedies.usual_initialisation(evidence),
        mend=f"Initialise {names[0]} with random weights"
        + (
            "."
            if one
            else "; of two matrices that are multiplied, such as those of an adapter, only one may "
            "begin at 0."
        ),
    )


def stuck_at_zero(evidence: Evidence) -> list[int]:
    """Return the trained layers whose weights begin at 0 and never get a gradient above 0."""
    if evidence.steps < 2 or not len(evidence.norms):
        return []
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    stuck = (evidence.norms.max(axis=0) == 0) & (evidence.initial_gains == 0) & ~aside
    return [place for place in np.flatnonzero(stuck).tolist() if evidence.has_flat_units(place)]


def _saturated(evidence: Evidence) -> bool:
    return evidence.probed is not None and bool(
        np.nanmax(np.nan_to_num(evidence.probed.saturated_fraction), initial=0.0)
        > SATURATED_UNITS.value
    )


def wild_guesses(evidence: Evidence) -> Iterator[Finding]:
    """The loss of the initial weights is far above that of guessing."""
    if not began_exploded(evidence):
        return
    first, guessing = evidence.convergence.first_loss, loss_of_guessing(evidence)
    yield Finding(
        code="exploding",
        severity=_severity(evidence),
        layer=evidence.layers[0].name,
        evidence={"first_loss": first, "loss_of_guessing": guessing},
        threshold=f"a first loss above {LOSS_OF_GUESSING} times ln(classes) "
        f"({LOSS_OF_GUESSING.source})",
        message=f"Signals explode on their way to the output, from {evidence.layers[0].name} on: "
        f"before any update the loss is {numbers.norm(first)}, while guessing has "
        f"{numbers.norm(guessing)}.{_all_the_same(evidence)}",
        override=remedies.keep_signals_small(evidence),
        mend="Initialise the weights so that signals keep their size (kaiming for ReLU, xavier "
        "for tanh), or normalise between the layers.",
    )
