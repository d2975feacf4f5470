"""Rules on layers that no update moves: what the optimizer holds, and when it makes updates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import SILENT_STEPS
from gradcli.notation.layer_names import get, named, them
from gradcli.records import Finding, LayerInfo


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
