"""The one owner of consoles: stdout carries the result, stderr the progress.

A stream is treated as a terminal only if it is one: a pipe gets no control codes, even if
`FORCE_COLOR` is set. Rich honours `NO_COLOR`. What a stream cannot encode is up to `ascii`.

Only the control codes of screens reach a stream, such as those that move the cursor; those in a
text are made visible, whatever drew it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text as RichText

from gradcli.notation.visible import LAYOUT, visible
from gradcli.system.naming import naming

if TYPE_CHECKING:
    from gradcli.views.compare.compare_view import CompareView
    from gradcli.views.find_lr.search_progress import SearchProgress
    from gradcli.views.inspect.probe_progress import ProbeProgress
    from gradcli.views.inspect.replay_progress import ReplayProgress
    from gradcli.views.inspect.trial_progress import TrialProgress
    from gradcli.views.train.train_view import TrainView


class _Console(Console):
    """A console that shows the control characters of texts instead of sending them.

    It leaves a closed pipe to its caller, like every other error of a stream.
    """

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` again, with which rich would end the process."""
        raise

    def render_str(self, text: str, **layout: Any) -> RichText:
        # Rich would leave some of them out.
        return super().render_str(visible(text, LAYOUT), **layout)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, LAYOUT), style, control)


def console_on(stream: TextIO) -> Console:
    """Return a console that writes to `stream`, and takes texts as they are: without markup."""
    terminal = stream.isatty()
    return _Console(
        file=stream, force_terminal=terminal, highlight=False, markup=False, emoji=False
    )


def show_result(renderable: RenderableType) -> None:
    """Print the result of a command on stdout, without cropping lines such as commands."""
    with naming("stdout"):
        console_on(sys.stdout).print(renderable, crop=False)


def show_message(renderable: RenderableType) -> None:
    """Print anything but the result, such as an error, on stderr."""
    with suppress(OSError):  # without stderr the exit code has to do
        console_on(sys.stderr).print(renderable, crop=False)


def can_draw_live(stream: TextIO) -> bool:
    """Whether a screen can be redrawn in place on `stream`."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
        and stream.encoding.lower().replace("-", "") == "utf8"
    )


def can_fill_screen() -> bool:
    """Whether this process has a terminal to itself: for its keys, its screen and its errors."""
    return sys.stdin.isatty() and can_draw_live(sys.stdout) and can_draw_live(sys.stderr)


def train_view(*, live: bool, quiet: bool) -> TrainView:
    """Return the view of a training: the live screen if it is wanted and possible."""
    # Views are imported when they are used: an error or a list must not wait for them.
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


def trial_progress(after: ProbeProgress, *, live: bool, quiet: bool) -> TrialProgress:
    """Return what shows the trial of an advice: a live line if it is wanted and possible.

    Args:
        after: the line of the probes, which come first.
        live: whether a live line is wanted.
        quiet: whether nothing is.
    """
    from gradcli.views.inspect.trial_progress import TrialProgress

    if quiet:
        return TrialProgress()
    if live and can_draw_live(sys.stderr):
        return TrialProgress(console_on(sys.stderr), after=after)
    return TrialProgress(stream=sys.stderr, after=after)


def replay_progress(*, live: bool, quiet: bool) -> ReplayProgress:
    """Return what shows how a step is made again: a live line if it is wanted and possible.

    Args:
        live: whether a live line is wanted.
        quiet: whether nothing is.
    """
    from gradcli.views.inspect.replay_progress import ReplayProgress

    if quiet:
        return ReplayProgress()
    if live and can_draw_live(sys.stderr):
        return ReplayProgress(console_on(sys.stderr))
    return ReplayProgress(stream=sys.stderr)


def search_progress(*, live: bool, quiet: bool) -> SearchProgress:
    """Return what shows the search for a learning rate: a live line if wanted and possible.

    Args:
        live: whether a live line is wanted.
        quiet: whether nothing is.
    """
    from gradcli.views.find_lr.search_progress import SearchProgress

    if quiet:
        return SearchProgress()
    if live and can_draw_live(sys.stderr):
        return SearchProgress(console_on(sys.stderr))
    return SearchProgress(stream=sys.stderr)


def compare_view(*, live: bool, quiet: bool) -> CompareView:
    """Return the view of a comparison: the live table if it is wanted and possible."""
    from gradcli.views.compare.compare_view import QuietCompareView
    from gradcli.views.compare.live_table import CompareLiveView
    from gradcli.views.compare.trial_lines import ComparePlainView

    if quiet:
        return QuietCompareView()
    if live and can_draw_live(sys.stderr):
        return CompareLiveView(console_on(sys.stderr))
    return ComparePlainView(sys.stderr)
