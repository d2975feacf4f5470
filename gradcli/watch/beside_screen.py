"""Several runs side by side: their charts in one, what differs, and their layers over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Static

from gradcli.views.table import STRONG, TITLE, Column, Line, Lines, fitting, shorten, table
from gradcli.views.words import Text
from gradcli.watch.chart_lines import QUANTITIES, charts_beside
from gradcli.watch.chart_panel import ChartPanel
from gradcli.watch.open_watch import LETTERS
from gradcli.watch.run_course import RunCourse
from gradcli.watch.run_rows import short_name
from gradcli.watch.watch_screen import HeatMap, WatchScreen
from gradcli.watch.watch_sentences import (
    differing_settings,
    news_of,
    numbers_beside,
)


class BesideScreen(WatchScreen):
    """Two to six runs, each with a letter.

    Args:
        paths: the run directories.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "next chart"),
        Binding("escape", "app.leave", "back"),
    ]
    DEFAULT_CSS = """
    BesideScreen #heading { height: 1; padding: 0 1; }
    BesideScreen #charts { height: 2fr; min-height: 10; padding: 0 1; }
    BesideScreen VerticalScroll { height: 3fr; padding: 0 1; }
    BesideScreen #table { height: auto; margin-bottom: 1; }
    BesideScreen HeatMap { height: auto; margin-bottom: 1; }
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self.courses = [RunCourse(path) for path in paths[: len(LETTERS)]]

    def compose(self) -> ComposeResult:
        """Lay out the charts, the table, the heat maps and the keys."""
        yield Static(id="heading")
        with Horizontal(id="charts"):
            for quantity in QUANTITIES:
                yield ChartPanel(quantity)
        with VerticalScroll():
            yield Static(id="table")
            for letter, course in zip(LETTERS, self.courses, strict=False):
                title = f"{letter} {short_name(course.name)}: gradient norm before clipping"
                yield HeatMap(title, id=f"map-{letter}")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show what there is at once."""
        for course in self.courses:
            course.look()
        self.show()
        self.query_one(VerticalScroll).focus()

    def on_resize(self) -> None:
        """Lay the table out anew."""
        self._show_table()

    def look(self) -> bool:
        """Read what has changed of the runs."""
        changed = False
        for course in self.courses:
            status, resumed, was_known = course.status, course.resumed, course.run
            changed |= course.look()
            if was_known is not None and (news := news_of(course, status, resumed)):
                self.app.call_from_thread(self.notify, news, markup=False)
        return changed

    def show(self) -> None:
        """Draw the runs as they were read."""
        pairs = list(zip(LETTERS, self.courses, strict=False))
        names = "  ".join(f"{letter} {short_name(one.name)}" for letter, one in pairs)
        self.query_one("#heading", Static).update(Text(names, "bold", no_wrap=True))
        for panel in self.query(ChartPanel):
            panel.show(charts_beside(self.courses, LETTERS, panel.quantity))
        for letter, one in pairs:
            layers = one.info.layers if one.info else ()
            shown = tuple(layer.name or layer.kind for layer in layers)
            self.query_one(f"#map-{letter}", HeatMap).show(one.norms(), shown)
        self._show_table()

    def _show_table(self) -> None:
        width = max(self.app.size.width - 4, 20)
        self.query_one("#table", Static).update(Lines(table_lines(self.courses, width)))


def table_lines(courses: Sequence[RunCourse], width: int) -> list[Line]:
    """Lay out the numbers of runs and the settings in which they differ, a column each."""
    rows = [*numbers_beside(courses), *differing_settings(courses)]
    labels = [shorten(name, 24) for name, _ in rows]
    room = max((width - max(map(len, labels))) // len(courses) - 2, 8)
    columns = [Column("", labels, styles=TITLE)]
    for at, letter in zip(range(len(courses)), LETTERS, strict=False):
        cells = [shorten(values[at], room) for _, values in rows]
        columns.append(Column(letter, cells, styles=STRONG))
    return table(fitting(columns, width), width)
