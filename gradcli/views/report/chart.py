"""Charts of series over one axis: what a script draws, and what is said of them without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gradcli.records import Doubles
from gradcli.views.report.html import Content, Html, element, embedded_json, html

#: Digits of the numbers in a page: a float32 has about seven.
_DIGITS = 6


@dataclass(frozen=True)
class Series:
    """One line of a chart, or points.

    Args:
        label: in the legend.
        x: where it has values, rising, (n,).
        values: (n,); what is not finite is a gap.
        look: its number; the page gives each a colour and a dash pattern of its own.
        low: the lower end of a band around it, (n,); None is no band.
        high: the upper end.
        points: whether each value is marked.
        dashed: a line that belongs to the one before it, and has its colour.
    """

    label: str
    x: Doubles
    values: Doubles
    look: int = 0
    low: Doubles | None = None
    high: Doubles | None = None
    points: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Mark:
    """A place on the horizontal axis that a finding or an event is about."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Series over one axis.

    Args:
        name: unique on its page; part of the element's id.
        caption: what it shows, in a sentence that can be read instead of looking.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        series: what is drawn.
        y_scale: `log` is used only if values reach over a decade.
        x_scale: of learning rates it is `log`.
        marks: places of interest.
        together: charts of the same word share cursor and zoom; empty is none.
    """

    name: str
    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    y_scale: Literal["linear", "log"] = "linear"
    x_scale: Literal["linear", "log"] = "linear"
    marks: Sequence[Mark] = field(default=())
    together: str = "steps"


def figure(name: str, caption: Content, *contents: Content) -> Html:
    """Return a figure with its caption below it."""
    return element(
        "figure",
        *contents,
        element("figcaption", caption, id=f"{name}-caption"),
        id=name,
        aria_labelledby=f"{name}-caption",
    )


def chart_figure(chart: Chart) -> Html:
    """Return a chart as a figure that the page's script draws; empty without any value."""
    if not any(np.isfinite(one.values).any() for one in chart.series):
        return html()
    place = element(
        "div",
        class_="chart",
        tabindex="0",
        role="img",
        aria_label=f"{chart.caption} Arrow keys move along it.",
        data_chart=chart.name,
    )
    readout = element("output", class_="readout", aria_live="polite", data_readout=chart.name)
    without = element(
        "noscript", element("p", "The chart needs JavaScript; its numbers are in the tables.")
    )
    data = embedded_json(_drawn(chart), data_for=chart.name)
    return figure(chart.name, chart.caption, place, readout, without, data)


def reaches_over_a_decade(*values: Doubles) -> bool:
    """Whether positive values differ by a factor of ten or more, so that a log scale shows more."""
    known = np.concatenate([one[np.isfinite(one) & (one > 0)].ravel() for one in values])
    return bool(known.size) and float(known.max()) >= 10 * float(known.min())


def plain(values: Doubles, digits: int = _DIGITS) -> list[float | None]:
    """Return values for JSON: rounded to so many significant digits, None for what is not finite.

    A value that is a whole number is written as one, which is shorter.
    """
    return [_plain_number(value, digits) for value in values.tolist()]


def _plain_number(value: float, digits: int) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _drawn(chart: Chart) -> dict[str, Any]:
    """Return what the script needs: all series at the same places, with None in between."""
    positive = [one.values for one in chart.series]
    is_log = chart.y_scale == "log" and reaches_over_a_decade(*positive)
    x = np.unique(np.concatenate([one.x for one in chart.series]).astype(np.float64))
    series = [
        {
            "label": one.label,
            "look": one.look,
            "points": one.points or int(np.isfinite(one.values).sum()) <= 1,
            "dashed": one.dashed,
            "values": _at(x, one.x, one.values, positive=is_log),
            "low": None if one.low is None else _at(x, one.x, one.low, positive=is_log),
            "high": None if one.high is None else _at(x, one.x, one.high, positive=is_log),
        }
        for one in chart.series
        if len(one.x)
    ]
    return {
        "x": plain(x),
        "series": series,
        "xLabel": chart.x_label,
        "yLabel": chart.y_label,
        "yLog": is_log,
        "xLog": chart.x_scale == "log",
        "marks": [{"x": one.x, "text": one.text} for one in chart.marks],
        "together": chart.together,
    }


def _at(x: Doubles, own: Doubles, values: Doubles, *, positive: bool) -> list[float | None]:
    """Return values at all places of a chart; of a logarithm only those that have one."""
    everywhere = np.full(len(x), np.nan)
    everywhere[np.searchsorted(x, own)] = values
    if positive:
        everywhere[~(everywhere > 0)] = np.nan
    return plain(everywhere)
