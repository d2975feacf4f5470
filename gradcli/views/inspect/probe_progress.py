"""A line on a terminal that says which probe runs, kept up to date in place."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.status import Status

from gradcli.views.words import Text


class ProbeProgress:
    """Shows the probe that runs, its number, and how many there are.

    It appears with the first probe, so that a download before it has the terminal to itself, and
    leaves nothing behind.

    Args:
        console: to draw on; None draws nothing.
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._status: Status | None = None

    def __enter__(self) -> ProbeProgress:
        return self

    def __call__(self, probe: str, number: int, total: int) -> None:
        """Show the next probe."""
        if self._console is None:
            return
        line = Text(f"probe {number} of {total}: {probe}")
        if self._status is None:
            self._status = self._console.status(line)
            self._status.start()
        else:
            self._status.update(line)

    def clear(self) -> None:
        """Clear the line."""
        if self._status is not None:
            self._status.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        self.clear()
