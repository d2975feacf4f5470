"""Rules on the optimizer's weight decay, momentum and epsilon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

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
    USUAL_EPSILON,
    WEIGHTS_LEFT,
)
from gradcli.diagnosis.loss_course import has_learned, learned_anyway, loss_kept, loss_left
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
from gradcli.records import Finding, Floats

# A decoupled decay may be nearly all of an update; then more than this cannot be told.
_LARGEST_PULL = 1000.0
# Their epsilon sets the size of the first steps by design (Zeiler 2012, section 3.3).
_EPSILON_BY_DESIGN = ("Adadelta", "Adafactor")


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
    decay, places = _strongest_decay(evidence, pulls, left)
    pull, remaining = float(np.nanmedian(pulls[places])), float(np.nanmedian(left[places]))
    place = places[int(np.nanargmin(left[places]))]
    # So strong a decay does not shrink the weights but turns them over, further each time.
    if evidence.fault is not None and pull > DECAY_OVERSHOOTS.value:
        yield _decay_that_overshoots(evidence, place, pull, decay)
        return
    shrinks = pull > DECAY_PULL.value and remaining < WEIGHTS_LEFT.value
    if not shrinks or learned_anyway(evidence):
        return
    name = evidence.layers[place].name
    since = _decay_since(evidence, decay)
    pulls_as = "as hard as the gradient did at the start" if since else "as hard as the gradient"
    yield Finding(
        code="weight-decay-too-strong",
        severity="error" if not has_learned(evidence) else "warning",
        layer=name,
        evidence={
            "weight_decay": decay,
            **({"since_step": since} if since else {}),
            "pull": pull,
            "weights_left": float(left[place]),
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"a decay of more than {DECAY_PULL} times the gradient (or update) at the start, "
        f"and weights that shrink below {WEIGHTS_LEFT} of their size ({DECAY_PULL.source})",
        message=f"The weight decay of {decay:g}"
        + (
            f", from step {since} on if not before, is too strong: it pulls "
            if since
            else " is too strong: at the start it pulls "
        )
        + f"{_times(pull)} {pulls_as}, and the weights of {name} shrink to "
        f"{numbers.norm(float(left[place]))} times their size. The loss ends at "
        f"{numbers.norm(evidence.convergence.last_loss)}.",
        override=remedies.lower_weight_decay(evidence, decay, pull),
        mend=f"Lower weight_decay to {remedies.gentle_decay(decay, pull):g} or less.",
    )


def _decay_since(evidence: Evidence, decay: float) -> int:
    """Return the first observed step with this decay; 0 if it is that of the first one."""
    steps = [
        setup.step + 1
        for setup in evidence.setups
        if any(group.weight_decay == decay for group in setup.groups)
    ]
    is_new = steps and steps[0] > evidence.setups[0].step + 1
    return steps[0] if is_new else 0


def _strongest_decay(evidence: Evidence, pulls: Floats, left: Floats) -> tuple[float, list[int]]:
    """Return the decay that pulls hardest, and the layers whose parameter groups have it.

    Groups with the same decay are one: a decay is judged by the median of its layers.
    """
    places: dict[float, list[int]] = {}
    for group in evidence.setup.groups if evidence.setup is not None else ():
        if not group.weight_decay > 0:
            continue
        held = set(group.parameters)
        for at in np.flatnonzero(np.isfinite(pulls) & np.isfinite(left)).tolist():
            if held.intersection(evidence.parameters_of(evidence.layers[at])):
                places.setdefault(group.weight_decay, []).append(at)
    return max(places.items(), key=lambda item: float(np.median(pulls[item[1]])))


def _decay_that_overshoots(evidence: Evidence, place: int, pull: float, decay: float) -> Finding:
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
    momentum = _largest(group.momentum for group in setup.groups)
    if not momentum > MOMENTUM.value or not loss_left(evidence) > SETTLED_LEFT.value:
        return
    ratios = evidence.update_ratios
    if not np.isfinite(ratios).any():
        return
    first, largest = float(np.nanmax(ratios[0])), float(np.nanmax(ratios))
    if first > FIRST_TOO_LARGE.value:
        return  # already the first update, without any momentum, was too large
    yield Finding(
        code="momentum-too-high",
        severity="error" if not has_learned(evidence) else "warning",
        layer=None,
        evidence={
            "momentum": momentum,
            "first_update_ratio": first,
            "largest_update_ratio": largest,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"a momentum above {MOMENTUM}, with more than {SETTLED_LEFT} of the loss left "
        f"({MOMENTUM.source})",
        message=f"The momentum of {momentum:g} is too high: an update keeps going "
        + (f"for about {1 / (1 - momentum):.0f} steps" if momentum < 1 else "for ever")
        + ", so that steps add up (from "
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
    epsilon = _largest(group.epsilon for group in setup.groups)
    if not epsilon > USUAL_EPSILON.value:
        return  # then it is the gradient that is too small
    shares = _epsilon_shares(evidence)
    if not np.isfinite(shares).any():
        return
    share = float(np.nanmedian(shares))
    if not share > EPSILON_SHARE.value or not loss_kept(evidence) > HALF_LEFT.value:
        return
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


def _largest(values: Iterable[float]) -> float:
    """Return the largest of the values that parameter groups have; NaN if none has one."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


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
