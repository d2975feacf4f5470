"""A run's gradient norms over time, in a bounded number of bins: what the heat map shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gradcli.inspection.results import NormHistory, Trend
from gradcli.records import Floats, Integers, LayerInfo, StepRecords, norm_by_layer

#: More bins than a wide terminal has columns show nothing more.
MOST_BINS = 120
# The median of a bin is taken over so many of its steps, evenly spread.
_SAMPLED = 500
# float32 columns: a gradient counts as clipped where it lost more than their rounding.
_CLIPPED = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class LayerTrend:
    """How one layer's gradient norm went over a run, before and after clipping."""

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
    edges = np.linspace(0, count, min(count, MOST_BINS) + 1).astype(np.intp)
    bins = [np.arange(start, stop) for start, stop in pairwise(edges)]
    before = _medians(steps.parameter_grad_norm_before_clip, bins, layers)
    after = _medians(steps.parameter_grad_norm_after_clip, bins, layers)
    total = np.asarray(steps.grad_norm_before_clip, dtype=np.float64)
    non_finite = np.flatnonzero(~np.isfinite(total))
    for row in non_finite[:_SAMPLED]:
        # One such step shows, however many others its bin holds.
        broken = ~np.isfinite(norm_by_layer(steps.parameter_grad_norm_before_clip[[row]], layers))
        before[broken[0], np.searchsorted(edges, row, side="right") - 1] = np.nan
    history = NormHistory(
        first_step=np.asarray(steps.step)[edges[:-1]],
        last_step=np.asarray(steps.step)[edges[1:] - 1],
        log10_norm=_log10(before),
        log10_total_norm=_log10(np.array([np.median(total[rows]) for rows in bins])),
        loss=np.array([np.median(steps.loss[rows]) for rows in bins], dtype=np.float64),
        learning_rate=np.array([np.median(steps.learning_rate[rows]) for rows in bins]),
        clipped_fraction=np.array(
            [np.mean(steps.clip_coefficient[rows] < _CLIPPED) for rows in bins]
        ),
    )
    ends = _ends(count)
    trends = zip(
        _trends(steps.parameter_grad_norm_before_clip, ends, before, layers),
        _trends(steps.parameter_grad_norm_after_clip, ends, after, layers),
        strict=True,
    )
    return history, tuple(LayerTrend(*pair) for pair in trends)


def _medians(
    norms: Floats, bins: list[Integers], layers: tuple[LayerInfo, ...]
) -> NDArray[np.float64]:
    """Return the median of each layer's norm in each bin, (L, t); NaN where all are."""
    medians = np.empty((len(layers), len(bins)))
    for column, rows in enumerate(bins):
        medians[:, column] = _median_of_finite(norm_by_layer(norms[_sampled(rows)], layers))
    return medians


def _median_of_finite(norms: Floats) -> NDArray[np.float64]:
    """Return the median of each column over its finite values, (n, L) to (L,)."""
    finite = np.isfinite(norms)
    known = finite.any(axis=0)
    medians = np.full(norms.shape[1], np.nan)
    medians[known] = np.nanmedian(np.where(finite, norms, np.nan)[:, known], axis=0)
    return medians


def _sampled(rows: Integers) -> Integers:
    if len(rows) <= _SAMPLED:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.intp)]


def _ends(count: int) -> tuple[Integers, Integers]:
    """Return the rows of the first and of the last tenth."""
    tenth = max(1, count // 10)
    return np.arange(tenth), np.arange(count - tenth, count)


def _trends(
    norms: Floats,
    ends: tuple[Integers, Integers],
    medians: NDArray[np.float64],
    layers: tuple[LayerInfo, ...],
) -> list[Trend]:
    first, last = (_medians(norms, [rows], layers)[:, 0] for rows in ends)
    return [
        Trend(float(one), float(two), _slope(_log10(row)))
        for one, two, row in zip(first, last, medians, strict=True)
    ]


def _slope(logs: Floats) -> float:
    """Return how far the line of least squares goes from the first bin to the last."""
    usable = np.flatnonzero(np.isfinite(logs))
    if len(usable) < 2:
        return math.nan
    slope = np.polyfit(usable, logs[usable], 1)[0]
    return float(slope * (len(logs) - 1))


def _log10(norms: Floats) -> NDArray[np.float64]:
    """Return log10, -inf for zero and NaN for what is not finite."""
    logs = np.full(norms.shape, np.nan)
    finite = np.isfinite(norms)
    with np.errstate(divide="ignore"):
        logs[finite] = np.log10(norms[finite])
    return logs
