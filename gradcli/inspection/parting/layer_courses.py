"""How far apart each layer of two runs is, from the first different step to the end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradcli.inspection.parting.end_weights import end_weights
from gradcli.inspection.parting.first_place import FirstPlace
from gradcli.inspection.parting.growth import Growth
from gradcli.inspection.parting.observed_steps import other_layers
from gradcli.inspection.parting.step_gaps import layer_gaps, step_gaps
from gradcli.records import Doubles, Integers
from gradcli.runs import Run


@dataclass(frozen=True, slots=True)
class LayerCourse:
    """How far apart one layer of two runs is; each distance is relative to the larger of both."""

    name: str
    gradients: tuple[tuple[int, float], ...]
    """Steps with the distance of the norms of its gradient there."""
    weights: float
    """The distance of its weights in the last checkpoints, if both were saved after as many steps;
    else NaN."""


@dataclass(frozen=True, slots=True)
class StepCourses:
    """How far apart two runs are at each of the n steps that both have logged, to be drawn."""

    step: Integers
    """(n,), rising."""
    loss: Doubles
    """The relative distances of the losses, (n,)."""
    layers: tuple[str, ...]
    """L of them; empty if the runs have other layers."""
    gradients: Doubles
    """The relative distances of the norms of the layers' gradients, (n, L)."""


def step_courses(a: Run, b: Run) -> StepCourses:
    """Compare two runs step by step."""
    gaps = step_gaps(a.steps, b.steps)
    layers = () if other_layers(a.layers, b.layers) else a.layers
    gradients = layer_gaps(a.steps, b.steps, gaps.step, layers)
    return StepCourses(gaps.step, gaps.loss, tuple(one.name for one in layers), gradients)


def layer_courses(
    a: Run, b: Run, place: FirstPlace | None, grown: Growth | None
) -> tuple[LayerCourse, ...]:
    """Compare two runs layer by layer; empty if nothing differs, or their layers are others."""
    if place is None or place.stage == "layers":
        return ()
    steps = [] if grown is None else [step for step, *_ in grown.points]
    distances = layer_gaps(a.steps, b.steps, np.array(steps, dtype=np.int64), a.layers)
    found = end_weights(a, b)
    ends = (
        found.apart if found and found.steps[0] == found.steps[1] else (math.nan,) * len(a.layers)
    )
    return tuple(
        LayerCourse(layer.name, tuple(zip(steps, map(float, column), strict=True)), end)
        for layer, column, end in zip(a.layers, distances.T, ends, strict=True)
    )
