"""What shows a comparison while it runs: one protocol.

The live table, the plain lines and the silent view follow it.
"""

from __future__ import annotations

from typing import Protocol

from gradcli.comparison.live import ComparisonProgress
from gradcli.comparison.results import ComparisonInfo, ComparisonSummary, TrialResult


class CompareView(Protocol):
    """Shows a comparison while it runs, on stderr. `comparison_closing` shows its result.

    The order of calls: `note` and `download` at any time; `start` once; then `progress` whenever
    there is news and `trial` for each trial that ends in this call of the comparison; `finish` if
    there is a summary; and `close` in any case.
    """

    def note(self, text: str) -> None:
        """Say something that the user must know, such as that a trial is retried."""

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Show the progress of a download; `total_bytes` is 0 if unknown."""

    def start(self, info: ComparisonInfo) -> None:
        """Show what is about to run, with the note on its data if there is one."""

    def progress(self, progress: ComparisonProgress) -> None:
        """Take in the progress. May be called many times a second."""

    def trial(self, trial: TrialResult) -> None:
        """Take in a trial that has ended."""

    def finish(self, summary: ComparisonSummary) -> None:
        """Show how the comparison ended."""

    def close(self) -> None:
        """Restore the terminal. May be called at any time, and more than once."""


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
