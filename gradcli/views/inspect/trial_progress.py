"""How the trial of an advice goes on: a live line on a terminal, else a line per training."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from gradcli.notation import numbers
from gradcli.views.line_progress import LineProgress
from gradcli.views.words import write_line

if TYPE_CHECKING:
    from gradcli.inspection.advice_trial import TrialScore
    from gradcli.views.inspect.probe_progress import ProbeProgress


class TrialProgress(LineProgress):
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
        super().__init__(console, stream)
        self._after = after
        self._number = 0
        self._steps = 0
        self._label = ""

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
        self._draw_if_due(
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
