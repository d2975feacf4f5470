"""How a run went: whether the loss falls, and at which steps something happened."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradcli.diagnosis.limits import (
    BATCH_LOSS,
    BATCH_LOSS_BEFORE,
    BATCH_NORM,
    BEYOND_CHANCE,
    NOISY,
    RATE_CHANGE,
    SPIKE,
    SPIKE_HARM,
)
from gradcli.records import Floats, Integers, LayerInfo, StepRecords, norm_by_layer

#: With fewer steps than this, how training goes cannot be judged.
FEWEST_STEPS = 20
# A spike is compared with this many steps before it, and the loss is taken over this many.
_BEFORE = 25
_LOSSES = 20
_FEWEST_BEFORE = 10
_RECOVERED = 5
# A long run is read in blocks that fit a processor's cache.
_ROWS_AT_ONCE = 20_000
# From the interquartile range, and from the median absolute value, to the standard deviation of
# a normal distribution; a median's standard error is this much larger than a mean's.
_IQR_PER_DEVIATION = 1.349
_MEDIAN_PER_DEVIATION = 0.6745
_MEDIAN_OVER_MEAN_ERROR = 1.2533

LossTrend = Literal["falling", "converged", "plateau", "noise", "rising", "unknown"]


@dataclass(frozen=True, slots=True)
class Convergence:
    """Whether training makes progress: the loss, and whether the gradient falls with it."""

    trend: LossTrend
    """`falling` or `rising` if the second half does so beyond chance. Otherwise `converged` if
    less than half of the first loss is left, else `noise` if consecutive batches differ by more
    than a quarter of the loss, and `plateau` if not. `unknown` for fewer than 20 steps."""
    first_loss: float
    """The loss of the initial weights."""
    last_loss: float
    """The median over the last tenth of the steps."""
    scatter: float
    """The deviation of the loss from one batch to the next in the second half, relative to its
    median: robust, and free of trends."""
    first_norm: float
    last_norm: float
    """The gradient norms that correspond to the first and the last loss."""
    norm_follows_loss: float
    """The correlation of log norm with log loss: near 1 the gradient falls with the loss, near 0
    it does not follow the loss. NaN for fewer than 20 steps."""


@dataclass(frozen=True, slots=True)
class Spike:
    """A gradient norm far above those before it; consecutive steps are one spike."""

    step: int
    """The first step."""
    layer: str
    """The layer that exceeds its own usual norm the most."""
    factor: float
    """The largest norm as a multiple of the median over the 25 steps before."""
    loss_before: float
    loss_after: float
    """The median losses of up to 20 steps on either side."""
    loss_at: float = math.nan
    """The loss of the step itself: of its batch, before the update."""
    loss_next: float = math.nan
    """The lowest loss of the three steps after it."""
    loss_previous: float = math.nan
    """The loss of the step before it."""
    highest_before: float = math.nan
    """The highest loss of up to 20 steps before it."""
    factor_at: float = math.nan
    """The norm of the step itself as a multiple of that median; `factor` may be of a later one."""
    factor_previous: float = math.nan
    """The norm of the step before it as a multiple of that median."""
    steps_to_recover: float = math.inf
    """How many steps later the loss was what it was before, in the median of five; inf: never."""

    @property
    def is_of_the_batch(self) -> bool:
        """Whether the batch itself is to blame: its own loss stands out, those around it do not.

        If its update breaks the model, those after it stand out too. Then it is to blame if
        nothing announced it: a learning rate that is too high takes several steps.
        """
        stands_out = self.loss_at > BATCH_LOSS.value * self.loss_before
        is_alone = self.loss_next < self.loss_at / 2 and not self._was_announced
        return (stands_out and is_alone) or self.is_unannounced

    @property
    def is_unannounced(self) -> bool:
        """Whether the first norm is far too large, the loss with it, and neither before it."""
        rose = self.loss_at > SPIKE_HARM.value * self.loss_before
        return rose and self.factor_at > BATCH_NORM.value and not self._was_announced

    @property
    def _was_announced(self) -> bool:
        return (
            self.loss_previous > BATCH_LOSS_BEFORE.value * self.loss_before
            or self.highest_before > BATCH_LOSS.value * self.loss_before
            or self.factor_previous > BATCH_LOSS_BEFORE.value
        )


@dataclass(frozen=True, slots=True)
class RateChange:
    """A learning rate that jumped."""

    step: int
    factor: float


def describe_loss_trend(losses: Floats, norms: Floats) -> Convergence:
    """Describe the trend of n steps, all finite: losses (n,) and global gradient norms (n,)."""
    count = len(losses)
    if not count:
        return Convergence("unknown", *[math.nan] * 6)
    tenth = max(1, count // 10)
    first, last = float(losses[0]), float(np.median(losses[-tenth:]))
    scatter = correlation = math.nan
    trend: LossTrend = "unknown"
    if count >= FEWEST_STEPS:
        half = losses[count // 2 :]
        middle = float(np.median(half))
        # Of two tasks in turn, each loss is like the one before the last.
        lags = [np.median(np.abs(half[lag:] - half[:-lag])) for lag in (1, 2)]
        scatter = float(min(lags)) / math.sqrt(2.0) / _MEDIAN_PER_DEVIATION
        scatter = scatter / abs(middle) if middle else 0.0
        correlation = _correlation_of_logs(losses, norms)
        trend = _trend(half, first, last, scatter)
    return Convergence(
        trend=trend,
        first_loss=first,
        last_loss=last,
        scatter=scatter,
        first_norm=float(np.median(norms[:tenth])),
        last_norm=float(np.median(norms[-tenth:])),
        norm_follows_loss=correlation,
    )


def _trend(half: Floats, first: float, last: float, scatter: float) -> LossTrend:
    early, late = np.array_split(half, 2)
    low, high = np.percentile(half, [25, 75])
    error = _MEDIAN_OVER_MEAN_ERROR * (high - low) / _IQR_PER_DEVIATION / math.sqrt(len(late))
    fall = float(np.median(early) - np.median(late))
    if abs(fall) > BEYOND_CHANCE.value * error:
        return "falling" if fall > 0 else "rising"
    if first > 0 and max(float(np.median(late)), last) < first / 2:
        return "converged"
    return "noise" if scatter > NOISY.value else "plateau"


def _correlation_of_logs(losses: Floats, norms: Floats) -> float:
    usable = (losses > 0) & (norms > 0)
    logs = np.log(losses[usable]), np.log(norms[usable])
    if usable.sum() < 2 or not (np.ptp(logs[0]) > 0 and np.ptp(logs[1]) > 0):
        return math.nan
    return float(np.corrcoef(*logs)[0, 1])


def finite_rows(steps: StepRecords) -> Integers:
    """Return the rows of the steps whose loss and gradient norm are finite."""
    return np.flatnonzero(np.isfinite(steps.grad_norm_before_clip) & np.isfinite(steps.loss))


def find_spikes(steps: StepRecords, layers: tuple[LayerInfo, ...]) -> tuple[Spike, ...]:
    """Find the spikes of a run; the first ten steps cannot be compared."""
    finite = finite_rows(steps)
    places, factors = _high_norms(steps, finite)
    spikes = []
    for group in _groups(places):
        first, last = places[group][0], places[group][-1]
        before, after = (
            steps.loss[finite[part]]
            for part in (slice(max(0, first - _LOSSES), first), slice(last + 1, last + 1 + _LOSSES))
        )
        spikes.append(
            Spike(
                step=int(steps.step[finite[first]]),
                layer=_layer_of_spike(steps, layers, finite[max(0, first - _BEFORE) : first + 1]),
                factor=float(factors[group].max()),
                loss_before=_median(before),
                loss_after=_median(after),
                loss_at=float(steps.loss[finite[first]]),
                loss_next=float(np.min(after[:3])) if len(after) else math.nan,
                loss_previous=float(steps.loss[finite[first - 1]]),
                highest_before=float(np.max(before)),
                steps_to_recover=_steps_until(steps, finite[last + 1 :], _median(before)),
                **_norms_around(steps, finite[max(0, first - _BEFORE) : first + 1]),
            )
        )
    return tuple(spikes)


def _steps_until(steps: StepRecords, rows: Integers, level: float) -> float:
    """Return after how many of the rows the median of five losses is at or below `level`, or inf.

    Only as much is read as it takes.
    """
    for start in range(0, len(rows) - _RECOVERED + 1, _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE + _RECOVERED - 1]
        medians = np.median(sliding_window_view(steps.loss[block], _RECOVERED), axis=1)
        reached = np.flatnonzero(medians <= level)
        if len(reached):
            return float(start + reached[0] + 1)
    return math.inf


def find_rate_changes(steps: StepRecords) -> tuple[RateChange, ...]:
    """Find the steps at which the learning rate is far from that of the step before."""
    changes = []
    for start in range(0, len(steps) - 1, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE + 1)
        step, rates = steps.step[rows], np.asarray(steps.learning_rate[rows], dtype=np.float64)
        before, after = rates[:-1], rates[1:]
        comparable = (before > 0) & (after > 0) & (np.diff(step) == 1)
        factors = np.divide(after, before, out=np.ones_like(after), where=comparable)
        jumps = np.flatnonzero((factors > RATE_CHANGE.value) | (factors < 1 / RATE_CHANGE.value))
        changes += [RateChange(int(step[i + 1]), float(factors[i])) for i in jumps]
    return tuple(changes)


def _high_norms(steps: StepRecords, rows: Integers) -> tuple[Integers, Floats]:
    """Find the norms that are too high compared with the median of the 25 before them.

    Near the start, of as many as there are; the first ten cannot be compared.

    Returns:
        Their places among `rows`, ascending, and each as a multiple of that median.
    """
    first = np.asarray(steps.grad_norm_before_clip[rows[:_BEFORE]], dtype=np.float64)
    usual = [float(np.median(first[:at])) for at in range(_FEWEST_BEFORE, len(first))]
    early = [
        (at, first[at] / median)
        for at, median in enumerate(usual, start=_FEWEST_BEFORE)
        if median > 0 and first[at] > SPIKE.value * median
    ]
    places = [np.array([at for at, _ in early], dtype=np.intp)]
    factors = [np.array([factor for _, factor in early], dtype=np.float64)]
    for start in range(_BEFORE, len(rows), _ROWS_AT_ONCE):
        block = rows[start - _BEFORE : start + _ROWS_AT_ONCE]
        norms = np.asarray(steps.grad_norm_before_clip[block], dtype=np.float64)
        limits, latest = SPIKE.value * norms, norms[_BEFORE:]
        # Medians are slow. A norm exceeds the median of 25 values if it exceeds 13 of them.
        exceeded = np.zeros(len(latest), dtype=np.uint8)
        for earlier in range(_BEFORE):
            exceeded += limits[earlier : earlier + len(latest)] < latest
        high = np.flatnonzero(exceeded > _BEFORE // 2)
        medians = np.median(sliding_window_view(norms, _BEFORE)[high], axis=1)
        high, medians = high[medians > 0], medians[medians > 0]
        places.append(high + start)
        factors.append(latest[high] / medians)
    return np.concatenate(places), np.concatenate(factors)


def _groups(indices: Integers) -> Iterator[slice]:
    """Split sorted indices at gaps of more than 25."""
    if len(indices):
        cuts = [0, *(np.flatnonzero(np.diff(indices) > _BEFORE) + 1).tolist(), len(indices)]
        yield from map(slice, cuts[:-1], cuts[1:])


def _layer_of_spike(steps: StepRecords, layers: tuple[LayerInfo, ...], rows: Integers) -> str:
    """Return the layer with the largest last row, relative to its median over the others."""
    norms = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], layers)
    usual = np.median(norms[:-1], axis=0)
    excess = np.divide(norms[-1], usual, out=np.zeros_like(usual), where=usual > 0)
    return layers[int(np.argmax(excess))].name


def _norms_around(steps: StepRecords, rows: Integers) -> dict[str, float]:
    """Return the norms of the last two rows as multiples of the median of all but the last."""
    norms = np.asarray(steps.grad_norm_before_clip[rows], dtype=np.float64)
    usual = float(np.median(norms[:-1]))
    return {
        "factor_at": float(norms[-1]) / usual,
        "factor_previous": float(norms[-2]) / usual,
    }


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else math.nan
