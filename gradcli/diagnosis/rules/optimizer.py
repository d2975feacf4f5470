"""Rules on the optimizer: what it holds, and its weight decay, momentum and epsilon."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence, nanmedian
from gradcli.diagnosis.limits import (
    DECAY_OVERSHOOTS,
    DECAY_PULL,
    EPSILON_SHARE,
    FIRST_TOO_LARGE,
    HALF_LEFT,
    MOMENTUM,
    SETTLED_LEFT,
    SILENT_STEPS,
    USUAL_EPSILON,
    WEIGHTS_LEFT,
)
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
from gradcli.notation.layer_names import get, named, them
from gradcli.records import Finding, Floats, LayerInfo

# A decoupled decay may be nearly all of an update; then more than this cannot be told.
_LARGEST_PULL = 1000.0
# Their epsilon sets the size of the first steps by design (Zeiler 2012, section 3.3).
_EPSILON_BY_DESIGN = ("Adadelta", "Adafactor")


def not_updated(evidence: Evidence) -> Iterator[Finding]:
    """Layers get gradients, but no update moves them: none at all, or none any more."""
    for look in (_replaced, _never_updated, _without_updates, _standing_still):
        found = next(look(evidence), None)
        if found is not None:
            yield found
            return


def _replaced(evidence: Evidence) -> Iterator[Finding]:
    """The model has new layers midway, of which the watched optimizer does not know."""
    places = () if evidence.setup is None else evidence.setup.replaced
    names = [evidence.info.layers[place].name for place in places]
    if not names:
        return
    known = zip(evidence.layers, evidence.silent_since.tolist(), strict=False)
    steps = [step for layer, step in known if layer.name in names and step > 1]
    since = min(steps, default=0)
    yield Finding(
        code="not-updated",
        severity="error",
        layer=names[0],
        evidence={"layers": len(names), **({"since_step": since} if since else {})},
        threshold="trained parameters in the place of others, which no parameter group holds",
        message=(f"From step {since} on " if since else "Midway ")
        + f"the model has new parameters in {named(names).removesuffix(',')}, which the optimizer "
        "does not hold: no update moves them, and those that it holds are no longer used.",
        override=None,
        mend=f"After {names[0]} is replaced, make a new optimizer of model.parameters() and a new "
        "monitor, or pass the new parameters to optimizer.add_param_group().",
    )


def _without_updates(evidence: Evidence) -> Iterator[Finding]:
    """An own loop reports losses, but its optimizer makes no updates any more."""
    calls = evidence.calls_since_update
    if calls < SILENT_STEPS.value or calls <= 2 * evidence.calls_per_update:
        return
    yield Finding(
        code="not-updated",
        severity="warning",
        layer=None,
        evidence={"last_update": evidence.last_step, "calls_since": calls},
        threshold=f"{SILENT_STEPS} losses or more without an update after them, and more than "
        "twice as many as ever before an update",
        message=f"After update {evidence.last_step} monitor.step(loss) was called {calls} times, "
        "but optimizer.step() of the watched optimizer never: what happened then is not on record.",
        override=None,
        mend="Call optimizer.step() after monitor.step(loss), and give a new optimizer a monitor "
        "of its own.",
    )


def _standing_still(evidence: Evidence) -> Iterator[Finding]:
    """Layers that updates moved at first, but do not move in the last part of the training."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    gets_gradient = (evidence.norms[-1:] > 0).any(axis=0)
    places = np.flatnonzero((evidence.still_since > 0) & ~aside & gets_gradient)
    if not len(places):
        return
    layers = [evidence.layers[place] for place in places]
    names = [layer.name for layer in layers]
    everything = len(names) == int((~aside).sum())
    since = int(evidence.still_since[places].min())
    zero_rate = _has_zero_rate(evidence, layers)
    whose = "" if everything else f" of {named(names).removesuffix(',')}"
    yield Finding(
        code="not-updated",
        severity="error",
        layer=None if everything else names[0],
        evidence={"layers": len(names), "since_step": since, "update_ratio": 0.0},
        threshold="a gradient above 0 and an update ratio of exactly 0 whenever it was measured in "
        "the last tenth of the steps",
        message=f"From step {since} on, if not before, no update moves "
        + ("any weight" if everything else named(names).removesuffix(","))
        + (": the learning rate is 0." if zero_rate else ", although gradients arrive."),
        override=None,
        mend=f"Keep the learning rate{whose} above 0, or end the training there."
        if zero_rate
        else f"See what changed before step {since}: the optimizer must hold the parameters"
        f"{whose} that the model uses.",
    )


def _never_updated(evidence: Evidence) -> Iterator[Finding]:
    if not len(evidence.update_ratios) or not len(evidence.norms):
        return
    gets_gradient = evidence.norms.max(axis=0) > 0
    exactly_still = ~evidence.moved_by_updates & gets_gradient & ~np.array(evidence.frozen)
    cleared = exactly_still & np.array(evidence.gone_before_update or False)
    if cleared.any():
        yield _cleared_too_late(evidence, np.flatnonzero(cleared).tolist())
        return
    # A gradient may be so small that an update rounds to nothing, in a layer that is held.
    known = evidence.setup is not None
    still = exactly_still & (
        np.array(evidence.not_held)
        if known
        else np.array([not evidence.is_moved(place) for place in range(len(evidence.layers))])
    )
    places = {evidence.layers[place].name for place in np.flatnonzero(still)}
    everything = len(places) == len(evidence.layers)
    places |= set() if everything else set(evidence.still_without_matrix)
    layers = [layer for layer in evidence.info.layers if layer.name in places]
    if not layers:
        return
    names = [layer.name for layer in layers]
    zero_rate = _has_zero_rate(evidence, layers)
    if everything:
        message = "No update moves any weight: " + (
            "the learning rate is 0." if zero_rate else "the optimizer changes nothing."
        )
        mend = "Give the optimizer a learning rate above 0, and the parameters of this model."
    else:
        message = (
            f"{named(names)} {get(names)} a gradient at every step, but no update moves "
            f"{them(names)}: "
            + (
                "the learning rate of the parameter group is 0."
                if zero_rate
                else "the optimizer does not hold the parameters."
            )
        )
        whose = named(names) if len(names) <= 2 else f"these {len(names)} layers"
        mend = (
            f"Give the parameter group of {whose} a learning rate above 0."
            if zero_rate
            else f"Pass the parameters of {whose} to the optimizer; build it after the model is "
            "complete."
        )
    yield _never_moved(
        evidence,
        None if everything else names[0],
        len(names),
        message,
        mend,
        remedies.set_learning_rate(evidence) if everything and zero_rate else None,
    )


def _cleared_too_late(evidence: Evidence, places: list[int]) -> Finding:
    """Return that the gradients are gone when the optimizer makes its update."""
    names = [evidence.layers[place].name for place in places]
    everything = len(names) == sum(not still for still in evidence.frozen)
    what = "any weight" if everything else named(names).removesuffix(",")
    whose = "" if everything else f" for {them(names)}"
    return _never_moved(
        evidence,
        None if everything else names[0],
        len(names),
        f"No update moves {what}: the gradients that loss.backward() made{whose} are gone, or 0, "
        "when optimizer.step() runs.",
        "Call optimizer.zero_grad() before loss.backward(), and set no gradient to None or 0 "
        "between it and optimizer.step().",
    )


def _never_moved(
    evidence: Evidence,
    layer: str | None,
    count: int,
    message: str,
    mend: str,
    override: str | None = None,
) -> Finding:
    measured = len(evidence.update_ratios)
    return Finding(
        code="not-updated",
        severity="error",
        layer=layer,
        evidence={"layers": count, "update_ratio": 0.0, "measured": measured},
        threshold="a gradient above 0 and an update ratio of exactly 0 whenever it was measured",
        message=message,
        override=override,
        mend=mend,
    )


def _has_zero_rate(evidence: Evidence, layers: list[LayerInfo]) -> bool:
    """Whether the optimizer holds these layers' parameters, but at a rate of zero."""
    setup = evidence.setup
    if setup is None:
        return evidence.info.learning_rate == 0
    held = {index for group in setup.groups for index in group.parameters}
    indices = {index for layer in layers for index in evidence.parameters_of(layer)}
    rates = [group.learning_rate for group in setup.groups if indices & set(group.parameters)]
    return bool(indices & held) and not any(rates)


def weight_decay_too_strong(evidence: Evidence) -> Iterator[Finding]:
    """The decay pulls harder than the gradient pushes, and the weights shrink."""
    if evidence.setup is None or not len(evidence.weight_norms):
        return
    if evidence.steps < FEWEST_STEPS and evidence.fault is None:
        return
    pulls = decay_pulls(evidence)
    left = evidence.weight_norms[-1] / np.where(
        evidence.weight_norms[0] > 0, evidence.weight_norms[0], np.nan
    )
    left = np.where(np.isfinite(pulls), left, np.nan)  # other groups may have no decay
    if not np.isfinite(left).any():
        return
    pull, remaining = float(np.nanmedian(pulls)), float(np.nanmedian(left))
    place = int(np.nanargmin(left))
    # So strong a decay does not shrink the weights but turns them over, further each time.
    if evidence.fault is not None and pull > DECAY_OVERSHOOTS.value:
        yield _decay_that_overshoots(evidence, place, pull)
        return
    shrinks = pull > DECAY_PULL.value and remaining < WEIGHTS_LEFT.value
    if not shrinks or evidence.learned_anyway:
        return
    name = evidence.layers[place].name
    decay = max(group.weight_decay for group in evidence.setup.groups if group.weight_decay > 0)
    yield Finding(
        code="weight-decay-too-strong",
        severity="error" if not evidence.has_learned else "warning",
        layer=name,
        evidence={
            "weight_decay": decay,
            "pull": pull,
            "weights_left": float(left[place]),
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"a decay of more than {DECAY_PULL} times the gradient (or update) at the start, "
        f"and weights that shrink below {WEIGHTS_LEFT} of their size ({DECAY_PULL.source})",
        message=f"The weight decay of {decay:g} is too strong: at the start it pulls "
        f"{_times(pull)} as hard as the gradient, and the weights of {name} shrink to "
        f"{numbers.norm(float(left[place]))} times their size. The loss ends at "
        f"{numbers.norm(evidence.convergence.last_loss)}.",
        override=remedies.lower_weight_decay(evidence, decay, pull),
        mend=f"Lower weight_decay to {remedies.gentle_decay(decay, pull):g} or less.",
    )


def _decay_that_overshoots(evidence: Evidence, place: int, pull: float) -> Finding:
    assert evidence.setup is not None
    decay = max(group.weight_decay for group in evidence.setup.groups if group.weight_decay > 0)
    return Finding(
        code="weight-decay-too-strong",
        severity="error",
        layer=evidence.layers[place].name,
        evidence={"weight_decay": decay, "pull": pull},
        threshold=f"a decay of more than {DECAY_OVERSHOOTS} times the gradient "
        "at the start, in a run that ended with a non-finite value",
        message=f"The weight decay of {decay:g} is too strong: at the start it pulls "
        f"{_times(pull)} as hard as the gradient, so that each update throws the "
        "weights further than the one before.",
        override=remedies.lower_weight_decay(evidence, decay, pull),
        mend=f"Lower weight_decay to {remedies.gentle_decay(decay, pull):g} or less.",
    )


def _times(pull: float) -> str:
    at_least = "at least " if pull >= _LARGEST_PULL else ""
    return f"{at_least}{numbers.norm(pull)} times"


def decay_pulls(evidence: Evidence) -> Floats:
    """Return how hard the decay pulls each layer at the start, relative to the gradient, (L,).

    For a decay that is added to the gradient, decay * ||w|| / ||g||. For a decoupled one, lr *
    decay as a share of the update ratio, at most `_LARGEST_PULL`. NaN without decay.
    """
    pulls = np.full(len(evidence.layers), math.nan)
    if evidence.setup is None or not len(evidence.norms):
        return pulls
    gradients = np.median(evidence.norms[: max(1, len(evidence.norms) // 10)], axis=0)
    early = nanmedian(evidence.update_ratios[:5])
    for group in evidence.setup.groups:
        if not group.weight_decay > 0:
            continue
        held = set(group.parameters)
        for at, layer in enumerate(evidence.layers):
            if not held.intersection(evidence.parameters_of(layer)):
                continue
            if group.decoupled:
                # The update includes the decay, and may be nearly all of it.
                pull = evidence.first_learning_rate * group.weight_decay
                pulls[at] = pull / max(pull / _LARGEST_PULL, early[at] - pull)
            elif gradients[at] > 0:
                pulls[at] = group.weight_decay * evidence.weights[at] / gradients[at]
    return pulls


def momentum_too_high(evidence: Evidence) -> Iterator[Finding]:
    """Updates add up over so many steps that they overshoot."""
    setup = evidence.setup
    if setup is None or evidence.steps < FEWEST_STEPS:
        return
    momentum = max((group.momentum for group in setup.groups), default=math.nan)
    if not momentum > MOMENTUM.value or not evidence.loss_left > SETTLED_LEFT.value:
        return
    ratios = evidence.update_ratios
    if not np.isfinite(ratios).any():
        return
    first, largest = float(np.nanmax(ratios[0])), float(np.nanmax(ratios))
    if first > FIRST_TOO_LARGE.value:
        return  # already the first update, without any momentum, was too large
    yield Finding(
        code="momentum-too-high",
        severity="error" if not evidence.has_learned else "warning",
        layer=None,
        evidence={
            "momentum": momentum,
            "first_update_ratio": first,
            "largest_update_ratio": largest,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"a momentum above {MOMENTUM}, with more than {SETTLED_LEFT} of the loss left "
        f"({MOMENTUM.source})",
        message=f"The momentum of {momentum:g} is too high: an update keeps going for about "
        f"{1 / (1 - min(momentum, 1 - 1e-9)):.0f} steps, so that steps add up (from "
        f"{numbers.norm(first)} of the weights at first to {numbers.norm(largest)}) and overshoot.",
        override=remedies.usual_momentum(evidence),
        mend="Lower the momentum to 0.9.",
    )


def epsilon_too_large(evidence: Evidence) -> Iterator[Finding]:
    """In an optimizer that divides by the gradient's size, epsilon is what it divides by."""
    setup = evidence.setup
    if setup is None or evidence.steps < FEWEST_STEPS or not len(evidence.norms):
        return
    if evidence.info.optimizer.startswith(_EPSILON_BY_DESIGN):
        return
    if not max((group.epsilon for group in setup.groups), default=0.0) > USUAL_EPSILON.value:
        return  # then it is the gradient that is too small
    shares = _epsilon_shares(evidence)
    if not np.isfinite(shares).any():
        return
    share = float(np.nanmedian(shares))
    if not share > EPSILON_SHARE.value or not evidence.loss_kept > HALF_LEFT.value:
        return
    epsilon = max(group.epsilon for group in setup.groups if group.epsilon > 0)
    yield Finding(
        code="epsilon-too-large",
        severity="warning",
        layer=None,
        evidence={
            "epsilon": epsilon,
            "share_of_denominator": share,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"epsilon above {EPSILON_SHARE} of the denominator of the update in most layers "
        f"({EPSILON_SHARE.source})",
        message=f"The optimizer's epsilon of {epsilon:g} is too large: it makes up {share:.0%} of "
        "what the gradient is divided by, so updates are far smaller than the learning rate says.",
        override=remedies.usual_epsilon(evidence),
        mend="Lower eps to 1e-8.",
    )


def _epsilon_shares(evidence: Evidence) -> Floats:
    """Return eps / (eps + rms of the gradient) at the start, (L,); NaN without an epsilon."""
    shares = np.full(len(evidence.layers), math.nan)
    assert evidence.setup is not None
    early = np.median(evidence.norms[: max(1, len(evidence.norms) // 10)], axis=0)
    for group in evidence.setup.groups:
        if not group.epsilon > 0:
            continue
        held = set(group.parameters)
        for at, layer in enumerate(evidence.layers):
            if held.intersection(evidence.parameters_of(layer)) and early[at] > 0:
                size = sum(parameter.size for parameter in layer.parameters)
                rms = float(early[at]) / math.sqrt(size)
                shares[at] = group.epsilon / (group.epsilon + rms)
    return shares
