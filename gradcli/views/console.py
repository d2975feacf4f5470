"""The one owner of consoles: stdout carries the result, stderr the progress.

A stream is treated as a terminal exactly where it is one: in a pipe there are no control
codes, whatever `FORCE_COLOR` says. `NO_COLOR` is honoured by rich.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from gradcli.views.compare.compare_view import CompareView
    from gradcli.views.inspect.probe_progress import ProbeProgress
    from gradcli.views.train.train_view import TrainView


def console_on(stream: TextIO) -> Console:
    """Return a console that writes to `stream`."""
    return Console(file=stream, force_terminal=stream.isatty(), highlight=False)


def show_result(renderable: RenderableType) -> None:
    """Print a command's result on stdout. Lines that must stay whole, such as commands, do."""
    console_on(sys.stdout).print(renderable, crop=False)


def show_message(renderable: RenderableType) -> None:
    """Print what is not the result, such as an error, on stderr."""
    console_on(sys.stderr).print(renderable, crop=False)


def can_draw_live(stream: TextIO) -> bool:
    """Say whether a screen can be kept up to date in place on `stream`."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
        and stream.encoding.lower().replace("-", "") == "utf8"
    )


def train_view(*, live: bool, quiet: bool) -> TrainView:
    """Return the view of a training: the live screen only where it is wanted and possible."""
    # Views are imported on use: an error, a list or the other command's view must not wait.
    from gradcli.views.train.epoch_lines import PlainView
    from gradcli.views.train.live_screen import LiveView
    from gradcli.views.train.train_view import QuietView

    if quiet:
        return QuietView()
    if live and can_draw_live(sys.stderr):
        return LiveView(console_on(sys.stderr))
    return PlainView(sys.stderr)


def probe_progress(*, live: bool) -> ProbeProgress:
    """Return what shows which probe runs: a live line if it is wanted and possible."""
    from gradcli.views.inspect.probe_progress import ProbeProgress

    return ProbeProgress(console_on(sys.stderr) if live and can_draw_live(sys.stderr) else None)


def compare_view(*, live: bool, quiet: bool) -> CompareView:
    """Return the view of a comparison: the live table only where it is wanted and possible."""
    from gradcli.views.compare.compare_view import QuietCompareView
    from gradcli.views.compare.live_table import CompareLiveView
    from gradcli.views.compare.trial_lines import ComparePlainView

    if quiet:
        return QuietCompareView()
    if live and can_draw_live(sys.stderr):
        return CompareLiveView(console_on(sys.stderr))
    return ComparePlainView(sys.stderr)
