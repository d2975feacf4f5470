"""What all pictures share: colours, markers, scales and legends, on axes that are handed in.

Open to every room, and imports none: a probe draws its own result with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradcli.records import Doubles

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Okabe and Ito's palette (2008), which readers with any colour vision tell apart.
BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#BBBBBB"
COLORS = (BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE, "#56B4E9", "#000000")
"""The palette without its yellow, which is too pale for a line."""
MARKERS = "osD^vPX"


def finite_or_gap(values: Doubles) -> Doubles:
    """Replace infinities by NaN, which matplotlib leaves out."""
    return np.where(np.isfinite(values), values, np.nan)


def log_scale(axes: Axes, values: Doubles) -> None:
    """Use a logarithmic axis with plain numbers if every finite value is positive."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        if finite.max() < 1000 * finite.min():
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def legend_above(
    axes: Axes, handles: Sequence[Artist] | None = None, *, on_the_right: bool = False
) -> None:
    """Put the legend above the panel, where it cannot cover what is drawn."""
    axes.legend(
        handles=handles,
        loc="lower right" if on_the_right else "lower left",
        bbox_to_anchor=(float(on_the_right), 1),
        borderaxespad=0.1,
        ncols=3,
        frameon=False,
        fontsize="small",
    )
