"""From a probe of a model that trains to a record of the run: a few numbers, and all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from gradcli.inspection.probing import NOT_FINITE, ProbeTarget, Timer, loss_and_fault
from gradcli.probes.activations import SignalReport
from gradcli.probes.alpha import StepFit
from gradcli.probes.descent import DescentCurve
from gradcli.probes.hidden_states import HiddenStateGradients
from gradcli.probes.histograms import LayerHistogram
from gradcli.probes.noise import GradientNoise
from gradcli.probes.sharpness import Sharpness
from gradcli.records import ProbeRecord


def record_probes(
    names: Iterable[str], copy_of_model: Callable[[], ProbeTarget]
) -> Iterator[ProbeRecord]:
    """Make probes, and yield the record of each as soon as it is made.

    Each gets a copy of its own, so that what one finds does not depend on which others are made:
    some train it on.

    Args:
        names: names out of `probes.names.PROBES`.
        copy_of_model: returns the model to probe, as it is now, each time anew.
    """
    target = copy_of_model()
    timer = Timer(target)
    _, fault = loss_and_fault(target)
    for name in names:
        if fault is not None:
            yield ProbeRecord(target.steps_made, name, refused=NOT_FINITE)
            continue
        result = timer.make(name, copy_of_model())
        if name in timer.refused:
            yield ProbeRecord(target.steps_made, name, refused=timer.refused[name])
            continue
        cost = timer.costs[name]
        yield ProbeRecord(
            target.steps_made,
            name,
            **_SUMMARIES[name](result)._asdict(),
            seconds=cost.seconds,
            passes=cost.passes,
            result=_plain(result),
        )


class _Numbers(NamedTuple):
    """A probe's result in short, as `ProbeRecord` explains it."""

    value: float
    low: float = math.nan
    high: float = math.nan
    limit: float = math.nan


def _signals(report: SignalReport) -> _Numbers:
    active = [layer for layer in report.layers if layer.units]
    if not active:
        return _Numbers(math.nan)
    dead = sum(layer.dead_units for layer in active) / sum(layer.units for layer in active)
    return _spread(dead, [layer.dead_fraction for layer in active])


def _histograms(layers: tuple[LayerHistogram, ...]) -> _Numbers:
    counts = [(one.histogram.zeros, one.histogram.size) for one in layers if one.histogram.size]
    zeros, size = (sum(column) for column in zip(*counts, strict=True))
    return _spread(zeros / size, [of_one / all_of_one for of_one, all_of_one in counts])


def _noise(noise: GradientNoise) -> _Numbers:
    scale = noise.noise_scale
    return _Numbers(scale.estimate, scale.low, scale.high)


def _sharpness(sharpness: Sharpness) -> _Numbers:
    if math.isnan(sharpness.threshold):
        return _Numbers(sharpness.largest)
    return _Numbers(sharpness.preconditioned, limit=sharpness.threshold)


def _descent(curve: DescentCurve) -> _Numbers:
    return _Numbers(curve.best_step, 0.0, curve.descends_to)


def _hidden_states(modules: tuple[HiddenStateGradients, ...]) -> _Numbers:
    slopes = [one.slope.decades for one in modules if not math.isnan(one.slope.decades)]
    return _spread(max(slopes, key=abs, default=math.nan), slopes)


def _cosine(cosines: tuple[float, ...]) -> _Numbers:
    known = [one for one in cosines if not math.isnan(one)]
    return _spread(float(np.mean(known)) if known else math.nan, known)


def _alpha(fits: tuple[StepFit, ...]) -> _Numbers:
    known = [fit.alpha for fit in fits if not math.isnan(fit.alpha)]
    return _spread(float(np.median(known)) if known else math.nan, known)


def _spread(value: float, parts: list[float]) -> _Numbers:
    """Return a value with the least and the largest of what it stands for."""
    return _Numbers(value, min(parts, default=math.nan), max(parts, default=math.nan))


_SUMMARIES: dict[str, Callable[[Any], _Numbers]] = {
    "signals": _signals,
    "histograms": _histograms,
    "noise": _noise,
    "sharpness": _sharpness,
    "descent": _descent,
    "hidden-states": _hidden_states,
    "cosine": _cosine,
    "alpha": _alpha,
}


def _plain(value: Any) -> Any:
    """Turn dataclasses into mappings and arrays into lists, however deep."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
