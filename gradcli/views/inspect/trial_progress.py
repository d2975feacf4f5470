"""How the trial of an advice goes on: a live line on a terminal, else a line per training."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.status import Status

from gradcli.notation import numbers
from gradcli.views.words import Text, write_line

if TYPE_CHECKING:
    from gradcli.inspection.advice_trial import TrialScore
    from gradcli.views.inspect.probe_progress import ProbeProgress

_SECONDS_BETWEEN_DRAWS = 0.1


class TrialProgress:
    """Shows which of the two trainings runs, and how far it is.

    Args:
        console: a terminal, on which one line is kept up to date, and cleared at the end.
        stream: takes a line when a training ends, if there is no such console. None for both
            shows nothing.
        after: what has shown the probes, and is cleared when a training begins.
    """

    def __init__(
        self,
        console: Console | None = None,
        stream: TextIO | None = None,
        after: ProbeProgress | None = None,
    ) -> None:
        self._console, self._stream, self._after = console, stream, after
        self._status: Status | None = None
        self._number = 0
        self._steps = 0
        self._label = ""
        self._last_draw = 0.0

    def __enter__(self) -> TrialProgress:
        return self

    @property
    def has_begun(self) -> bool:
        """Whether a training has begun."""
        return self._number > 0

    def begin(self, label: str, steps: int) -> None:
        """Show that a training of so many steps begins."""
        if self._after is not None:
            self._after.clear()
        self._number += 1
        self._label, self._steps = label, steps
        self._draw(f"{self._title()}: {numbers.count(steps, 'step')}")

    def step(self, step: int, loss: float) -> None:
        """Show how far it is, and the loss of its last batch."""
        now = time.monotonic()
        if now - self._last_draw < _SECONDS_BETWEEN_DRAWS:
            return
        self._last_draw = now
        self._draw(
            f"{self._title()}: step {numbers.count(step)} of {numbers.count(self._steps)}, "
            f"loss {numbers.score(loss)}"
        )

    def end(self, score: TrialScore) -> None:
        """Show what it has reached."""
        if self._stream is None:
            return
        if score.diverged_at is not None:
            result = f"diverged at step {numbers.count(score.diverged_at)}"
        else:
            result = (
                f"{numbers.count(score.steps, 'step')}, validation score "
                f"{numbers.score(score.score)}, loss {numbers.score(score.loss)}"
            )
        write_line(self._stream, f"{self._title()}: {result}")

    def _title(self) -> str:
        return f"training {self._number} of 2, {self._label}"

    def _draw(self, line: str) -> None:
        if self._console is None:
            return
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
