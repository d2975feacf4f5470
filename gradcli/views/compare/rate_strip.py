"""The score over a grid of learning rates as a strip of blocks, one per learning rate.

The strips of all arms share one scale, so that a block means the same in every row. Blocks differ
in shape alone, never in colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradcli.comparison.live import GridCell
from gradcli.comparison.results import TrialStatus
from gradcli.notation import numbers
from gradcli.records import Doubles, Metric
from gradcli.views.sparkline import LEVELS, sparklines

#: The symbol of a learning rate without a score (so far).
SYMBOLS: dict[TrialStatus, str] = {
    "finished": "?",
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
    """The score of the shortest block drawn, NaN if there is none; `cut` ones are worse."""
    high: float
    cut: bool
    """Whether any score is worse than `low`."""
    ends: str = LEVELS[0] + LEVELS[-1]
    """The shortest and the tallest block drawn: scores that are close have neighbouring ones."""

    def legend(self) -> list[tuple[str, str]]:
        """Return the symbols that occur, each with its meaning."""
        used = "".join(self.texts)
        low, high = numbers.score(self.low), numbers.score(self.high)
        scale = [(self.ends[0], low + " or worse" * self.cut), (self.ends[1], high)]
        if low == high:
            scale = [("".join(dict.fromkeys(self.ends)), high)]
        known = [] if math.isnan(self.low) else scale
        return known + [
            (symbol, "no score" if status == "finished" else status)
            for status, symbol in SYMBOLS.items()
            if symbol in used
        ]


def heat_strips(grids: Sequence[Sequence[GridCell]], metric: Metric) -> Strips:
    """Draw grids of learning rates, rising, one character each.

    A block's height is the logarithm of the error rate (for other metrics see `_errors`), since
    0.97 and 0.98 differ by more than 0.52 and 0.53 do. Learning rates that failed, with more than
    `GREATEST_SPAN` times the lowest error rate, share the shortest block, and the others share the
    heights above it: one that failed does not flatten the rest.
    """
    cells = [cell for grid in grids for cell in grid]
    scores = np.array([cell.val_score for cell in cells if is_scored(cell)])
    errors = _errors(scores, metric)
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
    at_worst, at_best = int(np.argmax(errors)), int(np.argmin(errors))
    worst, best = float(scores[at_worst]), float(scores[at_best])
    if cut:  # only errors that are scores, or shares of examples, are ever cut
        worst = 1 - ceiling if metric.is_accuracy else ceiling
    return Strips(texts, worst, best, cut, blocks[at_worst] + blocks[at_best])


def best_so_far(cells: Sequence[GridCell], metric: Metric) -> list[GridCell]:
    """Return the cells of a search, each with the best score up to it, in the order of proposal."""
    best, shown = math.nan, []
    for cell in cells:
        if is_scored(cell):
            best = max(
                (score for score in (best, cell.val_score) if not math.isnan(score)),
                key=metric.merit,
            )
            cell = replace(cell, val_score=best)
        shown.append(cell)
    return shown


def _errors(scores: Doubles, metric: Metric) -> Doubles:
    """Return what is wrong by each score, positive, 0 being perfect.

    Of accuracies the error rate; positive scores that are better if lower are errors themselves.
    Others are spread evenly, the worst as `GREATEST_SPAN` times the best.
    """
    if metric.is_accuracy:
        return np.maximum(1 - scores, _LEAST_ERROR)
    if metric.direction == "minimize" and (scores > 0).all():
        return scores
    merits = scores if metric.direction == "maximize" else -scores
    short = np.max(merits, initial=-np.inf) - merits
    return 1 + (GREATEST_SPAN - 1) * short / max(float(np.max(short, initial=0.0)), 1e-300)


def short_validation(metric: Metric) -> str:
    """Name the validation score in the heading of a column."""
    return "val acc" if metric.is_accuracy else f"val {metric.name}"


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
    """Whether all trials of a learning rate have ended with a score."""
    return cell.status == "finished" and not math.isnan(cell.val_score)
