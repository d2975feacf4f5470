"""How a step of a run is made again: how long it will take, and how far it is."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.status import Status

from gradcli.notation import numbers
from gradcli.views.words import Text, write_line

_SECONDS_BETWEEN_DRAWS = 0.1


class ReplayProgress:
    """Says beforehand how long the steps will take, then shows each stage.

    Args:
        console: a terminal, on which one line is kept up to date, and cleared at the end.
        stream: takes the line that is said beforehand, if there is no such console. None for both
            shows nothing.
    """

    def __init__(self, console: Console | None = None, stream: TextIO | None = None) -> None:
        self._console, self._stream = console, stream
        self._status: Status | None = None
        self._first = self._last = 0
        self._last_draw = 0.0

    def __enter__(self) -> ReplayProgress:
        return self

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
        if self._console is not None:
            self._console.print(Text(line))
            self._draw(line)
        elif self._stream is not None:
            write_line(self._stream, line)

    def step(self, step: int, loss: float) -> None:
        """Show how far the steps are, and the loss of the last batch."""
        said = "" if math.isnan(loss) else f", loss {numbers.score(loss)}"
        self._draw(f"step {numbers.count(step)} of {numbers.count(self._last)}{said}")

    def example(self, number: int, count: int) -> None:
        """Show how many examples have been differentiated."""
        self._draw(f"example {numbers.count(number)} of {numbers.count(count)}")

    def _draw(self, line: str) -> None:
        now = time.monotonic()
        if self._console is None or now - self._last_draw < _SECONDS_BETWEEN_DRAWS:
            return
        self._last_draw = now
        if self._status is None:
            self._status = self._console.status(Text(line))
            self._status.start()
        else:
            self._status.update(Text(line))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        if self._status is not None:
            self._status.stop()
