"""How numbers are written, so that every view writes the same number the same way.

Small numbers have one notation: three significant digits, plain from 0.001 to 999 and scientific
beyond. Pure functions from a value to text; what the numbers mean belongs to the views.
"""

from __future__ import annotations

import math

NORM_WIDTH = 10
"""The width of `aligned_norm`: three digits, the point, and what follows the point."""

ABSENT = "-"
"""What is written for a value that was not measured (NaN in a record)."""


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
    """Write a norm, or `ABSENT` if it was not measured."""
    return ABSENT if math.isnan(value) else norm(value)


def aligned_norm(value: float) -> str:
    """Write a norm `NORM_WIDTH` wide, with its point in a fixed column to compare magnitudes."""
    text = norm(value)
    whole = len(text.partition(".")[0])
    return f"{' ' * (3 - whole)}{text}".ljust(NORM_WIDTH)


def ratio(value: float) -> str:
    """Write an update ratio, in the notation of all small numbers."""
    return known_norm(value)


def share(fraction: float) -> str:
    """Write a fraction in percent; only exactly 0 and 1 are written as 0% and 100%."""
    if math.isnan(fraction):
        return ABSENT
    if 0 < fraction < 0.005:
        return "<1%"
    if 0.995 <= fraction < 1:
        return ">99%"
    return f"{fraction:.0%}"


def score(value: float) -> str:
    """Write a loss or an accuracy with four decimals, a huge loss as a norm, NaN as `-`."""
    if math.isnan(value):
        return ABSENT
    return f"{value:.4f}" if abs(value) < 1e5 else norm(value)


def score_change(value: float) -> str:
    """Write how much a score changes, in the notation of `score`; a zero has no sign."""
    text = score(value)
    if not text.strip("-0."):
        return text.lstrip("-") or ABSENT
    return f"+{text}" if value > 0 else text


def count(number: int, noun: str = "") -> str:
    """Write a whole number with a thousands separator, and its noun in singular or plural."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def shape(dimensions: tuple[int, ...]) -> str:
    """Write the shape of a tensor: `256×784`; that of a scalar is `1`."""
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


def file_size(size_bytes: int) -> str:
    """Write a size in units of 10^6 bytes, or 10^3 if it is smaller: `9.9 MB`, `29 kB`."""
    thousands = math.ceil(size_bytes / 1e3)
    return f"{size_bytes / 1e6:.1f} MB" if thousands >= 1000 else f"{thousands} kB"
