"""Accuracy over a grid of learning rates as a strip of blocks, one per learning rate.

The strips of all arms share one scale, so that a block means the same in every row. Blocks differ
in shape alone, never in colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradcli.comparison.results import GridCell, TrialStatus
from gradcli.notation import numbers
from gradcli.records import Doubles
from gradcli.views.sparkline import LEVELS, sparklines

#: The symbol of a learning rate without an accuracy (so far).
SYMBOLS: dict[TrialStatus, str] = {
    "diverged": "\N{MULTIPLICATION SIGN}",
    "failed": "!",
    "stopped": "-",
    "running": "…",
    "waiting": "·",
}

_LEAST_ERROR = 1e-4
"""One example in 10,000: lower error rates are drawn alike."""
LEAST_SPAN = 1.5
"""Error rates closer than this ratio look alike: they differ by the noise of a seed."""
GREATEST_SPAN = 4.0
"""An error rate of more times the lowest one has failed: it gets the shortest block."""


@dataclass(frozen=True, slots=True)
class Strips:
    """The strips of several grids, and what their shortest and tallest blocks mean."""

    texts: tuple[str, ...]
    low: float
    """The accuracy of the shortest block, NaN if there is none; `cut` ones are below it."""
    high: float
    cut: bool
    """Whether any accuracy is below `low`."""

    def legend(self) -> list[tuple[str, str]]:
        """Return the symbols that occur, each with its meaning."""
        used = "".join(self.texts)
        least = numbers.score(self.low) + " or less" * self.cut
        scale = [(LEVELS[0], least), (LEVELS[-1], numbers.score(self.high))]
        known = [] if math.isnan(self.low) else scale
        return known + [(symbol, status) for status, symbol in SYMBOLS.items() if symbol in used]


def heat_strips(grids: Sequence[Sequence[GridCell]]) -> Strips:
    """Draw grids of learning rates, rising, one character each.

    A block's height is the logarithm of the error rate, since 0.97 and 0.98 differ by more
    than 0.52 and 0.53 do. Learning rates that failed, with more than `GREATEST_SPAN` times the
    lowest error rate, share the shortest block, and the others share the heights above it: one
    that failed does not flatten the rest.
    """
    cells = [cell for grid in grids for cell in grid]
    scores = np.array([cell.val_accuracy for cell in cells if is_scored(cell)])
    errors = np.maximum(1 - scores, _LEAST_ERROR)
    ceiling = _ceiling(errors)
    quality = 1 / np.minimum(errors, ceiling)
    (blocks,) = sparklines(quality[:, np.newaxis], len(scores), log=True, least_span=LEAST_SPAN)
    drawn = iter(blocks)
    texts = tuple(
        "".join(next(drawn) if is_scored(cell) else SYMBOLS[cell.status] for cell in grid)
        for grid in grids
    )
    if not len(scores):
        return Strips(texts, math.nan, math.nan, False)
    cut = bool(errors.max() > ceiling)
    low = 1 - ceiling if cut else scores.min()
    return Strips(texts, float(low), float(scores.max()), cut)


def _ceiling(errors: Doubles) -> float:
    """Return the error rate that has the shortest block, with all above it."""
    best = float(np.min(errors, initial=np.inf))
    kept = errors[errors <= GREATEST_SPAN * best]
    if len(kept) == len(errors):
        return GREATEST_SPAN * best
    # The worst of those that are kept has the second block from below.
    share = (1 - 1 / len(LEVELS)) * 0.999
    return best * math.pow(max(float(kept.max()) / best, LEAST_SPAN), 1 / share)


def is_scored(cell: GridCell) -> bool:
    """Whether all trials of a learning rate have ended with an accuracy."""
    return cell.status == "finished" and not math.isnan(cell.val_accuracy)
