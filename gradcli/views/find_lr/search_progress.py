"""How a search for a learning rate goes on: how long it will take, and each rehearsal."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from gradcli.notation import numbers
from gradcli.views.line_progress import LineProgress

if TYPE_CHECKING:
    from gradcli.comparison.best_rate import RateSearch, Rehearsal

#: The rates that are rehearsed at least: the best one, and one on either side.
_RATES = 3


class SearchProgress(LineProgress):
    """Says after the first rehearsals how long the search will take, and shows each one.

    Args:
        console: a terminal, on which one line is kept up to date, and cleared at the end.
        stream: takes a line for each rehearsal, if there is no such console, and the estimate. None
            for both shows nothing.
    """

    def __init__(self, console: Console | None = None, stream: TextIO | None = None) -> None:
        super().__init__(console, stream)
        self._first_ended: float | None = None
        self._has_estimated = False
        self._steps_since = 0

    @property
    def has_begun(self) -> bool:
        """Whether a rehearsal has ended."""
        return self._first_ended is not None

    def rehearsed(self, search: RateSearch, rate: float, rehearsal: Rehearsal, loss: float) -> None:
        """Show what a rehearsal has reached."""
        self._estimate(search, rehearsal)
        result = "diverged" if math.isinf(loss) else f"loss {numbers.score(loss)}"
        line = (
            f"lr {rate:g}, seed {rehearsal.seed}, {numbers.count(rehearsal.steps, 'step')}: "
            f"{result}"
        )
        if self._console is not None:
            self._draw(line)
        else:
            self._say(line)

    def _estimate(self, search: RateSearch, rehearsal: Rehearsal) -> None:
        """Say how long the search will take, once a rehearsal after the first has been timed.

        The first one is slow: it loads what the others use.
        """
        if self._first_ended is None:
            self._first_ended = time.monotonic()
            return
        self._steps_since += rehearsal.steps
        if self._has_estimated:
            return
        self._has_estimated = True
        pace = (time.monotonic() - self._first_ended) / self._steps_since
        steps = _RATES * (search.scouting_steps + len(search.seeds) * search.steps)
        self._say(
            f"about {numbers.duration(pace * steps)}: {len(search.seeds)} seeds x {_RATES} "
            f"learning rates x {numbers.count(search.steps, 'step')}, after {_RATES} rates a "
            f"decade apart x {numbers.count(search.scouting_steps, 'step')}; more rates if the "
            "best is at an end",
        )
