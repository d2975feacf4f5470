"""The range of a key's values that a search looks at, and how it is spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Scale = Literal["log", "linear", "log_from_one"]
"""How values are spread over a range: `log` by factors, `linear` evenly, and `log_from_one` so that
1 - value is spread by factors, as is usual for momentum and betas: 0.9, 0.99, 0.999."""
SCALES: tuple[Scale, ...] = ("log", "linear", "log_from_one")


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one key that a search may try.

    Searchers work with *positions*, from 0 at `low` to 1 at `high`, in which every range is spread
    evenly.

    Raises:
        ValueError: if there is no such range.
    """

    key: str
    """As the user typed it, such as `lr` or `clip.max_norm`."""
    low: float
    high: float
    scale: Scale = "log"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"there is no scale '{self.scale}': {', '.join(SCALES)}")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"low and high must be finite, not {self.low:g} and {self.high:g}")
        if self.low >= self.high:
            raise ValueError(f"low must be below high, and {self.low:g} is not below {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low must be above 0 with scale log, and it is {self.low:g}")
        if self.scale == "log_from_one" and self.high >= 1:
            raise ValueError(f"high must be below 1 with scale log_from_one, not {self.high:g}")

    def value(self, position: float) -> float:
        """Return the value at a position, as a person would type it.

        It has three significant digits (with `log_from_one`, 1 - value has), and is within the
        range.

        Args:
            position: from 0 to 1.
        """
        return min(max(self.beyond(position), self.low), self.high)

    def beyond(self, position: float) -> float:
        """Return the value at a position that may be outside the range: below 0, or above 1."""
        if self.scale == "linear":
            return _typed(self.low + (self.high - self.low) * position)
        if self.scale == "log":
            return _typed(self.low * (self.high / self.low) ** position)
        first, last = 1 - self.low, 1 - self.high
        # Without the last digits, so that 1 - 0.0123 is typed as 0.9877.
        return float(f"{1 - _typed(first * (last / first) ** position):.12g}")

    def position(self, value: float) -> float:
        """Return where a value is, below 0 or above 1 if it is outside.

        Args:
            value: above 0 with scale `log`, below 1 with `log_from_one`.
        """
        if self.scale == "linear":
            return (value - self.low) / (self.high - self.low)
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        first, last = 1 - self.low, 1 - self.high
        return math.log((1 - value) / first) / math.log(last / first)


def _typed(value: float) -> float:
    return float(f"{value:.3g}")
