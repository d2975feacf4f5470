"""Which rehearsals a search for a learning rate needs next.

The search has two parts. *Scouting*: one seed tries rates a decade apart, until the best one has a
worse one on either side. *Rehearsing*: around it, rates a third of a decade apart, first with that
seed and then with all seeds, until the best mean has a worse one on either side.

The losses are the whole state: `next_rehearsals` replays the search on them from the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradcli.comparison.protocol import Grid

#: Neighbours among the rates that are rehearsed differ by a factor of 10^(1/3).
PER_DECADE = 3
#: Scouting goes no further than four decades from the rate of the config.
_FURTHEST_SCOUT = 4 * PER_DECADE
#: Rehearsing goes no further than two decades from what scouting found.
_FURTHEST_STEP = 2 * PER_DECADE

#: What the rehearsals of a rate and a seed may cost, in multiplications of the forward pass...
_WORK = 4.8e9
#: ...of which a step costs this many, however small the network is.
_WORK_OF_ANY_STEP = 8e6
#: Fewer steps say little: momentum alone takes ten to build up.
_FEWEST_STEPS = 12
_MOST_STEPS = 512
#: A decade shows in fewer steps than a third of one.
_SCOUTING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A training to make: the rate by its exponent on the grid, the seed, and the steps."""

    exponent: int
    seed: int
    steps: int


Losses = Mapping[Rehearsal, float]
"""What each rehearsal reached on the held-out examples; infinite if it diverged."""


@dataclass(frozen=True, slots=True)
class RateSearch:
    """What is searched, and how."""

    centre: float
    """The rate of the config, at the exponent 0."""
    seeds: tuple[int, ...]
    """The first one scouts."""
    steps: int
    """Of a rehearsal."""
    total_steps: int
    """Of the training that is rehearsed."""
    longer_at_first: float = 1.0
    """How much longer an update of a rehearsal is than one of the training, for the same gradient
    and rate; see `optim.longer_at_first`."""

    @property
    def scouting_steps(self) -> int:
        """Of a rehearsal of the first part."""
        return max(1, min(self.steps, round(self.steps * _SCOUTING_SHARE)))

    def rate(self, exponent: float) -> float:
        """Return the learning rate at an exponent, with two digits, as a person would type it."""
        return Grid(self.centre, PER_DECADE, ()).rate(exponent)

    def scout(self, exponent: int) -> Rehearsal:
        """Return the rehearsal that scouts a rate."""
        return Rehearsal(exponent, self.seeds[0], self.scouting_steps)

    def rehearsals(self, exponent: int) -> tuple[Rehearsal, ...]:
        """Return the rehearsals of a rate, one for each seed."""
        return tuple(Rehearsal(exponent, seed, self.steps) for seed in self.seeds)


def affordable_steps(work_per_step: float, total_steps: int) -> int:
    """Return the steps of a rehearsal: the more, the quicker a step is, but not more than all.

    It depends on the network and not on the clock, so that each call searches in the same way.

    Args:
        work_per_step: multiplications of a forward pass on a batch.
        total_steps: of the training that is rehearsed.
    """
    steps = round(_WORK / (work_per_step + _WORK_OF_ANY_STEP))
    return min(max(steps, _FEWEST_STEPS), _MOST_STEPS, total_steps)


def next_rehearsals(search: RateSearch, losses: Losses) -> tuple[Rehearsal, ...]:
    """Return the rehearsals to make next, all independent of one another; none at the end.

    Args:
        search: what is searched.
        losses: of the rehearsals made so far.
    """
    scouted = _Bracket(
        lambda exponent: losses.get(search.scout(exponent)),
        around=0,
        spacing=PER_DECADE,
        limits=(-_FURTHEST_SCOUT, _FURTHEST_SCOUT),
    )
    if scouted.missing:
        return tuple(map(search.scout, scouted.missing))
    if not math.isfinite(scouted.lowest):
        return ()  # no rate trains
    limits = (scouted.best - _FURTHEST_STEP, scouted.best + _FURTHEST_STEP)
    first = _Bracket(
        lambda exponent: losses.get(search.rehearsals(exponent)[0]),
        around=scouted.best,
        spacing=1,
        limits=limits,
    )
    if first.missing:
        return tuple(search.rehearsals(exponent)[0] for exponent in first.missing)
    every = _Bracket(
        lambda exponent: mean_loss(search.rehearsals(exponent), losses),
        around=first.best,
        spacing=1,
        limits=limits,
    )
    wanted = (one for exponent in every.missing for one in search.rehearsals(exponent))
    return tuple(one for one in wanted if one not in losses)


def mean_loss(rehearsals: Sequence[Rehearsal], losses: Losses) -> float | None:
    """Return the mean loss of a rate, infinite if a seed diverged; None if one is not known."""
    if any(one not in losses for one in rehearsals):
        return None
    return sum(losses[one] for one in rehearsals) / len(rehearsals)


class _Bracket:
    """The best of some exponents, with a worse one on either side.

    Args:
        loss_at: the loss at an exponent; None if it is not known yet.
        around: the exponent in the middle of the three to begin with.
        spacing: between neighbours.
        limits: the exponents between which to look for more than these three.

    Attributes:
        missing: the exponents whose losses are needed next; none at the end.
        best: the exponent of the lowest loss, once nothing is missing.
        lowest: that loss, which is infinite if every rate diverged.
    """

    def __init__(
        self,
        loss_at: Callable[[int], float | None],
        *,
        around: int,
        spacing: int,
        limits: tuple[int, int],
    ) -> None:
        tried = [around - spacing, around, around + spacing]
        self.missing: tuple[int, ...] = ()
        self.best, self.lowest = around, math.inf
        while True:
            found = {exponent: loss_at(exponent) for exponent in tried}
            self.missing = tuple(exponent for exponent, loss in found.items() if loss is None)
            if self.missing:
                return
            known = {exponent: loss for exponent, loss in found.items() if loss is not None}
            self.best = min(tried, key=known.__getitem__)  # the smaller rate if they tie
            self.lowest = known[self.best]
            beyond = self.best - spacing if self.best == tried[0] else self.best + spacing
            is_inside = tried[0] < self.best < tried[-1]
            if is_inside or not limits[0] <= beyond <= limits[1]:
                return
            tried = sorted([*tried, beyond])
