"""What the command line asks of the view of a running training.

One protocol; the live screen, the plain lines and the view that draws nothing meet it.
"""

from __future__ import annotations

from typing import Protocol

from gradcli.records import Record, RunInfo, TrainSummary


class TrainView(Protocol):
    """Shows a training while it runs, on stderr. The result is for `closing_screen` to show.

    The order of calls is `note` and `download` at any time, `start` once, `record` for each
    record, `finish` where there is a summary, and `close` in any case.
    """

    def note(self, text: str) -> None:
        """Say something that the user must know, such as which data stand in for others."""

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Show how far a download is; `total_bytes` is 0 where it is not known."""

    def start(self, info: RunInfo) -> None:
        """Show what is about to run, with the note on its data where there is one."""

    def record(self, record: Record) -> None:
        """Take in the next record of the run."""

    def finish(self, summary: TrainSummary) -> None:
        """Show that the run has ended, and how."""

    def close(self) -> None:
        """Give the terminal back as it was. May be called at any time, and again."""


class QuietView:
    """Draws nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Show nothing."""

    def start(self, info: RunInfo) -> None:
        """Show nothing."""

    def record(self, record: Record) -> None:
        """Show nothing."""

    def finish(self, summary: TrainSummary) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing was changed."""
