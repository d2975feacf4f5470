"""What all pictures share: colours, markers, scales and legends, on axes that the caller passes.

A probe draws its own result with these, so they stand below it, and know no other room.
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


def color_and_marker(index: int) -> tuple[str, str]:
    """Return the colour and marker of a line; no two of the first 49 share both."""
    laps, place = divmod(index, len(COLORS))
    return COLORS[place], MARKERS[(place + laps) % len(MARKERS)]


def finite_or_gap(values: Doubles) -> Doubles:
    """Replace infinities by NaN, which matplotlib leaves out."""
    return np.where(np.isfinite(values), values, np.nan)


def log_scale(axes: Axes, values: Doubles) -> None:
    """Use a logarithmic axis if every finite value is positive; numbers are written out."""
    from matplotlib.ticker import LogLocator, NullFormatter

    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        if finite.max() < 1000 * finite.min():
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plain_numbers(axes)


def plain_numbers(axes: Axes) -> None:
    """Write each number at the ticks whole: none is split into an offset or a factor."""
    from matplotlib.ticker import StrMethodFormatter

    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def whole_steps(axes: Axes) -> None:
    """Put the ticks along the bottom at whole numbers: there is no half a step."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def legend_above(
    axes: Axes,
    handles: Sequence[Artist] | None = None,
    *,
    on_the_right: bool = False,
    columns: int = 3,
    title: str | None = None,
) -> None:
    """Put the legend above the panel, so that it covers nothing that is drawn.

    Args:
        axes: the panel.
        handles: what to explain; None is every labelled artist.
        on_the_right: align it on the right rather than on the left.
        columns: of the legend.
        title: a heading for the legend and the panel.
    """
    axes.legend(
        handles=handles,
        loc="lower right" if on_the_right else "lower left",
        bbox_to_anchor=(float(on_the_right), 1),
        borderaxespad=0.1,
        ncols=columns,
        frameon=False,
        title=title,
        alignment="left",
        fontsize="small",
    )
