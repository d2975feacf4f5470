"""Small SVG pictures that need no script: where the time went, arms with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradcli.notation import numbers
from gradcli.views.report.html import Html, element, html

# As wide as a page is; pictures scale down on a phone.
_WIDTH, _ROW, _LABELS, _MARGIN = 760, 28, 210, 24
#: Of phases, dark to light, so that neighbours differ without colour.
_SHADES = ("#0b3c5d", "#328cc1", "#9ad1ef", "#d9b310", "#8a6d00", "#b8bcc2")


@dataclass(frozen=True)
class Spread:
    """A row: a value, its interval, and single values.

    Args:
        label: of the row.
        value: the middle; NaN is none.
        interval: its ends; what is not finite is not drawn.
        points: single values, such as one per seed.
    """

    label: str
    value: float
    interval: tuple[float, float]
    points: Sequence[float] = ()


def time_bar(phases: Mapping[str, float]) -> Html:
    """Return the shares of the phases of a step as one bar, with a legend in text."""
    shown = [(name, share) for name, share in phases.items() if share > 0]
    shades = dict(zip(phases, _SHADES, strict=True))
    said = ", ".join(f"{name} {numbers.share(share)}" for name, share in shown)
    bar = [
        element("i", style=f"width:{100 * share:.2f}%;background:{shades[name]}", title=name)
        for name, share in shown
    ]
    legend = [
        element(
            "span",
            element("i", class_="swatch", style=f"background:{shades[name]}"),
            f" {name} {numbers.share(share)}",
        )
        for name, share in shown
    ]
    return html(
        element("div", bar, class_="bar", role="img", aria_label=f"Of a training step: {said}."),
        element("p", legend, class_="legend"),
    )


def spread_strip(rows: Sequence[Spread], label: str, *, is_log: bool = False) -> Html:
    """Return rows of values with intervals over one axis; nothing without a finite value.

    Args:
        rows: from the top.
        label: of the axis.
        is_log: whether the axis is of logarithms; values must be positive then.
    """
    known = [
        one
        for row in rows
        for one in (row.value, *row.interval, *row.points)
        if math.isfinite(one) and (one > 0 or not is_log)
    ]
    if not known:
        return html()

    def scaled(value: float) -> float:
        return math.log10(value) if is_log else value

    low, high = scaled(min(known)), scaled(max(known))
    room = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room

    def at(value: float) -> float:
        return _LABELS + (scaled(value) - low) / (high - low) * (_WIDTH - _LABELS - _MARGIN)

    usable = set(known)
    height = _ROW * len(rows) + 46
    drawn = [
        _spread_row(row, _ROW * place + _ROW / 2, at, usable) for place, row in enumerate(rows)
    ]
    ends = [10**value if is_log else value for value in (low + room, (low + high) / 2, high - room)]
    axis = [
        element("line", x1=_LABELS, x2=_WIDTH - _MARGIN, y1=height - 42, y2=height - 42,
                class_="axis"),
        [
            element("text", numbers.norm(end), x=at(end), y=height - 24, text_anchor="middle",
                    class_="quiet")
            for end in ends
        ],
        element("text", label, x=_WIDTH - _MARGIN, y=height - 6, text_anchor="end",
                class_="quiet"),
    ]  # fmt: skip
    said = "; ".join(f"{row.label} {numbers.known_norm(row.value)}" for row in rows)
    return element(
        "svg",
        axis,
        drawn,
        viewBox=f"0 0 {_WIDTH} {height}",
        class_="strip",
        role="img",
        aria_label=f"{label}: {said}.",
    )


def _spread_row(row: Spread, y: float, at: Callable[[float], float], usable: set[float]) -> Html:
    parts = [element("text", _short(row.label), x=_LABELS - 12, y=y + 4, text_anchor="end")]
    low, high = row.interval
    if low in usable and high in usable:
        parts.append(
            element("line", x1=at(low), x2=at(high), y1=y, y2=y, stroke="#0072b2",
                    stroke_width=3, stroke_linecap="round")
        )  # fmt: skip
    parts += [
        element("circle", cx=at(one), cy=y, r=3.5, fill="none", stroke="#c24e00", stroke_width=1.5)
        for one in row.points
        if one in usable
    ]
    if row.value in usable:
        x = at(row.value)
        parts.append(element("path", d=f"M{x:.1f} {y - 7}l6 7l-6 7l-6 -7z", fill="#0072b2"))
    return html(*parts)


def _short(label: str, most: int = 26) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
