"""The lines of a closing screen: a label in the margin, and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from gradcli.views.table import TITLE, Line, Lines, piece
from gradcli.views.words import Text

LABEL_WIDTH = 12


class Labelled:
    """A label, and text that wraps in the column to its right.

    Args:
        label: in the margin of the first line.
        text: to the right of it.
        label_width: of the margin.
        style: of the label.
    """

    def __init__(
        self, label: str, text: Text, label_width: int = LABEL_WIDTH, style: str = TITLE
    ) -> None:
        self._label = label
        self._text = text
        self._label_width = label_width
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - self._label_width, 1)
        for row, line in enumerate(self._text.wrap(console, width)):
            label = self._label if row == 0 else ""
            yield piece(label.ljust(self._label_width), self._style)
            line.rstrip()
            yield line


def whole_lines(label: str, texts: Sequence[str]) -> Iterator[RenderableType]:
    """Lay out texts to be copied: each on one line, however long."""
    yield from labelled_lines(label, [[piece(text)] for text in texts])


def labelled_lines(label: str, lines: Sequence[Line]) -> Iterator[RenderableType]:
    """Put a label in front of the first line, and indent the others to match."""
    for row, line in enumerate(lines):
        yield Lines([[_margin(label if row == 0 else ""), *line]])


def labels_lines(tags: Sequence[str], note: str) -> Iterator[RenderableType]:
    """Lay out what the user calls a run or a comparison; nothing without tags and a note."""
    if tags:
        yield Labelled("tags", Text(" ".join(tags)))
    if note:
        yield Labelled("note", Text(note))


def _margin(label: str) -> Segment:
    return piece(label.ljust(LABEL_WIDTH), TITLE)
