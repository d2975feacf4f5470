"""The live table of a comparison on a terminal: when it is drawn.

`comparison_screen` lays it out, and `live_screen` keeps it in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from gradcli.comparison.live import ComparisonProgress
from gradcli.comparison.results import ComparisonInfo, ComparisonSummary, TrialResult
from gradcli.notation import numbers
from gradcli.views.compare.arm_phrases import describe_failure
from gradcli.views.compare.comparison_screen import comparison_screen
from gradcli.views.download_bar import download_bar
from gradcli.views.table import Line
from gradcli.views.train.live_screen import PAUSE_PER_COST, SHORTEST_PAUSE_SECONDS, PictureInPlace
from gradcli.views.words import Text


class CompareLiveView:
    """A `CompareView` that keeps one table up to date in place.

    Args:
        console: a console on a terminal.
        clock: returns seconds, and never goes backwards.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self._picture = PictureInPlace(console)
        self._console = console
        self._clock = clock
        self._next_draw = 0.0
        self._info: ComparisonInfo | None = None
        self._progress: ComparisonProgress | None = None

    def note(self, text: str) -> None:
        """Print the text above the table; it stays there."""
        self._console.print(Text(text))

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Draw a progress bar for the file."""
        if done_bytes < total_bytes and self._clock() < self._next_draw:
            return
        width = self._console.width - 1
        self._draw(lambda: [download_bar(done_bytes, total_bytes, name, width)])

    def start(self, info: ComparisonInfo) -> None:
        """Draw the heading at once."""
        if info.data.note:
            self.note(info.data.note)
        self._info = info
        self._draw_table(info)

    def progress(self, progress: ComparisonProgress) -> None:
        """Take in the progress; draw if the pause after the last draw is over."""
        self._progress = progress
        if self._info is not None and self._clock() >= self._next_draw:
            self._draw_table(self._info)

    def trial(self, trial: TrialResult) -> None:
        """Print why a trial failed; the table shows the others."""
        if trial.status == "failed":
            self.note(describe_failure(trial))

    def finish(self, summary: ComparisonSummary) -> None:
        """Draw the last state; it stays above what is printed next."""
        if self._info is not None:
            ended = f"{summary.status} in {numbers.duration(summary.seconds)}"
            self._draw_table(self._info, ended)

    def close(self) -> None:
        """Leave the table as last drawn and restore the terminal."""
        self._picture.close()

    def _draw_table(self, info: ComparisonInfo, ended: str = "") -> None:
        # The last column stays empty: terminals differ in what they do after a full line.
        width, height = self._console.width - 1, self._console.height - 1
        self._draw(lambda: comparison_screen(info, self._progress, ended, width, height))

    def _draw(self, lines: Callable[[], list[Line]]) -> None:
        """Draw; the next draw waits in proportion to the cost of this one."""
        begin = self._clock()
        self._picture.show(lines())
        end = self._clock()
        self._next_draw = end + max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_COST * (end - begin))
