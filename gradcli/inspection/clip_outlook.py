"""What clipping at other limits would do, from the norms on record."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np

from gradcli.records import ClipOutlook, Floats


def clip_outlook(norms: Floats) -> ClipOutlook | None:
    """Sum up the global norms before clipping of all steps (n,), in float64.

    Quantiles are interpolated linearly between two steps. Returns None if no norm is finite.
    """
    finite = np.asarray(norms, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    median, percent_90 = (float(value) for value in np.quantile(finite, (0.5, 0.9)))
    limits = _limits_around(median)
    would_clip = tuple(float(np.mean(finite > limit)) for limit in limits)
    return ClipOutlook(median, percent_90, float(finite.max()), limits, would_clip)


def _limits_around(median: float) -> tuple[float, ...]:
    """Return two numbers of the series 1, 2, 5, 10, ... below the median, and the next two."""
    if median == 0:
        return ()
    exponent = math.floor(math.log10(median))
    # From their digits, since powers of ten below 1 have no exact products.
    series = [
        float(f"{digit}e{power}")
        for power in range(exponent - 1, exponent + 3)
        for digit in (1, 2, 5)
    ]
    next_one = bisect_left(series, median)
    return tuple(series[next_one - 2 : next_one + 2])
