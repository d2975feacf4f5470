"""The lines of a chart: loss, score and gradient norm over the steps, as they are drawn.

A logarithmic axis is drawn on a linear one: the values are their logarithms, and the ticks are
labelled with what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from gradcli.notation import numbers
from gradcli.records import Doubles, EvalRecord, was_clipped
from gradcli.watch.run_course import RunCourse

Quantity = Literal["loss", "score", "norm"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "score", "norm")
#: From this ratio of the largest to the smallest value on, an axis is logarithmic.
_LOG_FROM = 20.0
#: So many symbols mark a line that is not drawn through.
_SYMBOLS = 12


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line of a chart, drawn through, or as symbols."""

    label: str
    x: Doubles
    """Steps, (n,)."""
    y: Doubles
    """(n,); finite."""
    symbol: str = ""
    """Drawn at its points; empty draws it through."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows."""

    title: str
    legend: str
    """What each line is, and its last value; empty if letters say what they are."""
    lines: tuple[ChartLine, ...]
    is_log: bool
    """Whether `y` of the lines is log10 of the values."""
    missing: str = ""
    """Why there is nothing to draw."""


class _Values(NamedTuple):
    """The values that a line is drawn of, finite or not."""

    label: str
    x: Doubles
    y: Doubles
    symbol: str = ""


def chart_of(course: RunCourse, quantity: Quantity) -> Chart:
    """Return a chart of one run: the symbols differ, so that no colour is needed."""
    match quantity:
        case "loss":
            values = [
                _column(course, "train", "loss"),
                _values("val", course.evals("val"), "loss", "●"),
            ]
            return _chart("loss", values, "no step yet")
        case "score":
            name = course.info.metric.name if course.info else "score"
            values = [
                _values("val", course.evals("val"), "score"),
                _values("test", course.evals("test"), "score", "■"),
            ]
            return _chart(name, values, "not evaluated yet")
        case _:
            before = _column(course, "norm", "grad_norm_before_clip")
            values = [before]
            after = before.y * _column(course, "", "clip_coefficient").y
            if bool(was_clipped(after, before.y).any()):
                clipped = _Values("after", before.x, after, "+")
                values = [_Values("before", before.x, before.y), clipped]
            return _chart("grad norm", values, "no step yet", prefers_log=True)


def charts_beside(courses: Sequence[RunCourse], letters: str, quantity: Quantity) -> Chart:
    """Return a chart of several runs: each line bears the letter of its run."""
    pairs = list(zip(letters, courses, strict=False))
    match quantity:
        case "loss":
            values = [_column(one, letter, "loss", letter) for letter, one in pairs]
            return _chart("train loss", values, "no step yet", says_values=False)
        case "score":
            metrics = {one.info.metric.name for one in courses if one.info is not None}
            name = f"val {metrics.pop()}" if len(metrics) == 1 else "val score"
            values = [_values(letter, one.evals("val"), "score", letter) for letter, one in pairs]
            return _chart(name, values, "not evaluated yet", says_values=False)
        case _:
            key, name = "grad_norm_before_clip", "grad norm"
            values = [_column(one, letter, key, letter) for letter, one in pairs]
            return _chart(name, values, "no step yet", prefers_log=True, says_values=False)


def _column(course: RunCourse, label: str, name: str, symbol: str = "") -> _Values:
    """Return a column of the steps; empty without any."""
    if course.steps is None:
        return _Values(label, np.empty(0), np.empty(0), symbol)
    x, y = (np.asarray(getattr(course.steps, one), dtype=np.float64) for one in ("step", name))
    return _Values(label, x, y, symbol)


def _values(label: str, found: Sequence[EvalRecord], name: str, symbol: str = "") -> _Values:
    """Return what evaluations say; empty without any."""
    x = np.array([one.step for one in found], dtype=np.float64)
    return _Values(label, x, np.array([getattr(one, name) for one in found], np.float64), symbol)


def _chart(
    name: str,
    found: Sequence[_Values],
    without: str,
    *,
    prefers_log: bool = False,
    says_values: bool = True,
) -> Chart:
    known = [values for values in found if len(values.y)]
    if not known:
        return Chart(name, "", (), False, without)
    is_log = _is_log(np.concatenate([one.y for one in known]), prefers_log=prefers_log)
    lines = tuple(_line(one, is_log=is_log) for one in known)
    legend = [f"{one.symbol or '─'}{one.label} {_last(one.y)}" for one in known]
    nothing = not any(len(line.y) for line in lines)
    missing = "no finite value" if nothing else ""
    return Chart(name, " ".join(legend) if says_values else "", lines, is_log, missing)


def _last(values: Doubles) -> str:
    value = float(values[-1])
    return numbers.norm(value) if math.isfinite(value) else f"{value}"


def _is_log(values: Doubles, *, prefers_log: bool) -> bool:
    """Whether powers of ten are what the values differ by; zero and below has no logarithm."""
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() < 0 or not (finite > 0).any():
        return False
    positive = finite[finite > 0]
    if finite.min() == 0 and not prefers_log:
        return False
    return bool(prefers_log or positive.max() / positive.min() >= _LOG_FROM)


def _line(values: _Values, *, is_log: bool) -> ChartLine:
    drawn = np.isfinite(values.y) & (values.y > 0) if is_log else np.isfinite(values.y)
    y = values.y[drawn]
    return ChartLine(values.label, values.x[drawn], np.log10(y) if is_log else y, values.symbol)


def drawn_points(line: ChartLine, columns: int) -> ChartLine:
    """Return a line that looks the same in so many columns of dots: few points are drawn quickly.

    Of the points of each column, those of the smallest and of the largest value are kept.
    """
    columns = max(columns, 1)  # before there is a size, there is none
    if len(line.x) <= 2 * columns or (line.symbol and not line.symbol.isupper()):
        return line
    edges = np.linspace(line.x[0], line.x[-1], columns + 1)
    starts = np.unique(np.searchsorted(line.x, edges[:-1]))
    kept = {0, len(line.x) - 1}
    for begin, end in zip(starts, [*starts[1:], len(line.x)], strict=True):
        part = line.y[begin:end]
        kept |= {int(begin + part.argmin()), int(begin + part.argmax())}
    places = sorted(kept)
    return replace(line, x=line.x[places], y=line.y[places])


def within_edges(lines: Sequence[ChartLine]) -> list[ChartLine]:
    """Move the largest values in by a millionth of the axes: the plot leaves out its far ends."""
    right, top = far_ends(lines)
    left, bottom = (min(getattr(one, axis).min(initial=np.inf) for one in lines) for axis in "xy")
    right, top = right - 1e-6 * (right - left), top - 1e-6 * (top - bottom)
    return [replace(one, x=np.minimum(one.x, right), y=np.minimum(one.y, top)) for one in lines]


def far_ends(lines: Sequence[ChartLine]) -> tuple[float, float]:
    """Return the largest step and the largest value of lines that are not all empty."""
    right, top = (max(getattr(one, axis).max(initial=-np.inf) for one in lines) for axis in "xy")
    return float(right), float(top)


def value_limits(chart: Chart) -> tuple[float, float] | None:
    """Return the ends of the axis of a chart whose values are all the same; None for any other."""
    ends = [end for line in chart.lines if len(line.y) for end in (line.y.min(), line.y.max())]
    if not ends or max(ends) - min(ends) > 1e-9 * max(map(abs, ends)):
        return None
    around = abs(ends[0]) / 10 or 1.0
    return float(ends[0] - around), float(ends[0] + around)


def symbol_places(count: int, most: int = _SYMBOLS) -> list[int]:
    """Return where symbols stand on a line of `count` points: evenly, the last point included."""
    if count <= most:
        return list(range(count))
    return [round(at * (count - 1) / (most - 1)) for at in range(most)]


def tick_values(low: float, high: float, most: int, *, is_log: bool) -> list[float]:
    """Return where ticks stand on an axis from `low` to `high`, at most `most` of them.

    On a logarithmic axis these are powers of ten, or 1, 2 and 5 times them if those are too few.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or most < 1:
        return []
    if not is_log:
        return _round_ticks(low, high, most)
    whole = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) >= 2:
        every = -(-len(whole) // most)
        return whole[::every]
    within = [
        power + math.log10(digit)
        for power in range(math.floor(low), math.ceil(high) + 1)
        for digit in (1, 2, 5)
    ]
    within = [value for value in within if low <= value <= high]
    return within[:most] if len(within) >= 2 else _round_ticks(low, high, min(most, 2))


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten: at most `most`, but two if they fit."""
    power = math.floor(math.log10(high - low))
    steps = (digit * 10.0**exponent for exponent in (power, power - 1) for digit in (5, 2, 1))
    found: list[float] = []
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = [round(number * step, 12) for number in range(first, last + 1)]
        if len(ticks) > max(most, 2):
            break
        found = ticks
    return found


def tick_label(value: float, *, is_log: bool) -> str:
    """Write a tick of a value axis: at most seven characters."""
    value = 10.0**value if is_log else value
    return f"{value:.4g}"


def step_label(value: float) -> str:
    """Write a step at the bottom of a chart: `800`, `12k`, `1.5M`."""
    for unit, symbol in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 10 or (abs(value) >= unit and value % (unit / 10) == 0):
            return f"{value / unit:g}{symbol}"
    return f"{value:g}"
