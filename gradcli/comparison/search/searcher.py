"""What a searcher is: it proposes the settings that the trials of an arm try."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from gradcli.comparison.search.ranges import Range

Setting = tuple[tuple[str, float], ...]
"""The values to try, by key, in the order of the ranges."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting that was tried, and how it went."""

    setting: Setting
    merit: float
    """More is better; -inf if it diverged or failed."""
    fraction: float
    """How much of a trial it ran: 1.0 if to its end, else the rung of successive halving that
    stopped it, at which the merit was read."""


class Searcher(ABC):
    """Chooses settings within ranges: the base of the classes in `configs/search/`.

    What it proposes follows from its arguments alone, so that a comparison that resumes, or runs on
    more jobs, tries the same.
    """

    looks_at_results: bool = False
    """Whether proposals depend on merits; if not, all are known from the start."""

    def count_of(self, ranges: Sequence[Range], total: int) -> int:
        """Return how many settings it proposes if it may propose `total`: usually all of them."""
        return total

    @abstractmethod
    def propose(
        self, ranges: Sequence[Range], tried: Sequence[Tried], *, count: int, total: int, seed: int
    ) -> list[Setting]:
        """Return the next settings, none of them twice.

        Args:
            ranges: one per key.
            tried: all that it proposed before, in that order.
            count: how many to propose; fewer are returned where `count_of` says so.
            total: how many there will be in all.
            seed: of all that is random.

        Raises:
            ValueError: if the ranges have fewer settings than that.
        """


def setting_at(ranges: Sequence[Range], positions: Iterable[float]) -> Setting:
    """Return the setting at a position in each range."""
    return tuple((one.key, one.value(at)) for one, at in zip(ranges, positions, strict=True))


def first_distinct(settings: Iterable[Setting], count: int) -> list[Setting]:
    """Return the first `count` settings that differ, or all if there are fewer."""
    return list(islice(dict.fromkeys(settings), count))
