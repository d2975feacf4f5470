"""A run's gradient norms over time, in a limited number of bins: what the heat map shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcli.inspection.inspection import NormHistory, Trend
from gradcli.records import Floats, LayerInfo, StepRecords, norm_by_layer

#: A wide terminal has no more columns than this.
MOST_BINS = 120
# The median of a bin uses at most this many of its steps, evenly spaced.
_SAMPLED = 500
# The columns are float32: a gradient counts as clipped if it lost more than their rounding.
_CLIPPED = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class LayerTrend:
    """How one layer's gradient norm changed over a run, before and after clipping."""

    before: Trend
    after: Trend


def norm_history(
    steps: StepRecords, layers: tuple[LayerInfo, ...]
) -> tuple[NormHistory, tuple[LayerTrend, ...]]:
    """Bin the norms of a run by time, in memory that does not grow with its length.

    Args:
        steps: at least one.
        layers: the L layers.

    Returns:
        The history in at most `MOST_BINS` bins, and the trend of each layer.
    """
    count = len(steps)
    edges = np.linspace(0, count, min(count, MOST_BINS) + 1).astype(np.intp).tolist()
    bins = list(map(slice, edges[:-1], edges[1:]))
    before = _medians(steps.parameter_grad_norm_before_clip, bins, layers)
    after = _medians(steps.parameter_grad_norm_after_clip, bins, layers)
    for column, rows in enumerate(bins):
        # One such step must show, however many others are in its bin.
        broken = np.flatnonzero(~np.isfinite(steps.grad_norm_before_clip[rows]))[:_SAMPLED]
        norms = norm_by_layer(steps.parameter_grad_norm_before_clip[rows][broken], layers)
        before[~np.isfinite(norms).all(axis=0), column] = np.nan
    history = NormHistory(
        first_step=np.asarray(steps.step[edges[:-1]]),
        last_step=np.asarray(steps.step[np.array(edges[1:]) - 1]),
        log10_norm=_log10(before),
        log10_total_norm=_log10(_median_by_bin(steps.grad_norm_before_clip, bins)),
        loss=_median_by_bin(steps.loss, bins),
        learning_rate=_median_by_bin(steps.learning_rate, bins),
        clipped_fraction=np.array(
            [np.mean(steps.clip_coefficient[rows] < _CLIPPED) for rows in bins]
        ),
    )
    tenth = max(1, count // 10)
    ends = [slice(0, tenth), slice(count - tenth, count)]
    trends = zip(
        _trends(steps.parameter_grad_norm_before_clip, ends, before, layers),
        _trends(steps.parameter_grad_norm_after_clip, ends, after, layers),
        strict=True,
    )
    return history, tuple(LayerTrend(*pair) for pair in trends)


def _median_by_bin(column: Floats, bins: list[slice]) -> NDArray[np.float64]:
    """Return the median of one number per step in each bin, (t,)."""
    return np.array([np.median(column[rows]) for rows in bins], dtype=np.float64)


def _medians(
    norms: Floats, bins: list[slice], layers: tuple[LayerInfo, ...]
) -> NDArray[np.float64]:
    """Return the median of each layer's norm in each bin, (L, t); NaN if all are NaN."""
    medians = np.empty((len(layers), len(bins)))
    for column, rows in enumerate(bins):
        medians[:, column] = _median_of_finite(norm_by_layer(_sampled(norms[rows]), layers))
    return medians


def _median_of_finite(norms: Floats) -> NDArray[np.float64]:
    """Return the median of each column over its finite values, (n, L) to (L,)."""
    finite = np.isfinite(norms)
    if finite.all():
        return np.asarray(np.median(norms, axis=0))
    known = finite.any(axis=0)
    medians = np.full(norms.shape[1], np.nan)
    medians[known] = np.nanmedian(np.where(finite, norms, np.nan)[:, known], axis=0)
    return medians


def _sampled(rows: Floats) -> Floats:
    if len(rows) <= _SAMPLED:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.intp)]


def _trends(
    norms: Floats,
    ends: list[slice],
    medians: NDArray[np.float64],
    layers: tuple[LayerInfo, ...],
) -> list[Trend]:
    first, last = _medians(norms, ends, layers).T
    return [
        Trend(float(one), float(two), _slope(_log10(row)))
        for one, two, row in zip(first, last, medians, strict=True)
    ]


def _slope(logs: Floats) -> float:
    """Return how much the line of least squares changes from the first bin to the last."""
    usable = np.flatnonzero(np.isfinite(logs))
    if len(usable) < 2:
        return math.nan
    slope = np.polyfit(usable, logs[usable], 1)[0]
    return float(slope * (len(logs) - 1))


def _log10(norms: Floats) -> NDArray[np.float64]:
    """Return log10; -inf for zero and NaN for what is not finite."""
    logs = np.full(norms.shape, np.nan)
    finite = np.isfinite(norms)
    with np.errstate(divide="ignore"):
        logs[finite] = np.log10(norms[finite])
    return logs
