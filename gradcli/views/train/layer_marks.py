"""The mark next to a layer that looks wrong: a first hint, not the diagnosis.

Cheap rules on what a `RunState` holds. The diagnosis gives the verdict on a run at its end, with
evidence and advice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradcli.views.sparkline import NOT_FINITE
from gradcli.views.train.run_state import RunState

VANISHING_RATIO = 1e-3
"""A median norm below this fraction of the largest layer's is marked."""
LARGE_UPDATE_RATIO = 0.1
"""A step that moves a layer's weights by more than this fraction of their norm is marked."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A symbol, distinct from the others without colour, and its meaning."""

    symbol: str
    meaning: str
    style: str


NON_FINITE = Mark(NOT_FINITE, "not finite", "bold red")
NO_GRADIENT = Mark("0", "no gradient", "bold red")
VANISHING = Mark("↓", "tiny gradient", "yellow")
LARGE_UPDATE = Mark("↑", "big update", "yellow")
OFTEN_CLIPPED = Mark("≤", "mostly clipped", "yellow")

MARKS = (NON_FINITE, NO_GRADIENT, VANISHING, LARGE_UPDATE, OFTEN_CLIPPED)
"""All marks, the most severe first."""


def marks(run_state: RunState) -> list[Mark | None]:
    """Return the most severe mark of each layer; None if nothing looks wrong."""
    if run_state.before is None:
        return [None] * len(run_state.info.layers)
    with np.errstate(invalid="ignore"):  # the median of infinities
        median = np.median(run_state.norms.points(), axis=0)
    finite = median[np.isfinite(median)]
    limit = VANISHING_RATIO * finite.max() if finite.size else 0.0
    holds = {
        NON_FINITE: run_state.non_finite,
        NO_GRADIENT: run_state.before == 0,
        VANISHING: median < limit,
        LARGE_UPDATE: run_state.update_ratio > LARGE_UPDATE_RATIO,
        OFTEN_CLIPPED: run_state.clipped_fraction > 0.5,
    }
    return [
        next((mark for mark in MARKS if holds[mark][layer]), None)
        for layer in range(len(run_state.info.layers))
    ]
