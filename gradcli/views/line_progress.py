"""Progress on one line of a terminal, which is cleared at the end; elsewhere in plain lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from gradcli.views.words import Text, write_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

SECONDS_BETWEEN_DRAWS = 0.1


class LineProgress:
    """Keeps one line up to date while the context lasts.

    Args:
        console: a terminal, on which the line is drawn.
        stream: takes plain lines, if there is no such console. None for both shows nothing.
    """

    def __init__(self, console: Console | None = None, stream: TextIO | None = None) -> None:
        self._console, self._stream = console, stream
        self._status: Status | None = None
        self._last_draw = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        if self._status is not None:
            self._status.stop()

    def _draw(self, line: str) -> None:
        """Replace the line, if there is a terminal."""
        if self._console is None:
            return
        self._last_draw = time.monotonic()
        if self._status is None:
            self._status = self._console.status(Text(line))
            self._status.start()
        else:
            self._status.update(Text(line))

    def _draw_if_due(self, line: str) -> None:
        """Replace the line, unless that was done a moment ago: steps may be many."""
        if time.monotonic() - self._last_draw >= SECONDS_BETWEEN_DRAWS:
            self._draw(line)

    def _say(self, line: str) -> None:
        """Write a line that stays."""
        if self._console is not None:
            self._console.print(Text(line))
        elif self._stream is not None:
            write_line(self._stream, line)
