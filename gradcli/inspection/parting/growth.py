"""How fast two runs part: the course of their distance, and its growth until it levels off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradcli.inspection.parting.step_gaps import StepGaps
from gradcli.records import Doubles, Integers

#: The steps after the first different one at which the distance is given.
AFTER = (0, 10, 100, 1_000)
# Up to about this many points, all pairs of which give slopes.
_MOST_POINTS = 200
# A stretch that is fitted has at least so many points, and grows at least tenfold.
_LEAST_POINTS = 8
# What counts as even growth: half the points are within this many powers of ten of the line.
_EVEN_WITHIN = 0.3
# And the line rises by at least this share of the growth, as a power of ten.
_LEAST_SHARE = 0.5
# The distance has levelled off where the median of this many steps reaches half the last level.
_SMOOTHED_OVER = 5
_LEVEL_REACHED = math.log10(0.5)
#: A distance that stays within this factor of a size keeps that size.
KEPT_WITHIN = 2.0
#: Distances up to this are those that rounding makes in float32, with sums of many terms.
ROUNDING = 1e-5

Course = Literal["at once", "varying", "exponential", "power", "uneven", "short"]


@dataclass(frozen=True, slots=True)
class Growth:
    """How the distance of two runs grows from the first step that differs."""

    quantity: Literal["gradient norms", "loss"]
    """Whose distance it is."""
    points: tuple[tuple[int, float, float], ...]
    """Steps with the distance of the losses and that of the gradient norms there."""
    course: Course
    """`at once`: the median of every five steps is within a factor of 2 of the first distance.
    `varying`: it is not, but that of the first five is a tenth of the last level or more.
    `exponential`: a line fits its logarithm against the steps. `power`: one fits against the
    logarithm of the steps since the beginning. `uneven`: neither does. `short`: there are too few
    steps to tell, in all or until half of the level is reached."""
    steps_per_tenfold: float
    """Of an exponential course; else NaN."""
    exponent: float
    """Of a power of the steps; else NaN."""
    until: int
    """The middle of the first five steps whose median is half the level or more."""
    level: float
    """The median distance over the last quarter of the steps."""
    still_growing: bool
    """Whether `until` is in that last quarter."""
    first: tuple[int, float]
    """The first step whose distance is a number above 0, with it."""
    lowest: tuple[int, float]
    """The middle of those five steps whose median is smallest, with that median."""
    highest: tuple[int, float]
    """The same of the largest median."""

    @property
    def begins_as_rounding(self) -> bool:
        """Whether the first distances are no larger than rounding makes."""
        first = [one for one in self.points[0][1:] if not math.isnan(one)]
        return bool(first) and max(first) <= ROUNDING


def growth(gaps: StepGaps) -> Growth | None:
    """Describe how fast two runs part; None if no step differs by a number."""
    if gaps.first is None:
        return None
    begin = int(np.argmax(gaps.differs))
    step = gaps.step[begin:]
    loss, gradients = gaps.loss[begin:], gaps.gradients[begin:]
    quantity: Literal["gradient norms", "loss"] = (
        "gradient norms" if np.isfinite(gradients).any() else "loss"
    )
    distance = gradients if quantity == "gradient norms" else loss
    points = tuple(
        (int(step[row]), float(loss[row]), float(gradients[row]))
        for row in _rows_at(gaps, begin, AFTER)
    )
    known = np.isfinite(distance) & (distance > 0)
    if not known.any():
        return None
    return Growth(quantity, points, *_course(step[known], distance[known]))


def _rows_at(gaps: StepGaps, begin: int, after: tuple[int, ...]) -> list[int]:
    """Return the rows, from `begin` on, of the steps so many after the first; those logged."""
    first = int(gaps.step[begin])
    wanted = [gaps.row_of(first + one) for one in after]
    return [row - begin for row in wanted if row is not None]


_Point = tuple[int, float]
_UNKNOWN = (0, math.nan)


def _course(
    step: Integers, distance: Doubles
) -> tuple[Course, float, float, int, float, bool, _Point, _Point, _Point]:
    """Return the fields of `Growth` from the course on."""
    if len(step) < _LEAST_POINTS:
        last = int(step[-1]) if len(step) else 0
        return "short", math.nan, math.nan, last, math.nan, False, _UNKNOWN, _UNKNOWN, _UNKNOWN
    heights = np.log10(distance)
    level = float(np.median(heights[-max(_SMOOTHED_OVER, len(heights) // 4) :]))
    smooth = _running_median(heights)
    reached = int(np.argmax(smooth >= level + _LEVEL_REACHED))
    still = reached >= len(heights) - len(heights) // 4
    middles = _middles(step)
    lowest, highest = (
        (int(middles[row]), float(10 ** smooth[row]))
        for row in (int(np.argmin(smooth)), int(np.argmax(smooth)))
    )
    first = int(step[0]), float(distance[0])
    form = _form(step, heights, smooth, level, reached)
    return *form, int(middles[reached]), 10**level, still, first, lowest, highest


def _form(
    step: Integers, heights: Doubles, smooth: Doubles, level: float, reached: int
) -> tuple[Course, float, float]:
    """Return the course, with the steps for a tenfold and the exponent if it has them."""
    if reached == 0 or smooth[0] >= level - 1:
        kept = np.abs(smooth - heights[0]).max() <= math.log10(KEPT_WITHIN)
        return "at once" if kept else "varying", math.nan, math.nan
    stretch = slice(0, reached + 1)
    if reached + 1 < _LEAST_POINTS:
        return "short", math.nan, math.nan
    times = (step[stretch] - step[0]).astype(np.float64)
    rise, spread = _line(times, heights[stretch])
    power, spread_of_power = _line(np.log10(times + 1), heights[stretch])
    risen = {"exponential": rise * times[-1], "power": power * math.log10(times[-1] + 1)}
    better: Course = "exponential" if spread <= spread_of_power else "power"
    # A line that fits the points closely may still miss a jump, which most slopes do not see.
    accounts_for = risen[better] >= _LEAST_SHARE * (smooth[reached] - smooth[0])
    if min(spread, spread_of_power) > _EVEN_WITHIN or not accounts_for:
        return "uneven", math.nan, math.nan
    return (better, 1 / rise, math.nan) if better == "exponential" else (better, math.nan, power)


def _running_median(heights: Doubles) -> Doubles:
    """Return the median of each point and those after it, five in all; fewer at the end."""
    windows = [heights[at : at + _SMOOTHED_OVER] for at in range(len(heights))]
    return np.array([float(np.median(one)) for one in windows])


def _middles(step: Integers) -> Integers:
    """Return the step in the middle of those whose median `_running_median` returns."""
    rows = np.arange(len(step))
    middles: Integers = step[rows + (np.minimum(_SMOOTHED_OVER, len(step) - rows) - 1) // 2]
    return middles


def _line(x: Doubles, y: Doubles) -> tuple[float, float]:
    """Return the slope of a line through points, and the median distance of these from it.

    The median of the slopes between all pairs, which a quarter of wild points does not sway (Theil
    1950; Sen 1968). Of many points, evenly spaced ones are used.
    """
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(np.intp))
    x, y = x[chosen], y[chosen]
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    rest = y - slope * x
    return slope, float(np.median(np.abs(rest - np.median(rest))))
