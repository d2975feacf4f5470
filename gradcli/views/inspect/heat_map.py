"""A heat map as text: shades that stand for powers of ten, readable without colour.

Layout only. The screens decide what is drawn, and what is next to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, count, groupby, repeat

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment

from gradcli.records import Floats
from gradcli.views.sparkline import NOT_FINITE, ZERO
from gradcli.views.table import GAP, Line, piece
from gradcli.views.train.training_screen import PICTURE

GLYPHS = "·░▒▓█"
ASCII_GLYPHS = ".:+#@"
SYMBOLS = {ZERO: ("exactly zero", "bold yellow"), NOT_FINITE: ("not finite", "bold red")}
"""What stands for a value without a logarithm: its meaning and its style."""


@dataclass(frozen=True, slots=True)
class Shades:
    """A scale of shades from the faintest to the darkest, all equally wide."""

    glyphs: str
    top: float
    """The power of ten at which the darkest shade ends."""
    decades: float
    """How many powers of ten each shade covers."""

    @classmethod
    def covering(cls, log10: Floats, glyphs: str = GLYPHS) -> Shades:
        """Return the finest scale that holds all finite values.

        Never finer than half a decade, so that noise on a constant is not drawn as a pattern.
        The edges of the shades are whole multiples of their width.
        """
        finite = log10[np.isfinite(log10)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, -1.0)
        widths = chain([0.5], count(1.0))
        scales = (cls(glyphs, (math.floor(high / width) + 1) * width, width) for width in widths)
        return next(scale for scale in scales if low >= scale.bottom)

    @property
    def bottom(self) -> float:
        """The power of ten at which the faintest shade begins."""
        return self.top - len(self.glyphs) * self.decades

    def draw(self, log10: Floats) -> str:
        """Draw values (n,) as n characters."""
        levels = np.floor((log10 - self.bottom) / self.decades)
        return "".join(map(self._glyph, levels.tolist()))

    def _glyph(self, level: float) -> str:
        if level == -math.inf:
            return ZERO
        if not math.isfinite(level):
            return NOT_FINITE
        return self.glyphs[min(max(int(level), 0), len(self.glyphs) - 1)]

    def legend(self, drawn: str) -> Line:
        """Say what each shade means, and each symbol that was drawn."""
        edges = [self.top - self.decades * below for below in range(len(self.glyphs) - 1, 0, -1)]
        ranges = [f"<{power_of_ten(edge)}" for edge in edges]
        ranges.append(f"from {power_of_ten(edges[-1])}")
        meanings = [*zip(self.glyphs, ranges, repeat(PICTURE))]
        meanings += [(symbol, *words) for symbol, words in SYMBOLS.items() if symbol in drawn]
        parts = [
            part
            for symbol, meaning, style in meanings
            for part in (piece(symbol, style), piece(f" {meaning}"), piece(GAP))
        ]
        return parts[:-1]


def power_of_ten(exponent: float) -> str:
    """Write 10**exponent with at most two digits: `0.32`, `1e-05`."""
    return f"{10.0**exponent:.2g}"


def column_starts(bins: int, width: int) -> NDArray[np.intp]:
    """Return the bin that each of `width` columns begins with.

    With more columns than bins, columns repeat bins; with fewer, a column covers several.
    """
    return np.arange(width) * bins // width


def columns_of(log10: Floats, width: int) -> Floats:
    """Reduce bins (rows, t), at least one, to `width` columns.

    A column shows the largest of its bins, so that any NaN is seen, and a zero only if all are
    zero.
    """
    # If two columns begin with the same bin, `reduceat` returns just that bin.
    columns: Floats = np.maximum.reduceat(log10, column_starts(log10.shape[1], width), axis=1)
    return columns


def styled(drawn: str) -> list[Segment]:
    """Return drawn shades in colour, with values without a logarithm in another one."""
    return [
        piece("".join(group), style)
        for style, group in groupby(drawn, lambda glyph: SYMBOLS.get(glyph, ("", PICTURE))[1])
    ]
