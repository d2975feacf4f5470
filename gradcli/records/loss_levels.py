"""What a loss can be compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LossLevels:
    """What guessing costs under a loss, and what it cannot fall below; NaN where not known.

    Guessing is to give every example the same output, the best one.
    """

    guessing: float = math.nan
    """On the training examples."""
    guessing_val: float = math.nan
    """On the validation examples, with the output that is best on them."""
    lowest: float = math.nan
    """The loss of the best outputs on the training examples: 0, or the entropy of targets that are
    probabilities."""
    chance: float = math.nan
    """By how much a parameter that is fitted to noise lowers the loss, times the number of examples
    that it is fitted to: half a nat (Wilks 1938), or the variance of the targets."""
    of_zero: float = math.nan
    """The loss of outputs that are all 0, where targets are numbers. Far above `guessing`, the
    targets are far from 0, compared with how they differ."""
    of_few: float = math.nan
    """The share of `guessing` that the hundredth of the examples has whose targets are farthest
    from it, where targets are numbers."""
    usual_targets: tuple[float, float] = (math.nan, math.nan)
    """Numbers that 5% of the targets are below and 5% above, where targets are numbers."""
    streamed: bool = False
    """Whether training examples are a stream, so that `guessing` is that of the others, if any
    are in memory."""


#: Those of a loss that is not known, and of runs from before they were recorded.
UNKNOWN_LEVELS = LossLevels()
