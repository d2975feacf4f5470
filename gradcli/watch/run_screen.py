"""One run: its charts, its layers over time, its findings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Footer, OptionList, Static
from textual.worker import get_current_worker

from gradcli.errors import UserError
from gradcli.views.words import Text
from gradcli.watch.chart_lines import QUANTITIES, chart_of
from gradcli.watch.chart_panel import ChartPanel
from gradcli.watch.finding_list import FindingList, FindingScreen
from gradcli.watch.run_course import RunCourse
from gradcli.watch.watch_screen import HeatMap, WatchScreen
from gradcli.watch.watch_sentences import (
    heading_lines,
    news_of,
    try_command,
    without_findings,
)
from gradcli.watch.watched_findings import Examined, examine


class RunScreen(WatchScreen):
    """A run, live or finished.

    Args:
        path: the run directory.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "finding in full", show=False),
        Binding("tab", "app.focus_next", "next chart"),
        Binding("escape", "app.leave", "back"),
    ]
    DEFAULT_CSS = """
    RunScreen #heading { height: auto; padding: 0 1; }
    RunScreen #charts { height: 2fr; min-height: 7; padding: 0 1; }
    RunScreen HeatMap { height: auto; max-height: 40%; padding: 0 1; }
    RunScreen #title { height: 1; padding: 0 1; }
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.course = RunCourse(path)
        self.examined: Examined | None = None
        self._problem = ""
        self._is_examining = False
        self._next_examination = 0.0
        self._damaged: list[range] | None = None

    def compose(self) -> ComposeResult:
        """Lay out the heading, the charts, the heat map, the findings and the keys."""
        yield Static(id="heading")
        with Horizontal(id="charts"):
            for quantity in QUANTITIES:
                yield ChartPanel(quantity)
        yield HeatMap()
        yield Static(Text("findings", "dim"), id="title")
        yield FindingList()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show what there is at once."""
        self.course.look()
        self.show()
        self.query_one(FindingList).focus()

    def on_resize(self) -> None:
        """Say as much of the run as there is room for."""
        self._show_heading()

    def look(self) -> bool:
        """Read what has changed of the run."""
        if self._damaged is not None:
            self.course.leave_out(self._damaged)
            self._damaged = None
        status, resumed, was_known = self.course.status, self.course.resumed, self.course.run
        changed = self.course.look()
        if was_known is not None and (news := news_of(self.course, status, resumed)):
            self.app.call_from_thread(self.notify, news, markup=False)
            self._next_examination = 0.0
        self._examine_if_due()
        return changed

    def show(self) -> None:
        """Draw the run as it was read."""
        self._show_heading()
        for panel in self.query(ChartPanel):
            panel.show(chart_of(self.course, panel.quantity))
        layers = self.course.info.layers if self.course.info else ()
        self.query_one(HeatMap).show(
            self.course.norms(), tuple(layer.name or layer.kind for layer in layers)
        )
        self._show_findings()

    def _show_heading(self) -> None:
        first, *rest = heading_lines(self.course, max(self.app.size.width - 2, 20))
        text = Text(first, "bold", no_wrap=True)
        for line in rest:
            text.append(f"\n{line}")
        self.query_one("#heading", Static).update(text)

    def _show_findings(self) -> None:
        examined = self.examined or Examined()
        nothing = self._problem or without_findings(self.course, self.examined is not None)
        self.query_one(FindingList).show(examined.findings, examined.notes, nothing)

    def _examine_if_due(self) -> None:
        """Begin to judge the run, unless that was done of these steps, or not long ago."""
        is_known = self.examined is not None and self.examined.step == self.course.step
        is_news = self._next_examination == 0.0
        if self._is_examining or not self.course.step or (is_known and not is_news):
            return
        if time.monotonic() < self._next_examination:
            return
        self._is_examining = True
        self.app.call_from_thread(self.run_worker, self._examine, thread=True, group="examine")

    def _examine(self) -> None:
        examined, problem = None, ""
        try:
            examined = examine(self.course.path)
        except UserError as error:
            problem = error.problem
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_examined, examined, problem)

    def _take_examined(self, examined: Examined | None, problem: str) -> None:
        self._is_examining, self._problem = False, problem
        self.examined = examined or self.examined
        pause = (examined or Examined()).pause_seconds
        self._next_examination = time.monotonic() + pause
        if examined is not None and examined.damaged:
            self._damaged = examined.damaged
        self._show_findings()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open the finding that was chosen."""
        if event.option_id is not None:
            finding = self.query_one(FindingList).findings[int(event.option_id)]
            self.app.push_screen(FindingScreen(finding, try_command(self.course, finding)))

    def action_open(self) -> None:
        """Open the finding that is highlighted, wherever the focus is."""
        self.query_one(FindingList).action_select()
