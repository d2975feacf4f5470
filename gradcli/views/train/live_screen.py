"""The live screen of a training on a terminal: when it is drawn, and how it stays in place.

`training_screen` decides what is on it. Nothing here runs in a thread: the screen is drawn when
a record arrives and enough time has passed, so it never interrupts the training.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO, cast

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderHook,
    RenderResult,
)
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.segment import ControlType, Segment

from gradcli.notation import numbers
from gradcli.records import Record, RunInfo, TrainSummary
from gradcli.views.download_bar import download_bar
from gradcli.views.table import Line
from gradcli.views.train.run_state import RunState
from gradcli.views.train.train_view import TrainView
from gradcli.views.train.training_screen import screen
from gradcli.views.words import Text

SHORTEST_PAUSE_SECONDS = 0.1
PAUSE_PER_COST = 200
"""After a draw, nothing is drawn for this many times its cost. So drawing takes at most 0.5% of
the time. Taking in the records may take as much again: the screen may cost 1% in all."""


class LiveView(TrainView):
    """Keeps one screen up to date in place.

    Args:
        console: a console on a terminal.
        clock: returns seconds, and never goes backwards.
    """

    shows_notes = True

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self._picture = PictureInPlace(console)
        self._console = console
        self._clock = clock
        self._next_draw = 0.0
        self._began = 0.0
        self._run_state: RunState | None = None
        self._ended = ""

    def note(self, text: str) -> None:
        """Print the text above the screen, where it stays."""
        self._console.print(Text(text))

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Draw a progress bar for the file."""
        if done_bytes < total_bytes and self._clock() < self._next_draw:
            return
        width = self._console.width - 1
        self._draw(lambda: [download_bar(done_bytes, total_bytes, name, width)])

    def begin(self, info: RunInfo, path: str, settings: Mapping[str, Any]) -> None:
        """Draw the screen at once: the layers, without numbers."""
        if info.data.note:
            self.note(info.data.note)
        self._run_state = RunState(info)
        self._began = self._clock()
        self._draw_screen(self._run_state)

    def record(self, record: Record) -> None:
        """Take in the record; draw if the pause after the last draw is over."""
        if self._run_state is None:
            return
        self._run_state.add(record)
        if self._clock() >= self._next_draw:
            self._draw_screen(self._run_state)

    def finish(self, summary: TrainSummary) -> None:
        """Draw the final state, which stays on the terminal above the result."""
        self._ended = f"{summary.status} in {numbers.duration(summary.seconds_total)}"
        if self._run_state is not None:
            self._draw_screen(self._run_state)

    def close(self) -> None:
        """Leave the screen as it was last drawn, and restore the terminal."""
        self._picture.close()

    def _draw_screen(self, run_state: RunState) -> None:
        # The last column stays empty: terminals disagree on what happens after a full line.
        width, height = self._console.width - 1, self._console.height - 1
        self._draw(lambda: screen(run_state, self._clock_text(run_state), width, height))

    def _draw(self, lines: Callable[[], list[Line]]) -> None:
        """Draw, and delay the next draw in proportion to the cost of this one.

        Measured at 140 columns on one slow core, layout and output together: 1 ms for
        6 layers, 3 ms for 40. Records take less than 5 µs per step.
        """
        begin = self._clock()
        self._picture.show(lines())
        end = self._clock()
        self._next_draw = end + max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_COST * (end - begin))

    def _clock_text(self, run_state: RunState) -> str:
        """Return how the run ended; before that, the time left at the pace of this process."""
        if self._ended:
            return self._ended
        steps = run_state.step - run_state.info.start_step
        if not steps:
            return ""
        seconds_per_step = (self._clock() - self._began) / steps
        steps_left = run_state.info.total_steps - run_state.step
        return f"{numbers.duration(seconds_per_step * steps_left)} left"


class PictureInPlace(RenderHook):
    """Lines at the bottom of a terminal's output that the next ones overwrite.

    Rich's `Live` erases every line before it draws it again, which flickers, and it loses its
    place when the terminal becomes narrower. Here lines are overwritten, only what remains of a
    longer one is erased, and moving back up counts the rows into which a narrower terminal has
    wrapped the lines. Anything printed meanwhile appears above the picture. The cursor rests
    at the start of the last row: at its end, the ^C that a terminal echoes would begin a new row.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: list[Line] = []
        self._drawn_widths: list[int] = []
        self._streams = sys.stdout, sys.stderr
        self._open = False

    def show(self, lines: list[Line]) -> None:
        """Replace the last lines by these."""
        if not self._open:
            self._begin()
        self._lines = lines
        self._console.print(Control(), crop=False)

    def close(self) -> None:
        """Leave the lines where they are and move the cursor below them. Safe to call again."""
        if not self._open:
            return
        self._open = False
        with suppress(OSError):
            sys.stdout.flush()  # what was printed without an end of line
            sys.stderr.flush()
        sys.stdout, sys.stderr = self._streams
        self._console.pop_render_hook()
        with suppress(OSError):  # a terminal that is gone needs no restoring
            self._console.line()
            self._console.show_cursor(True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap what the console is about to print (rich calls this) in a redraw."""
        others = [item for item in renderables if not isinstance(item, Control)]
        top = self._to_top()
        self._drawn_widths = [Segment.get_line_length(line) for line in self._lines]
        return [_Overwrite(top, others, self._lines)]

    def _begin(self) -> None:
        self._open = True
        self._console.show_cursor(False)
        self._console.push_render_hook(self)
        self._streams = sys.stdout, sys.stderr
        # stdout carries the result: if it goes to a file, it must not end up on the screen.
        if sys.stdout.isatty():
            sys.stdout = cast("TextIO", FileProxy(self._console, sys.stdout))
        if sys.stderr.isatty():
            sys.stderr = cast("TextIO", FileProxy(self._console, sys.stderr))

    def _to_top(self) -> Control:
        width = self._console.width
        rows = sum(max(-(-length // width), 1) for length in self._drawn_widths)
        if rows <= 1:
            return Control(ControlType.CARRIAGE_RETURN)
        return Control(ControlType.CARRIAGE_RETURN, (ControlType.CURSOR_UP, rows - 1))


ERASE_LINE_REST = Segment("\x1b[K", None, [(ControlType.ERASE_IN_LINE, 0)])
ERASE_SCREEN_REST = Segment("\x1b[J", None, [(ControlType.CLEAR,)])
TO_LINE_START = Segment("\r", None, [(ControlType.CARRIAGE_RETURN,)])


class _Overwrite:
    """Goes to the top of the picture, prints what belongs above it, and draws it again."""

    def __init__(self, top: Control, above: list[ConsoleRenderable], lines: list[Line]) -> None:
        self._top = top
        self._above = above
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._top
        if self._above:
            yield ERASE_SCREEN_REST
            yield from self._above
        for row, line in enumerate(self._lines):
            if row:
                yield Segment.line()
            yield from line
            yield ERASE_LINE_REST
        yield ERASE_SCREEN_REST
        yield TO_LINE_START
