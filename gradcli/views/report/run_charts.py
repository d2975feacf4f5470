"""The charts of runs: loss, score, gradient norms, update ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradcli.notation import numbers
from gradcli.records import Doubles, Floats, LayerInfo, StepRecords, norm_by_layer
from gradcli.views.draw.run_figures import (
    Bins,
    largest_by_bin,
    mean_by_bin,
)
from gradcli.views.report.chart import Chart, Mark, Series
from gradcli.views.report.contents import RunContents
from gradcli.views.report.layer_map import LayerMap, most_bins

_BINS = 500
_MOST_LINES = 8
"""Of layers; of more there is only the map."""
_MOST_MARKS = 12
_USUAL_UPDATE = 1e-3


def loss_chart(run: RunContents) -> Chart:
    """Return the loss: of training, with the range within each bin, and of validation."""
    steps, bins = run.steps, _bins(run.steps)
    x, mean = _middles(bins), mean_by_bin(steps.loss, bins)
    is_binned = len(steps) > len(x)
    series = [
        Series(
            "training batches" + (", mean" if is_binned else ""),
            x,
            mean,
            low=_smallest_by_bin(steps.loss, bins) if is_binned else None,
            high=largest_by_bin(steps.loss, bins) if is_binned else None,
        ),
        *_evaluated(run, "loss"),
    ]
    unit = " (cross-entropy, nats)" if run.summary.info.loss == "cross_entropy" else ""
    return Chart(
        "loss",
        f"Loss{unit}. {_course('It', mean)}",
        "step",
        "loss",
        series,
        y_scale="log",
        marks=_marks(run),
    )


def score_chart(run: RunContents) -> Chart:
    """Return the scores on the validation and test splits."""
    name = run.summary.info.metric.name
    found = [
        f"{split} {numbers.score(score)}"
        for split, score in (
            ("validation", run.summary.val_score),
            ("test", run.summary.test_score),
        )
        if not math.isnan(score)
    ]
    last = f" Last: {', '.join(found)}." if found else ""
    caption = f"{name.capitalize()} at the evaluations.{last}"
    return Chart("score", caption, "step", name, _evaluated(run, "score"), marks=())


def norm_chart(run: RunContents) -> Chart:
    """Return the global gradient norm before and after clipping."""
    steps, bins = run.steps, _bins(run.steps)
    x = _middles(bins)
    before = largest_by_bin(steps.grad_norm_before_clip, bins)
    with np.errstate(invalid="ignore"):  # an infinite norm times the coefficient 0
        after = largest_by_bin(steps.grad_norm_before_clip * steps.clip_coefficient, bins)
    series = [Series("before clipping", x, before, look=0)]
    clipped = run.summary.clipped_fraction
    if clipped > 0:
        series.append(Series("after clipping", x, after, look=1, dashed=True))
    what = "each step" if len(steps) == len(x) else "the largest in each bin of steps"
    said = (
        f"{numbers.share(clipped)} of the steps were clipped."
        if clipped > 0
        else ("No step was clipped.")
    )
    return Chart(
        "norm",
        f"Gradient norm over all layers, {what}. {_course('It', before)} {said}",
        "step",
        "gradient norm",
        series,
        y_scale="log",
        marks=_marks(run),
    )


def update_chart(run: RunContents) -> Chart:
    """Return how much each measured update changed each layer, relative to its weights."""
    step = np.array([one.step for one in run.layer_records], dtype=np.float64)
    ratios = np.array([one.update_ratio for one in run.layer_records], dtype=np.float64)
    names = [layer.name for layer in run.summary.info.layers]
    ratios = ratios.reshape(len(step), len(names))
    if len(names) <= _MOST_LINES:
        series = [
            Series(name, step, ratios[:, place], look=place) for place, name in enumerate(names)
        ]
    else:
        known = np.isfinite(ratios).any(axis=1)
        step, ratios = step[known], ratios[known]
        series = [
            Series(
                "median layer, between the smallest and the largest",
                step,
                np.nanmedian(ratios, axis=1),
                low=np.nanmin(ratios, axis=1),
                high=np.nanmax(ratios, axis=1),
            )
        ]
    return Chart(
        "updates",
        "Update ratio: the size of an update relative to the weights it changed, by layer. Around "
        f"{_USUAL_UPDATE:g} is usual.",
        "step",
        "||update|| / ||weights||",
        series,
        y_scale="log",
        marks=_marks(run),
    )


def norm_maps(
    name: str, steps: StepRecords, layers: Sequence[LayerInfo], *, after: bool
) -> list[LayerMap]:
    """Return each layer's gradient norms, the largest in each bin of steps.

    Args:
        name: of the first map, unique on its page.
        steps: at least one.
        layers: of the norms.
        after: whether to add a map of the norms after clipping.
    """
    bins = Bins.of(steps.step, most_bins(len(layers)))
    first, last = steps.step[bins.edges[:-1]], steps.step[bins.edges[1:] - 1]
    columns = {"before clipping": steps.parameter_grad_norm_before_clip}
    if after:
        columns["after clipping"] = steps.parameter_grad_norm_after_clip
    return [
        LayerMap(
            f"{name}-{place}" if place else name,
            f"gradient norm {label}",
            np.asarray(first),
            np.asarray(last),
            _largest_by_layer(norms, layers, bins),
        )
        for place, (label, norms) in enumerate(columns.items())
    ]


def _largest_by_layer(norms: Floats, layers: Sequence[LayerInfo], bins: Bins) -> Doubles:
    return np.stack(
        [norm_by_layer(norms[rows], tuple(layers)).max(axis=0) for rows in bins.slices()]
    )


def _bins(steps: StepRecords) -> Bins:
    return Bins.of(steps.step, _BINS)


def _middles(bins: Bins) -> Doubles:
    return np.asarray(bins.middles, dtype=np.float64)


def _smallest_by_bin(values: Floats, bins: Bins) -> Doubles:
    return np.minimum.reduceat(values, bins.edges[:-1]).astype(np.float64)


def _evaluated(run: RunContents, what: str) -> list[Series]:
    """Return the evaluations of both splits; those of the test split are a second look."""
    found = []
    for look, (split, label) in enumerate((("val", "validation"), ("test", "test")), start=1):
        records = {one.step: one for one in run.evals if one.split == split}  # the last of a step
        if records:
            values = np.array([getattr(one, what) for one in records.values()], dtype=np.float64)
            x = np.array(list(records), dtype=np.float64)
            order = np.argsort(x)
            found.append(Series(label, x[order], values[order], look=look, points=True))
    return found


def _marks(run: RunContents) -> list[Mark]:
    """Return the steps that the diagnosis is about: spikes, and the first non-finite value."""
    events = [one for one in run.inspection.events if one.kind != "lr-change"]
    marks = [
        Mark(one.step, f"{one.kind}{f' in {one.layer}' if one.layer else ''}")
        for one in events[:_MOST_MARKS]
    ]
    fault = run.summary.fault
    if fault is not None and all(mark.x != fault.step for mark in marks):
        marks.append(Mark(fault.step, "not finite"))
    return marks


def _course(subject: str, values: Doubles) -> str:
    """Say where a series began, where it ended, and its extremes."""
    known = values[np.isfinite(values)]
    if not known.size:
        return f"{subject} was never finite."
    first, last = float(known[0]), float(known[-1])
    verb = "went"
    extremes = f"smallest {numbers.norm(float(known.min()))}, largest " + numbers.norm(
        float(known.max())
    )
    return f"{subject} {verb} from {numbers.norm(first)} to {numbers.norm(last)} ({extremes})."
