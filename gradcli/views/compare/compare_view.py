"""What the command line asks of the view of a comparison that runs.

One protocol; the live table, the plain lines and the view that draws nothing meet it.
"""

from __future__ import annotations

from typing import Protocol

from gradcli.comparison.results import (
    ComparisonInfo,
    ComparisonProgress,
    ComparisonSummary,
    TrialResult,
)


class CompareView(Protocol):
    """Shows a comparison while it runs, on stderr. The result is for `compare_ending` to show.

    The order of calls is `note` and `download` at any time, `start` once, then `progress` as
    often as there is news and `trial` for each trial that this call of the comparison ends,
    `finish` where there is a summary, and `close` in any case.
    """

    def note(self, text: str) -> None:
        """Say something that the user must know, such as that a trial is tried again."""

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Show how far a download is; `total_bytes` is 0 where it is not known."""

    def start(self, info: ComparisonInfo) -> None:
        """Show what is about to run, with the note on its data where there is one."""

    def progress(self, progress: ComparisonProgress) -> None:
        """Take in how far the comparison is now. May be called many times a second."""

    def trial(self, trial: TrialResult) -> None:
        """Take in a trial that has ended."""

    def finish(self, summary: ComparisonSummary) -> None:
        """Show that the comparison has ended, and how."""

    def close(self) -> None:
        """Give the terminal back as it was. May be called at any time, and again."""


class QuietCompareView:
    """Draws nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Show nothing."""

    def start(self, info: ComparisonInfo) -> None:
        """Show nothing."""

    def progress(self, progress: ComparisonProgress) -> None:
        """Show nothing."""

    def trial(self, trial: TrialResult) -> None:
        """Show nothing."""

    def finish(self, summary: ComparisonSummary) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing was changed."""
