"""The view of a running training: a recorder that can also show a download."""

from __future__ import annotations

from gradcli.records import Recorder


class TrainView(Recorder):
    """Shows a training on stderr while it runs; `closing_screen` shows the result.

    The live screen, the plain lines and the silent view derive from it.
    """

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Show the progress of a download, before `begin`; `total_bytes` is 0 if unknown."""


class QuietView(TrainView):
    """Shows nothing."""
