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


#: Those of a loss that is not known, and of runs from before they were recorded.
UNKNOWN_LEVELS = LossLevels()
