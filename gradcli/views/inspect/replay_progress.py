"""How a step of a run is made again: how long it will take, and how far it is."""

from __future__ import annotations

import math
from typing import TextIO

from rich.console import Console

from gradcli.notation import numbers
from gradcli.views.line_progress import LineProgress


class ReplayProgress(LineProgress):
    """Says beforehand how long the steps will take, then shows each stage.

    Args:
        console: a terminal, on which one line is kept up to date, and cleared at the end.
        stream: takes the line that is said beforehand, if there is no such console. None for both
            shows nothing.
    """

    def __init__(self, console: Console | None = None, stream: TextIO | None = None) -> None:
        super().__init__(console, stream)
        self._first = self._last = 0

    def begin(self, first: int, last: int, pace: float) -> None:
        """Say which steps are made again.

        Args:
            first: the step of the checkpoint; 0 for the start of the run.
            last: the inspected step.
            pace: the run's own, in steps per second; NaN if it is not known.
        """
        self._first, self._last = first, last
        steps = last - first
        origin = f"the checkpoint of step {numbers.count(first)}" if first else "the run's start"
        seconds = numbers.duration(steps / pace) if pace > 0 else ""
        time_it_takes = f": about {seconds}, at the run's own pace" if seconds else ""
        line = f"making {numbers.count(steps, 'step')} again from {origin}{time_it_takes}"
        self._say(line)
        self._draw(line)

    def step(self, step: int, loss: float) -> None:
        """Show how far the steps are, and the loss of the last batch."""
        said = "" if math.isnan(loss) else f", loss {numbers.score(loss)}"
        self._draw_if_due(f"step {numbers.count(step)} of {numbers.count(self._last)}{said}")

    def example(self, number: int, count: int) -> None:
        """Show how many examples have been differentiated."""
        self._draw_if_due(f"example {numbers.count(number)} of {numbers.count(count)}")
