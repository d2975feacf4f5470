"""How numbers are written, so that every view writes the same number the same way.

Pure functions from a value to text. What the numbers mean, and where they stand on a
screen, belongs to the views.
"""

from __future__ import annotations

import math

NORM_WIDTH = 10
"""The width of `aligned_norm`: three digits, the point, and what follows it."""

ABSENT = "-"
"""What is written for a value that does not exist (NaN in a record of what was measured)."""


def norm(value: float) -> str:
    """Write a norm with three significant digits: `0.0123`, `12.3`, `1.23e-05`, `inf`."""
    if not math.isfinite(value):
        return f"{value}"
    if value == 0:
        return "0"
    scientific = f"{value:.2e}"
    exponent = int(scientific.partition("e")[2])  # after rounding: 0.9996 is 1.00
    if -3 <= exponent < 3:
        return f"{value:.{2 - exponent}f}"
    return scientific


def known_norm(value: float) -> str:
    """Write a norm; one that was not measured as absent."""
    return ABSENT if math.isnan(value) else norm(value)


def aligned_norm(value: float) -> str:
    """Write a norm `NORM_WIDTH` wide with its point in a fixed column, magnitudes in view."""
    text = norm(value)
    whole = len(text.partition(".")[0])
    return f"{' ' * (3 - whole)}{text}".ljust(NORM_WIDTH)


def ratio(value: float) -> str:
    """Write an update ratio, of which the power of ten matters: `1.2e-03`."""
    return ABSENT if math.isnan(value) else f"{value:.1e}"


def share(fraction: float) -> str:
    """Write a fraction of 1 in percent; what is not quite none or all never looks so."""
    if math.isnan(fraction):
        return ABSENT
    if 0 < fraction < 0.005:
        return "<1%"
    if 0.995 <= fraction < 1:
        return ">99%"
    return f"{fraction:.0%}"


def score(value: float) -> str:
    """Write a loss or an accuracy with four decimals, a huge loss as a norm; none as `-`."""
    if math.isnan(value):
        return ABSENT
    return f"{value:.4f}" if abs(value) < 1e5 else norm(value)


def count(number: int, noun: str = "") -> str:
    """Write a whole number with thousands separated, and its noun in the right number."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def shape(dimensions: tuple[int, ...]) -> str:
    """Write a tensor's shape: `256×784`; a scalar's as `1`."""
    return "\N{MULTIPLICATION SIGN}".join(str(size) for size in dimensions) or "1"


def duration(seconds: float) -> str:
    """Write a time in its two largest units: `4.1 s`, `3 min 20 s`, `2 h 5 min`."""
    if not math.isfinite(seconds):
        return ABSENT
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, whole_seconds = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{whole_seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours == 0:
        return f"{minutes} min {whole_seconds} s"
    return f"{hours} h {minutes} min"


def megabytes(size_bytes: int) -> str:
    """Write a size in units of 10^6 bytes: `9.9 MB`."""
    return f"{size_bytes / 1e6:.1f} MB"
