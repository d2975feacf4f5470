"""What the losses of rehearsals say: a learning rate with an interval, or why there is none.

Each seed has its own best rate, the vertex of a parabola through its lowest loss and the two beside
it. Their mean is the best rate of a rehearsal, and their scatter gives its interval. A rehearsal is
shorter than the training, and shorter trainings favour larger rates: the mean is lowered for that.
Where an optimizer's first updates are longer or shorter than later ones (those of RMSprop and of
momentum are), the rate makes up for it: what counts is how far an update goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from gradcli.comparison.best_rate.rehearsals import (
    PER_DECADE,
    Losses,
    RateSearch,
    mean_loss,
)
from gradcli.records import Doubles

Reason = Literal["", "diverged", "flat", "seeds-disagree", "at-the-end"]
"""Why there is no proposal; empty if there is one."""

CONFIDENCE = 0.95
_NORMAL = 1.96
"""The same of a deviation that is known."""
#: How much smaller the best rate of a training is than that of a rehearsal with a tenth of its
#: steps, in decades, and the deviation of that, if updates are equally long in both: rehearsals of
#: logreg and mlp with 16 steps against whole trainings with 320 (`docs/decisions.md`).
SHORTER_FAVOURS = 0.35
_SHORTER_VARIES = 0.2
#: A vertex is no better known than this, in steps of the grid.
_RESOLUTION = 0.5
#: If the seeds put the best rate into an interval of more decades, nothing is proposed.
_WIDEST = 1.5
#: A network whose loss falls by a smaller share at every rate hardly trains.
_LEAST_FALL = 0.02


@dataclass(frozen=True, slots=True)
class RateLosses:
    """A learning rate that was rehearsed."""

    rate: float
    losses: tuple[float, ...]
    """After the rehearsal, one for each seed that made it; infinite if it diverged."""
    steps: int

    @property
    def mean(self) -> float:
        """The mean over the seeds, infinite if one of them diverged."""
        return sum(self.losses) / len(self.losses)


@dataclass(frozen=True, slots=True)
class ProposedRate:
    """What a search has found."""

    rate: float
    """The proposal; NaN if there is none."""
    interval: tuple[float, float]
    """Where the best rate lies, at 95%, by the scatter of the seeds and of what shortness does."""
    reason: Reason
    scouted: tuple[RateLosses, ...]
    """The rates a decade apart, rising."""
    rehearsed: tuple[RateLosses, ...]
    """The rates around the best of these, rising."""
    of_seeds: tuple[float, ...]
    """The best rate of each seed's rehearsals; none without a proposal."""
    lowered_by: float
    """The factor by which the proposal is lower because the training is longer, 1 or more."""

    @property
    def is_found(self) -> bool:
        """Whether a rate is proposed."""
        return not self.reason

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest mean loss of rates that did not diverge; NaN if all did."""
        means = [one.mean for one in (*self.scouted, *self.rehearsed)]
        known = [mean for mean in means if math.isfinite(mean)]
        return min(known, default=math.nan), max(known, default=math.nan)

    @property
    def hardly_trains(self) -> bool:
        """Whether no rate lowers the loss by more than a fiftieth of the highest one."""
        low, high = self.span
        return high - low < _LEAST_FALL * abs(high)


def judged(search: RateSearch, losses: Losses) -> ProposedRate:
    """Return what the rehearsals of a whole search say.

    Args:
        search: what was searched, and nothing is left to do.
        losses: of all rehearsals.
    """
    exponents = sorted({one.exponent for one in losses})
    scouts = [one for one in exponents if search.scout(one) in losses]
    tried = [one for one in exponents if mean_loss(search.rehearsals(one), losses) is not None]
    partly = [one for one in exponents if search.rehearsals(one)[0] in losses]
    scouted = tuple(
        RateLosses(search.rate(one), (losses[search.scout(one)],), search.scouting_steps)
        for one in scouts
    )
    rehearsed = tuple(
        RateLosses(
            search.rate(one),
            tuple(losses[each] for each in search.rehearsals(one) if each in losses),
            search.steps,
        )
        for one in partly
    )
    table = np.array([[losses[each] for each in search.rehearsals(one)] for one in tried])
    reason = _reason(scouted, table)
    if reason:
        return ProposedRate(math.nan, (math.nan, math.nan), reason, scouted, rehearsed, (), 1.0)
    bests = np.array([best_exponent(tried, column) for column in table.T])
    shorter_by = math.log10(search.total_steps / search.steps)
    lowered_by = 10 ** (SHORTER_FAVOURS * shorter_by)
    shift = PER_DECADE * math.log10(search.longer_at_first / lowered_by)
    by_seeds = math.hypot(_half_width(bests), _RESOLUTION)
    by_shortness = _NORMAL * _SHORTER_VARIES * shorter_by * PER_DECADE
    half_width = math.hypot(by_seeds, by_shortness)
    middle = float(bests.mean()) + shift
    interval = (search.rate(middle - half_width), search.rate(middle + half_width))
    disagree = 2 * by_seeds > _WIDEST * PER_DECADE
    return ProposedRate(
        rate=math.nan if disagree else search.rate(middle),
        interval=interval,
        reason="seeds-disagree" if disagree else "",
        scouted=scouted,
        rehearsed=rehearsed,
        of_seeds=tuple(search.rate(float(best)) for best in bests),
        lowered_by=lowered_by,
    )


def _reason(scouted: Sequence[RateLosses], table: Doubles) -> Reason:
    """Return why the losses propose nothing; empty if they may.

    Args:
        scouted: the rates a decade apart.
        table: the losses of rates (rows, rising) and seeds (columns).
    """
    known = [one.mean for one in scouted if math.isfinite(one.mean)]
    if not known or not np.isfinite(table).all(axis=1).any():
        return "diverged"
    means = table.mean(axis=1)
    best = int(np.argmin(means))
    between_seeds = float(table[best].std(ddof=1)) if table.shape[1] > 1 else 0.0
    if len(known) == len(scouted) and max(known) - min(known) <= between_seeds:
        return "flat"
    return "at-the-end" if best in (0, len(means) - 1) else ""


def best_exponent(exponents: Sequence[int], losses: Doubles) -> float:
    """Return where the parabola through the lowest loss and its neighbours has its vertex.

    At an end, or beside a rate that diverged, it is the exponent of the lowest loss itself.

    Args:
        exponents: neighbouring ones, rising.
        losses: one for each.
    """
    at = int(np.argmin(losses))
    if at in (0, len(losses) - 1) or not np.isfinite(losses[at - 1 : at + 2]).all():
        return float(exponents[at])
    before, lowest, after = (float(loss) for loss in losses[at - 1 : at + 2])
    bend = before - 2 * lowest + after
    return exponents[at] + ((before - after) / (2 * bend) if bend > 0 else 0.0)


def _half_width(values: Doubles) -> float:
    """Return half the interval of a mean, by Student's t."""
    quantile = float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * float(values.std(ddof=1)) / math.sqrt(len(values))
