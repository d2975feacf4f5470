"""What is said of where two runs part first, and of how fast they part."""

from __future__ import annotations

import math

from gradcli.inspection.parting.first_place import FirstPlace
from gradcli.inspection.parting.growth import KEPT_WITHIN, Growth
from gradcli.notation import numbers

_MOST_NAMES = 3
_AT_STAGE = {
    "weights": "{where} at step {step}: the initial weights differ",
    "order": "{where} at step {step}: the runs do not call the same layers in the same order",
    "input": "just before {where} at step {step}: it is given something else, although the layers "
    "before it returned the same",
    "output": "{where} at step {step}: the output differs, although its weights and its input are "
    "the same",
    "gradient": "the backward pass at {where} at step {step}: the gradient norm differs, although "
    "the loss is the same",
    "clip": "the clipping of {where} at step {step}: the gradient norms are the same before it, "
    "but not after it",
    "update": "{where} at step {step}: the weights differ, although step {before} had the same "
    "loss and gradient norms",
}
_OF_NO_LAYER = {
    "batch": "The runs part at step {step}: the batches differ, the weights do not. No layer is to "
    "blame.",
    "loss": "The runs part at step {step} in the loss: the outputs of all layers are the same. "
    "The targets or the loss differ, not a layer.",
}


def place_sentence(place: FirstPlace) -> str:
    """Say where two runs part first, and how sure that is."""
    step = numbers.count(place.step)
    if place.stage == "layers":
        return (
            f"Only one of the models has these layers, in this shape: {layer_names(place.layers)}."
        )
    if place.is_rounding and place.scope == "none" and place.stage not in _OF_NO_LAYER:
        return (
            f"The runs part at step {step} by no more than rounding, seen first in "
            f"{layer_names(place.layers)}. They were made differently, or on an accelerator, so "
            "sums may be rounded differently in any layer: no layer is to blame."
        )
    if place.stage == "loss" and place.is_rounding:
        return (
            f"The runs part at step {step} in the loss, by no more than rounding: the outputs of "
            "all layers are the same. The loss may be added up in another order, as in several "
            "passes; no layer is to blame."
        )
    if place.stage in _OF_NO_LAYER:
        return _OF_NO_LAYER[place.stage].format(step=step)
    if place.stage == "unobserved":
        return _unobserved(place)
    where = layer_names(place.layers)
    if place.scope == "all":
        where = "all layers at once"
    elif place.scope == "several":
        where = f"several layers at once ({where})"
    stage = _AT_STAGE[place.stage]
    if not place.sure and place.stage == "update":
        stage = (
            "{where}: at step {step} its weights differ"
            if place.scope == "one"
            else ("{where}: at step {step} their weights differ")
        )
    verb = "part" if place.sure else "probably part"
    said = stage.format(where=where, step=step, before=numbers.count(place.step - 1))
    sentences = [f"The runs {verb} in {said}{_reasons(place)}."]
    if place.stage == "input" and place.sure:
        sentences[0] = sentences[0].replace(" in just before ", " just before ")
    if place.other_batch:
        sentences.append("The batch differs, too.")
    if place.is_rounding and place.scope == "one":
        sentences.append("At first they are no further apart than rounding makes them.")
    if not place.sure:
        sentences.append("That is not certain: too little of the layers was recorded.")
    return " ".join(sentences)


def _unobserved(place: FirstPlace) -> str:
    step, since = numbers.count(place.step), numbers.count(place.equal_at)
    if place.non_finite:
        return (
            f"Not sure in which layer the runs part: at step {step} the loss or the gradients of "
            f"{place.non_finite} are not finite, and those of the other run are. `gradcli "
            f"inspect-gradients` on {place.non_finite} says where such values arose."
        )
    seen = f"between step {since}, when all was equal, and step {step}"
    sentences = [
        f"Not sure in which layer the runs part: they differ from step {step} on.",
        "The layers were not observed often enough "
        f"{seen if place.equal_at else f'before step {step}'}.",
    ]
    if place.scope == "one":
        sentences.append(
            f"{place.layers[0]} is likely: its settings alone differ{_reasons(place)}."
        )
    sentences.append("With monitor.every=1, or GradientMonitor(every=1), each step is observed.")
    return " ".join(sentences)


def _reasons(place: FirstPlace) -> str:
    """Name the settings of the layers that differ; one of several layers only once."""
    layers_of: dict[tuple[str, str, str], list[str]] = {}
    for one in place.reasons:
        layer, what = _layer_and_setting(one.key, place.layers)
        layers_of.setdefault((what, *_values(one.a, one.b)), []).append(layer)
    shown = [
        f"trained in {'a' if a == 'true' else 'b'} only"
        if what == "trained"
        else f"{_subject(what, layers, place.layers)} is {a} in a, {b} in b"
        for (what, a, b), layers in layers_of.items()
    ]
    if not shown:
        return ""
    rest = len(shown) - _MOST_NAMES
    more = f"; {rest} more" if rest > 0 else ""
    return f" ({'; '.join(shown[:_MOST_NAMES])}{more})"


def _layer_and_setting(key: str, layers: tuple[str, ...]) -> tuple[str, str]:
    owner = max((one for one in layers if key.startswith(f"{one} ")), key=len)
    return owner, key.removeprefix(f"{owner} ")


def _subject(what: str, layers: list[str], parting: tuple[str, ...]) -> str:
    if len(layers) == 1:
        return f"{layers[0]} {what}"
    whose = "each of them" if len(layers) == len(parting) else layer_names(tuple(layers))
    return f"the {what} {'in' if ' of ' in what else 'of'} {whose}"


def _values(a: object, b: object) -> tuple[str, str]:
    """Write two values with as few digits as tell them apart, but at least three."""
    if not (isinstance(a, float) and isinstance(b, float)):
        return _value(a), _value(b)
    pairs = ((f"{a:.{digits}g}", f"{b:.{digits}g}") for digits in range(3, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{a}", f"{b}"))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3g}"
    return numbers.ABSENT if value is None else f"{value}"


def layer_names(names: tuple[str, ...]) -> str:
    """Name the first few layers, and count the others."""
    rest = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {numbers.count(rest, 'other')}" if rest > 0 else shown


def growth_sentence(growth: Growth) -> str:
    """Say how fast two runs part."""
    which = 1 if growth.quantity == "loss" else 2
    parts = [
        f"{numbers.known_norm(one[which])} at step {numbers.count(one[0])}" for one in growth.points
    ]
    size = " (no more than rounding)" if growth.begins_as_rounding else ""
    subject = "The losses are" if growth.quantity == "loss" else "The gradient norms are"
    said = f"{subject} apart by a relative {parts[0]}{size}"
    said += "".join(f", {part}" for part in parts[1:]) + "."
    return f"{said} {_course(growth)}"


def _course(growth: Growth) -> str:
    """Say how the distance goes on: a size that it keeps, or how it leaves the first one."""
    if math.isnan(growth.level):
        return "There are too few different steps to say how that grows."
    at_end = f"over the last quarter of the steps the median is {numbers.norm(growth.level)}"
    of_first = f", {numbers.norm(growth.level / growth.first[1])} times the first"
    if growth.course == "at once":
        begin, size = growth.first
        kept = "That is the size it keeps at once"
        if begin != growth.points[0][0]:  # where it is 0, or not a number
            kept = f"From step {numbers.count(begin)} on it keeps the size {numbers.norm(size)}"
        return f"{kept}, within a factor of {KEPT_WITHIN:g} but for single steps: {at_end}."
    if growth.course == "varying":
        return f"{_leaving(growth)}; {at_end}{of_first}."
    half = f"half of its last level at step {numbers.count(growth.until)}"
    peak = _above(growth)
    if growth.course == "short":
        return f"It reaches {half}, too soon to say how it grows; {at_end}{peak}."
    if growth.course == "exponential":
        grows = f"tenfold in {numbers.norm(growth.steps_per_tenfold)} steps"
    elif growth.course == "power":
        grows = f"like the steps since then to the power {numbers.norm(growth.exponent)}"
    else:
        grows = "unevenly"
    return f"It grows {grows}, until it reaches {half}; {at_end}{peak}."


def _leaving(growth: Growth) -> str:
    """Say by what factor, and by when, the distance leaves the size that it has at first."""
    (begin, first), (low_at, low), (high_at, high) = growth.first, growth.lowest, growth.highest
    changes = []
    if high > KEPT_WITHIN * first:
        changes.append((high_at, f"grows to {numbers.norm(high / first)} times that"))
    if low * KEPT_WITHIN < first:
        changes.append((low_at, f"shrinks to {numbers.norm(low / first)} times that"))
    said = " and ".join(f"{how} by step {numbers.count(at)}" for at, how in sorted(changes))
    return f"From {numbers.norm(first)} at step {numbers.count(begin)} it {said}"


def _above(growth: Growth) -> str:
    """Say how far the distance exceeds its last level, if it does so by more than a factor."""
    at, high = growth.highest
    if high <= KEPT_WITHIN * growth.level:
        return ""
    return f", but around step {numbers.count(at)} it is {numbers.norm(high)}"
