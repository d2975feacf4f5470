"""The application: which screen is in front, and how often it looks at what it shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.containers import VerticalScroll
from textual.filter import LineFilter
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import get_current_worker

from gradcli.runs.watching.looking import WatchedComparison, look_at
from gradcli.views.labelled import Labelled
from gradcli.views.words import Text
from gradcli.watch.beside_screen import BesideScreen
from gradcli.watch.run_screen import RunScreen
from gradcli.watch.runs_screen import RunsScreen
from gradcli.watch.watch_screen import WatchScreen
from gradcli.watch.watch_sentences import HELP

LOOK_EVERY_SECONDS = 1.0
#: After a drawing, nothing is read for this many times what it took: 5% of the time at most.
PAUSE_PER_COST = 20.0
LONGEST_PAUSE_SECONDS = 5.0
DARK, LIGHT = "textual-dark", "textual-light"


class HelpScreen(ModalScreen[None]):
    """All keys, by the screen that they are for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close")
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll {
        width: 76; max-width: 96%; height: auto; max-height: 96%;
        border: round $primary; padding: 0 1; background: $surface;
    }
    HelpScreen Static { height: auto; }
    """

    def compose(self) -> ComposeResult:
        """Lay the keys out."""
        with VerticalScroll() as keys:
            keys.border_title = "keys (escape closes)"
            for title, rows in HELP:
                yield Static(Text(title, "bold"))
                for key, meaning in rows:
                    yield Static(Labelled(f"  {key}", Text(meaning), 19, "bold"))


class _WithoutEmpty(LineFilter):
    """Drops pieces without text: those of an empty plot have no style, and NO_COLOR needs one."""

    def apply(self, segments: list[Any], background: Color) -> list[Any]:
        """Return the pieces that have a text."""
        return [one for one in segments if one.text]


class WatchApp(App[None]):
    """Runs in a terminal.

    Args:
        runs_dir: where runs are.
        targets: the directories to show at once: a run, a comparison, or runs side by side.
        every: how often to look, in seconds.
    """

    TITLE = "gradcli watch"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("t", "turn_light", "light or dark", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(
        self,
        runs_dir: Path,
        targets: Sequence[Path] = (),
        *,
        every: float = LOOK_EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._runs_dir, self._targets, self._every = runs_dir, targets, every
        self._is_looking = False
        self._next_look = 0.0

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every line passes through before it is drawn."""
        return [_WithoutEmpty(), *super().get_line_filters()]

    def on_mount(self) -> None:
        """Show the table, and what was asked for in front of it."""
        self.push_screen(RunsScreen(self._runs_dir))
        if len(self._targets) > 1:
            self.push_screen(BesideScreen(self._targets))
        for target in self._targets if len(self._targets) == 1 else ():
            found = look_at(target)
            if isinstance(found, WatchedComparison):
                self.push_screen(RunsScreen(target / "trials", found))
            else:
                self.push_screen(RunScreen(target))
        self.set_interval(self._every, self.look)

    def look(self) -> None:
        """Let the screen in front look at what it shows, unless it still does."""
        screen = self.screen
        if time.monotonic() < self._next_look:
            return
        if isinstance(screen, WatchScreen) and not self._is_looking:
            self._is_looking = True
            screen.prepare()
            self.run_worker(lambda: self._look(screen), thread=True, group="look")

    def _look(self, screen: WatchScreen) -> None:
        try:
            if screen.look() and self.is_running and not get_current_worker().is_cancelled:
                self.call_from_thread(self._show, screen)
        finally:
            self._is_looking = False

    def _show(self, screen: WatchScreen) -> None:
        if self.is_running and screen.is_attached:
            begin = time.monotonic()
            screen.show()
            self.call_after_refresh(self._pause_after, begin)

    def _pause_after(self, begin: float) -> None:
        """Let the next look wait in proportion to what the drawing took."""
        now = time.monotonic()
        self._next_look = now + min(PAUSE_PER_COST * (now - begin), LONGEST_PAUSE_SECONDS)

    def action_leave(self) -> None:
        """Go back to the screen before."""
        if len(self.screen_stack) > 2:  # the first is Textual's own
            self.pop_screen()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(HelpScreen())

    def action_turn_light(self) -> None:
        """Change between light and dark."""
        _turn_light(self)
        if isinstance(self.screen, WatchScreen):
            self.screen.show()


def _turn_light(app: App[None]) -> None:
    app.theme = DARK if app.theme == LIGHT else LIGHT
