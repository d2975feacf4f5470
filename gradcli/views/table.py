"""Lines and tables laid out by hand: styled pieces of text in columns that fit a width.

Rich's own `Table` measures and wraps every cell and takes 7 to 36 ms for 6 to 40 rows: too slow
for a screen that is redrawn while a model trains. Here a line is a list of segments, and if there
is no room, a whole column drops out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from gradcli.notation.visible import visible

Line = list[Segment]

GAP = "  "

TITLE = "dim"
STRONG = "bold"


def piece(text: str, style: str = "") -> Segment:
    """Return styled text as a segment of one line; styles are parsed once and cached."""
    return Segment(visible(text), Style.parse(style) if style else None)


def fit(text: str, width: int, align: Literal["left", "right"] = "left") -> str:
    """Pad or shorten a text to exactly `width` cells."""
    text = shorten(text, width)
    padding = " " * (width - cell_len(text))
    return text + padding if align == "left" else padding + text


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a text that is wider than `width` cells: its ends say most."""
    if cell_len(text) <= width:
        return text
    kept = max(width - 1, 0)
    tail = text[len(text) - kept // 2 :]
    return set_cell_size(text, max(kept - cell_len(tail), 0)) + "…" + tail


def shorten_list(text: str, width: int) -> str:
    """Leave out the last items of a list `a, b, c` that is wider than `width` cells."""
    items = text.split(", ")
    if cell_len(text) <= width or len(items) == 1:
        return text
    for count in range(len(items) - 1, 0, -1):
        shown = f"{', '.join(items[:count])} +{len(items) - count}"
        if cell_len(shown) <= width:
            return shown
    return shorten(f"{items[0]} +{len(items) - 1}", width)


def crop(line: Line, width: int) -> Line:
    """Cut a line at `width` cells."""
    return list(Segment.adjust_line_length(line, width, pad=False))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    If there is no room, the column of the highest `rank` drops out first; one of rank 0 never.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    align: Literal["left", "right"] = "left"
    styles: Sequence[str] | str = ""
    """One style for all cells, or one per cell."""
    above: str = ""
    """The upper line of a two-line title."""
    least_width: int = 0
    """Cells reserved for content that comes later, so that nothing moves then."""
    width: int = field(init=False, compare=False)
    """The cells that its titles and its content need. Measured once, because it is used often."""

    def __post_init__(self) -> None:
        shown = {
            "above": visible(self.above),
            "title": visible(self.title),
            "cells": [visible(cell) for cell in self.cells],
        }
        for name, value in shown.items():
            object.__setattr__(self, name, value)
        needed = max(cell_len(text) for text in (self.above, self.title, *self.cells))
        object.__setattr__(self, "width", max(needed, self.least_width))


def total_width(columns: Sequence[Column]) -> int:
    """Return the width of the columns side by side, in cells."""
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def fitting(columns: Iterable[Column], width: int) -> list[Column]:
    """Return the columns that fit side by side; those of the highest ranks drop out."""
    kept = list(columns)
    while total_width(kept) > width and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def table(columns: Sequence[Column], width: int) -> list[Line]:
    """Lay out columns: their titles, then one line per row, none wider than `width`."""
    laid = [_laid(column) for column in columns]
    lines = [_with_gaps(line) for line in zip(*laid, strict=True)]
    if not any(column.above for column in columns):
        del lines[0]
    return [crop(line, width) for line in lines]


def _laid(column: Column) -> Line:
    """Pad the titles and the cells of a column to its width."""
    width, rows = column.width, len(column.cells)
    styles = [column.styles] * rows if isinstance(column.styles, str) else column.styles
    titled = [(column.above, TITLE), (column.title, TITLE)]
    return [
        piece(fit(text, width, column.align), style)
        for text, style in [*titled, *zip(column.cells, styles, strict=True)]
    ]


def _with_gaps(pieces: Sequence[Segment]) -> Line:
    gap = Segment(GAP)
    return [segment for item in pieces for segment in (item, gap)][:-1]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that a rich console can print."""

    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()
