"""Every combination of some values of each key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from gradcli.comparison.search.ranges import Range
from gradcli.comparison.search.searcher import Searcher, Setting, Tried, first_distinct, setting_at


class FullGrid(Searcher):
    """A factorial grid: easy to read and to plot, wasteful with more than two keys.

    The values of a key are the middles of equal parts of its range, so that none is spent on an
    end. Settings come in the order of the ranges, the last key changing quickest.
    """

    def count_of(self, ranges: Sequence[Range], total: int) -> int:
        """Return the largest number of combinations that is as even as it can be, within `total`.

        16 are 4 x 4 for two keys, but 3 x 2 x 2 = 12 for three.
        """
        return math.prod(levels_within(len(ranges), total))

    def propose(
        self, ranges: Sequence[Range], tried: Sequence[Tried], *, count: int, total: int, seed: int
    ) -> list[Setting]:
        """Return the next combinations, none if all have been tried.

        Raises:
            ValueError: if two values of a key are the same in three digits.
        """
        levels = levels_within(len(ranges), total)
        middles = ([(level + 0.5) / many for level in range(many)] for many in levels)
        every = [setting_at(ranges, positions) for positions in product(*middles)]
        if len(first_distinct(every, len(every))) < len(every):
            raise ValueError(
                f"{' x '.join(map(str, levels))} settings are asked for, and some of them are the "
                "same in three digits: the ranges are too narrow"
            )
        return every[len(tried) : len(tried) + count]


def levels_within(keys: int, total: int) -> tuple[int, ...]:
    """Return how many values each key gets: as many for each, and one more for the first ones.

    Args:
        keys: at least 1.
        total: the most combinations, at least 1.
    """
    even = 1
    while (even + 1) ** keys <= total:
        even += 1
    levels = [even] * keys
    for first in range(keys):
        if math.prod(levels) // even * (even + 1) <= total:
            levels[first] += 1
    return tuple(levels)
