"""What is said of one step: no more than its numbers show."""

from __future__ import annotations

import math
from collections import Counter

from gradcli.inspection.one_step.neighbours import FEWEST_BEFORE, Neighbours
from gradcli.inspection.one_step.step_inspection import StepInspection
from gradcli.inspection.one_step.suspicion import Kind
from gradcli.notation import numbers

#: How the kinds of examples are called: in a column, and in a sentence about several.
KIND_WORDS: dict[Kind, str] = {
    "not-finite": "not finite",
    "saturated": "saturated",
    "constant": "constant",
    "huge": "huge input",
    "noise": "noise",
    "inverted": "inverted",
    "unlike": "unlike others",
    "mislabelled": "mislabelled?",
    "hard": "hard for it",
    "not-sure": "not sure",
}
_IN_SENTENCE: dict[Kind, str] = {
    "not-finite": "has values that are not finite",
    "saturated": "is saturated",
    "constant": "has a single value throughout",
    "huge": "has a huge input",
    "noise": "looks like noise",
    "inverted": "looks inverted",
    "unlike": "is unlike all others",
    "mislabelled": "may be mislabelled",
    "hard": "is hard for the model",
    "not-sure": "shows nothing that tells why",
}
_OF_SEVERAL = {"has ": "have ", "is ": "are ", "looks ": "look ", "shows ": "show "}


def standing_sentence(step: int, found: Neighbours) -> str:
    """Say whether the step stands out among those before it."""
    name = f"Step {numbers.count(step)}"
    if not found.is_recorded:
        return f"{name} is not in the run's log, so it cannot be compared with those before it."
    if not math.isfinite(found.loss + found.grad_norm):
        return (
            f"{name} is not finite: its loss is {numbers.norm(found.loss)}, its gradient norm "
            f"{numbers.norm(found.grad_norm)}."
        )
    its = f"gradient norm {numbers.norm(found.grad_norm)}, loss {numbers.score(found.loss)}"
    if found.standing == "unknown":
        if found.steps < FEWEST_BEFORE:
            return f"{name} is too early to be compared with steps before it: {its}."
        return f"{name} cannot be compared with the steps before it: {its}."
    what = {"spike": "is a spike", "high": "stands out, but is no spike", "usual": "is no spike"}
    of_loss = (
        f" and its loss {_times(found.loss_factor)}" if not math.isnan(found.loss_factor) else ""
    )
    return (
        f"{name} {what[found.standing]}: its gradient norm is {_times(found.norm_factor)}{of_loss} "
        f"the median of the {numbers.count(found.steps, 'step')} before it ({its})."
    )


def _times(factor: float) -> str:
    return f"{numbers.norm(factor)} times"


def verdict_sentence(inspection: StepInspection) -> str:
    """Say how much of the gradient how few examples make up."""
    count = len(inspection.examples)
    broken = sum(not one.is_finite for one in inspection.examples)
    if broken:
        return _of_broken(broken, count)
    leading = inspection.leading
    if math.isnan(leading.share):
        return "The gradient of the batch is zero, so no example makes up a part of it."
    if count == 1:
        return "The batch has a single example, which is all of its gradient."
    made_up = numbers.share(leading.share)
    if not leading.is_concentrated:
        return (
            f"No few examples make the gradient: the {leading.count} with the largest of "
            f"{numbers.count(count)} make up {made_up} of it."
        )
    first = leading.count
    make = "makes" if first == 1 else "make"
    of_all = f"{numbers.count(first)} of {numbers.count(count, 'example')} {make} up {made_up}"
    return f"{of_all} of the gradient{_more_than_all(leading.share)}."


def _more_than_all(share: float) -> str:
    return ", as others pull the other way" if share > 1.005 else ""


def _of_broken(broken: int, count: int) -> str:
    if broken == count:
        return (
            f"The loss or the gradient of all {numbers.count(count, 'example')} is not finite: it "
            "is the weights rather than the data."
            if count > 1
            else "The loss or the gradient of the example is not finite."
        )
    what = (
        "has a loss or a gradient that is" if broken == 1 else "have losses or gradients that are"
    )
    return f"{numbers.count(broken)} of {numbers.count(count, 'example')} {what} not finite."


def kinds_sentence(inspection: StepInspection) -> str:
    """Say what the examples that make the gradient look like; empty if none are singled out."""
    broken = sum(not one.is_finite for one in inspection.examples)
    first = broken or (inspection.leading.count if inspection.leading.is_concentrated else 0)
    first = min(first, len(inspection.shown))
    if not first or len(inspection.examples) == 1 or broken == len(inspection.examples):
        return ""
    kinds = Counter(one.suspicion.kind for one in inspection.examples[:first])
    if first == 1:
        return f"It {_IN_SENTENCE[next(iter(kinds))]}."
    if set(kinds) == {"not-sure"}:
        return "None of them shows anything that tells why."
    said = [f"{number} {_said(kind, number)}" for kind, number in kinds.items()]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"Of these, {listed}."


def _said(kind: Kind, number: int) -> str:
    words = _IN_SENTENCE[kind]
    if number == 1:
        return words
    for one, several in _OF_SEVERAL.items():
        if words.startswith(one):
            return several + words.removeprefix(one)
    return words


def without_sentence(inspection: StepInspection) -> str:
    """Say what the norm would be without the first examples, and what follows; empty if unknown."""
    leading, found = inspection.leading, inspection.neighbours
    if not leading.is_concentrated or math.isnan(leading.norm_without):
        return ""
    them = "it" if leading.count == 1 else "them"
    norm = f"Without {them} the gradient norm would be {numbers.norm(leading.norm_without)}"
    if found.standing != "spike" or not found.median_norm > 0:
        return f"{norm} instead of {numbers.norm(inspection.grad_norm)}."
    rest = leading.norm_without / found.median_norm
    if rest <= 3.0:
        made = "it made" if leading.count == 1 else "they made"
        return f"{norm}, {_times(rest)} the median before: {made} the spike."
    return (
        f"{norm}, still {_times(rest)} the median before: the other examples have large gradients, "
        "too, as after an update that has done harm."
    )


def replay_sentence(inspection: StepInspection) -> str:
    """Say how the step was made again, and whether the log says the same."""
    replay = inspection.replay
    origin = (
        f"from the checkpoint of step {numbers.count(replay.started_from)}"
        if replay.started_from
        else "from the start"
    )
    made = f"{numbers.count(replay.steps, 'step')} made again {origin}"
    if not replay.compared:
        return f"{made}; the log has none of them, so nothing confirms that they are the run's."
    compared = f"all {numbers.count(replay.compared)}" if replay.compared > 1 else "the one"
    if replay.first_difference is None:
        logged = "" if replay.compared == replay.steps else " that are in the log"
        return (
            f"{made}: loss, gradient norm and learning rate of {compared}{logged} are the logged "
            "ones, to the bit."
        )
    cause = f" Not as it was: {replay.possible_cause}." if replay.possible_cause else ""
    return (
        f"{made}, but from step {numbers.count(replay.first_difference)} on they are not the "
        f"run's: the {replay.differs_in} differs, and losses and norms by up to "
        f"{numbers.norm(replay.largest_difference)} of the logged value. What is said here is of "
        f"the steps made again.{cause}"
    )
