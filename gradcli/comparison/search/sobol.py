"""Settings that cover the ranges evenly, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gradcli.comparison.search.ranges import Range
from gradcli.comparison.search.searcher import Searcher, Setting, Tried, first_distinct, setting_at

#: Points to draw per setting at most. Values are rounded, so that two points may be one setting.
_DRAWS = 64


class Sobol(Searcher):
    """A scrambled Sobol sequence (Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points").

    Each key gets as many different values as there are trials. A factorial grid has far fewer, and
    spends most of its trials on the keys that decide nothing (Bergstra and Bengio 2012, "Random
    search for hyper-parameter optimization").
    """

    def propose(
        self, ranges: Sequence[Range], tried: Sequence[Tried], *, count: int, total: int, seed: int
    ) -> list[Setting]:
        """Return the next settings of the sequence.

        Raises:
            ValueError: if the ranges have fewer settings than are asked for.
        """
        first, end = len(tried), len(tried) + count
        return list(_sequence(tuple(ranges), max(end, total), seed)[first:end])


@lru_cache(maxsize=256)
def _sequence(ranges: tuple[Range, ...], count: int, seed: int) -> tuple[Setting, ...]:
    """Return the first settings of the sequence that differ."""
    from scipy.stats import qmc  # takes a second

    # The balance of the sequence asks for powers of two; a longer one begins with a shorter one.
    for drawn in (count, count * _DRAWS):
        sampler = qmc.Sobol(len(ranges), scramble=True, seed=np.random.default_rng(seed))
        points = sampler.random_base2((drawn - 1).bit_length()).tolist()
        found = first_distinct((setting_at(ranges, point) for point in points), count)
        if len(found) == count:
            return tuple(found)
    raise ValueError(
        f"{count} settings are asked for, and these ranges have about {len(found)} that differ in "
        "three digits"
    )
