"""What two runs observed of the same steps, compared layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradcli.inspection.parting.step_gaps import relative_distance
from gradcli.records import FingerprintRecord, LayerInfo, LayerRecord
from gradcli.runs import Run

# Weight norms of the same weights, added up on another machine, agree to this.
_SAME_NORM = 1e-6

_Place = tuple[Literal["order", "input", "output"], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ObservedStep:
    """What differs between two runs in a step that both have observed."""

    step: int
    """The update, from 1."""
    weights: tuple[str, ...]
    """The layers whose weights differ before the update."""
    other_batch: bool
    """Whether the model is given something else."""
    place: _Place | None = None
    """What differs first in the forward pass, and in which layers."""
    apart: float = math.nan
    """How far apart the outputs are there, by their samples."""
    order: tuple[int, ...] = ()
    """The layers in the order of their calls."""
    exact: bool = True
    """Whether the weights were compared to the bit; otherwise only their norms."""
    outputs_known: bool = False
    """Whether the outputs of all layers that are called were compared."""


def other_layers(a: tuple[LayerInfo, ...], b: tuple[LayerInfo, ...]) -> tuple[str, ...]:
    """Return the layers that only one of two models has, or that have another shape, by name."""
    of_a, of_b = ({layer.name: layer.parameters for layer in layers} for layers in (a, b))
    names = dict.fromkeys([*of_a, *of_b])
    return tuple(name for name in names if of_a.get(name) != of_b.get(name)) or (
        () if list(of_a) == list(of_b) else tuple(of_a)
    )


def observed_steps(a: Run, b: Run) -> Iterator[ObservedStep]:
    """Compare the steps that two runs with the same layers have observed, in their order.

    By their fingerprints; runs from before these were recorded by the norms of their weights.
    """
    of_a, of_b = ({one.step: one for one in run.fingerprints} for run in (a, b))
    common = sorted(of_a.keys() & of_b.keys())
    if common:
        for step in common:
            yield _compared(of_a[step], of_b[step], a.layers)
        return
    norms_of_a, norms_of_b = ({one.step: one for one in run.layer_records} for run in (a, b))
    for step in sorted(norms_of_a.keys() & norms_of_b.keys()):
        yield ObservedStep(
            step,
            _other_norms(norms_of_a[step], norms_of_b[step], a.layers),
            other_batch=_other_range(a, b, step),
            exact=False,
        )


def _compared(
    a: FingerprintRecord, b: FingerprintRecord, layers: tuple[LayerInfo, ...]
) -> ObservedStep:
    names = [layer.name for layer in layers]
    owners = [layer.name for layer in layers for _ in layer.parameters]
    pairs = zip(owners, a.weights, b.weights, strict=True)
    place = _first_in_the_forward_pass(a, b, names)
    apart = math.nan
    if place is not None and place[0] != "order":
        index = names.index(place[1][0])
        apart = _samples_apart(a.output_samples[index], b.output_samples[index])
    return ObservedStep(
        a.step,
        tuple(dict.fromkeys(name for name, one, other in pairs if _differ(one, other))),
        other_batch=_differ(a.inputs, b.inputs),
        place=place,
        apart=apart,
        order=a.order,
        outputs_known=bool(a.order)
        and all(one.layer_outputs[index] is not None for one in (a, b) for index in a.order),
    )


def _first_in_the_forward_pass(
    a: FingerprintRecord, b: FingerprintRecord, names: list[str]
) -> _Place | None:
    for one, other in zip(a.order, b.order, strict=False):
        if one != other:
            break
        if _differ(a.layer_inputs[one], b.layer_inputs[one]):
            return "input", (names[one],)
        if _differ(a.layer_outputs[one], b.layer_outputs[one]):
            return "output", (names[one],)
    if a.order == b.order or not (a.order and b.order):
        return None
    only_one_calls = set(a.order) ^ set(b.order)
    return "order", tuple(names[one] for one in sorted(only_one_calls or {*a.order}))


def _differ(one: int | None, other: int | None) -> bool:
    """Whether two fingerprints show different tensors; unknown ones show nothing."""
    return one is not None and other is not None and one != other


def _samples_apart(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the distance of samples of two outputs, relative to the larger of both."""
    if len(a) != len(b) or not a:
        return math.nan
    one, other = np.array(a), np.array(b)
    size = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
    distance = float(np.linalg.norm(one - other))
    return distance / size if size and math.isfinite(distance / size) else math.nan


def _other_norms(a: LayerRecord, b: LayerRecord, layers: tuple[LayerInfo, ...]) -> tuple[str, ...]:
    apart = relative_distance(np.array(a.weight_norm), np.array(b.weight_norm))
    return tuple(layer.name for layer, one in zip(layers, apart, strict=True) if one > _SAME_NORM)


def _other_range(a: Run, b: Run, step: int) -> bool:
    """Whether the batches of a step had other values, by their mean and their range."""
    inputs = [
        next((one.inputs for one in run.setups if one.step == step - 1), None) for run in (a, b)
    ]
    return None not in inputs and inputs[0] != inputs[1]
