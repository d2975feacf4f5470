"""What an inspection found, in sentences: depth, convergence, clipping and events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gradcli.inspection.inspection import NOT_TESTED, Convergence, Event, Inspection
from gradcli.notation import numbers
from gradcli.views.heading import with_rates

if TYPE_CHECKING:
    from gradcli.probes.measuring.slope import LogSlope

LEVEL_DECADES = 0.05
"""A gradient that changes by less than this per layer counts as level."""
CLEAR_CORRELATION = 0.5
MOST_EVENTS = 4
EVENT_NOUNS = {
    "spike": "spike",
    "non-finite": "non-finite value",
    "lr-change": "learning-rate change",
}


def verdict_in_words(inspection: Inspection) -> str:
    """Return the verdict; `no finding` if rules were applied, but too few to call it healthy."""
    if inspection.verdict == NOT_TESTED and inspection.tested:
        return "no finding"
    return inspection.verdict


def describe_setting(inspection: Inspection) -> list[str]:
    """Return what was inspected in phrases, the most important first.

    What is not known, as in the user's own loop, is left out.
    """
    phrases = [
        f"{inspection.data} data" if inspection.is_own_loop else inspection.data,
        inspection.model,
        inspection.activation,
        with_rates(inspection.optimizer, inspection.learning_rates),
        f"clip {inspection.clip}" if inspection.clip else "",
        f"batch {inspection.batch_size}" if inspection.batch_size else "",
    ]
    return [phrase for phrase in phrases if phrase]


def describe_state(inspection: Inspection) -> str:
    """Say at what point of its training the model is, and what its loss is."""
    step = numbers.count(inspection.step)
    match inspection.kind:
        case "fresh":
            state = "a fresh model, before any training"
        case "checkpoint":
            state = f"the checkpoint at step {step} of {_run(inspection)}"
        case "run":
            state = f"{_run(inspection)}, at step {step}"
    loss = f"loss {numbers.score(inspection.loss)}"
    if inspection.examples:
        loss += f" on {numbers.count(inspection.examples, 'example')}"
    elif inspection.history is not None and inspection.history.last_step[-1] < inspection.step:
        loss += f" at step {numbers.count(int(inspection.history.last_step[-1]))}"
    return f"{state}; {loss}"


def _run(inspection: Inspection) -> str:
    """Name the run by its status: `a finished run`."""
    status = inspection.status or "recorded"
    return f"{'an' if status == 'interrupted' else 'a'} {status} run"


def depth_sentence(slope: LogSlope) -> str:
    """Say how the gradient changes from layer to layer on its way back to the input."""
    if math.isnan(slope.decades):
        return "unknown: fewer than two layers have a finite gradient"
    fit = f"log10 slope {slope.decades:.2f}"
    if not math.isnan(slope.r_squared):
        fit += f", R squared {slope.r_squared:.2f}"
    fit += f", {numbers.count(slope.points, 'layer')}"
    if abs(slope.decades) < LEVEL_DECADES:
        return f"about the same in all layers ({fit})"
    direction = "smaller" if slope.decades > 0 else "larger"
    factor = f"{10 ** abs(slope.decades):.2g}"
    return f"gets {factor}x {direction} per layer on the way back ({fit})"


def convergence_sentences(convergence: Convergence) -> list[str]:
    """Say whether the loss falls, and whether the gradient falls with it.

    The trend is that of the second half: a loss may fall there and still be above its start.
    """
    first, last = numbers.score(convergence.first_loss), numbers.score(convergence.last_loss)
    is_lower = convergence.last_loss < convergence.first_loss and first != last
    is_higher = convergence.last_loss > convergence.first_loss and first != last
    match convergence.trend:
        case "falling":
            trend = f"The loss is falling: it began at {first} and is now {last}"
            trend += ", still above its start." if is_higher else "."
        case "rising":
            trend = f"The loss is rising: it began at {first} and is now {last}"
            trend += ", still below its start." if is_lower else "."
        case "converged":
            trend = f"The loss has settled at {last}; it began at {first}."
        case "plateau":
            trend = f"The loss stays at {last}; it began at {first}."
        case "noise":
            trend = (
                f"The loss neither falls nor rises: at {last}, one batch differs from the next "
                f"by {numbers.share(convergence.scatter)}; it began at {first}."
            )
        case "unknown":
            trend = "There are too few steps to say whether the loss falls."
    if math.isnan(convergence.first_norm) or math.isnan(convergence.last_norm):
        return [trend]
    ends = f"{numbers.norm(convergence.first_norm)} to {numbers.norm(convergence.last_norm)}"
    return [trend, f"The gradient norm went from {ends}{_with_the_loss(convergence)}."]


def _with_the_loss(convergence: Convergence) -> str:
    correlation = convergence.norm_follows_loss
    if math.isnan(correlation):
        return ""
    if correlation >= CLEAR_CORRELATION:
        relation = "it falls and rises with the loss"
    elif correlation <= -CLEAR_CORRELATION:
        relation = "it rises when the loss falls"
    else:
        relation = "it does not follow the loss"
    return f"; {relation} (correlation {correlation:+.2f})"


def clipping_sentence(inspection: Inspection) -> str:
    """Say how much of the training was clipped; empty if that is not known."""
    if math.isnan(inspection.clipped_fraction):
        return ""
    return f"{numbers.share(inspection.clipped_fraction)} of the steps"


def event_sentences(inspection: Inspection) -> list[str]:
    """Count the events, then describe the first ones."""
    counts = [
        numbers.count(number, EVENT_NOUNS[kind])
        for kind, number in inspection.event_counts.items()
        if number
    ]
    if not counts:
        return []
    return [", ".join(counts), *map(_event_sentence, inspection.events[:MOST_EVENTS])]


def _event_sentence(event: Event) -> str:
    place = f" in {event.layer}" if event.layer else ""
    step = f"step {numbers.count(event.step)}{place}: "
    match event.kind:
        case "spike":
            return f"{step}the norm is {numbers.norm(event.value)} times the median before it"
        case "lr-change":
            return f"{step}the learning rate is multiplied by {numbers.norm(event.value)}"
        case "non-finite":
            return f"{step}not finite; the loss is {numbers.norm(event.value)}"


def untested_sentences(not_tested: dict[str, str]) -> list[str]:
    """Say what was not tested and what that needs; codes with the same need together."""
    reasons: dict[str, list[str]] = {}
    for code, reason in not_tested.items():
        reasons.setdefault(reason, []).append(code)
    return [f"{', '.join(codes)}: {reason}" for reason, codes in reasons.items()]
