"""What all screens share: they look at what they show in a thread, and then draw it."""

from __future__ import annotations

from typing import Any

from textual.screen import Screen
from textual.widget import Widget

from gradcli.inspection.inspection import NormHistory
from gradcli.views.table import Line, Lines, piece
from gradcli.watch.heat_lines import OTHER_LINES, heat_lines


class WatchScreen(Screen[None]):
    """A screen that is looked after while it is in front."""

    def prepare(self) -> None:
        """Note what a look depends on, before it begins in its thread."""

    def look(self) -> bool:
        """Read what has changed of what is shown, in a thread; return whether anything has."""
        return False

    def show(self) -> None:
        """Draw what was read."""


class HeatMap(Widget):
    """The layers-by-time heat map of a run.

    Args:
        title: above the map; empty says what it shows.
    """

    def __init__(self, title: str = "", **widget: Any) -> None:
        super().__init__(**widget)
        self._title = title
        self._history: NormHistory | None = None
        self._names: tuple[str, ...] = ()

    def show(self, history: NormHistory | None, names: tuple[str, ...]) -> None:
        """Draw other norms in place of the last ones."""
        is_new = len(names) != len(self._names)
        self._history, self._names = history, names
        self.refresh(layout=is_new)

    def get_content_height(self, container: Any, viewport: Any, width: int) -> int:
        """Return the lines that all layers need."""
        return len(self._names) + OTHER_LINES

    def render(self) -> Lines:
        """Draw the map in the room that there is."""
        if self._history is None:
            nothing: Line = [piece("no step yet", "dim")]
            return Lines([nothing])
        size = self.size
        return Lines(heat_lines(self._history, self._names, size.width, size.height, self._title))
