"""The picture of two runs that part: how far apart each layer is, at each step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradcli.inspection.parting.growth import ROUNDING
from gradcli.inspection.parting.layer_courses import StepCourses
from gradcli.inspection.run_difference import RunDifference
from gradcli.notation import numbers
from gradcli.notation.panels import (
    COLORS,
    GREY,
    VERMILION,
    legend_above,
    log_scale,
    whole_steps,
)
from gradcli.records import Doubles, Floats
from gradcli.views.draw.run_figures import Bins, blank_figure, largest_by_bin
from gradcli.views.draw.saving import save_figure
from gradcli.views.table import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLACK = "#000000"
#: More layers than these have a scale of colours from the first to the last, and not one each.
_MOST_COLORS = len(COLORS) - 1  # black is the loss
_FEW_POINTS = 60
_WIDEST_NAME = 28


def plot_difference(path: Path, difference: RunDifference, courses: StepCourses) -> list[Path]:
    """Draw how two runs part into a file, and return its path in a list.

    Args:
        path: in a folder that exists.
        difference: of runs of which a logged step differs.
        courses: of the same runs.
    """
    save_figure(difference_figure(difference, courses), path)
    return [path]


def difference_figure(difference: RunDifference, courses: StepCourses) -> Figure:
    """Draw a line for each layer, one for the loss, and a mark where the runs part.

    On a logarithmic axis. Where the runs are equal there is no line. Of a long run, each point is
    the largest distance of some steps. A norm that passes that of the other run makes the distance
    small for a step, so that the median of five stands out from the single ones.
    """
    figure = blank_figure(5.0)
    axes = figure.add_subplot()
    bins = Bins.of(courses.step)
    loss, layers = _drawn(courses.loss, bins), _drawn(courses.gradients, bins)
    few = len(courses.layers) <= _MOST_COLORS
    place = difference.first_place
    for index, name in enumerate(courses.layers):
        is_first = place is not None and place.layer == name
        _draw_course(
            axes,
            bins.middles,
            layers[:, index],
            color=_color(index, len(courses.layers), is_first=is_first),
            label=shorten(name, _WIDEST_NAME) if few or is_first else "",
            linewidth=2.8 if is_first else 1.4,
        )
    _draw_course(axes, bins.middles, loss, color=_BLACK, label="loss", linewidth=1.4, style=":")
    log_scale(axes, np.append(layers.ravel(), loss))
    step, where = _first_step(difference)
    axes.axvline(step, color=_BLACK, linestyle="--", linewidth=1, zorder=1)
    low, high = axes.get_ylim()
    if low < ROUNDING < high:
        axes.axhline(ROUNDING, color=GREY, linewidth=1, label="size of rounding", zorder=1)
    axes.set_xlim(float(courses.step[0]) - 0.5, float(courses.step[-1]) + 0.5)
    are_single = len(bins.middles) == len(courses.step)
    thin = "single steps" if are_single else "largest of some steps"
    axes.set_xlabel(f"training step (thin: {thin}, thick: median of five of these)")
    axes.set_ylabel("relative distance of gradient norms and loss\n|a - b| / max(|a|, |b|)")
    whole_steps(axes)
    axes.grid(alpha=0.3)
    legend_above(axes)
    if not few:
        _explain_colors(figure, axes, courses.layers)
    figure.suptitle(
        f"Two runs part at step {numbers.count(step)}{where} (dashed)\n"
        f"a: {difference.a.info.run}\nb: {difference.b.info.run}",
        fontsize="medium",
    )
    return figure


def _draw_course(
    axes: Axes,
    middles: Floats,
    distances: Doubles,
    *,
    color: str | tuple[float, ...],
    label: str,
    linewidth: float,
    style: str = "-",
) -> None:
    """Draw single distances as a thin line, and their running median as a thick one."""
    marker = "o" if len(middles) <= _FEW_POINTS else ""
    axes.plot(
        middles,
        distances,
        style,
        color=color,
        linewidth=0.6,
        alpha=0.4,
        marker=marker,
        markersize=2,
    )
    axes.plot(
        middles, _median_of_five(distances), style, color=color, linewidth=linewidth, label=label
    )


def _median_of_five(distances: Doubles) -> Doubles:
    """Return the median of each known distance with two on each side; NaN where it is unknown."""
    padded = np.pad(distances, 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 5)
    known = np.isfinite(distances)
    medians = np.full(len(distances), np.nan)
    medians[known] = np.nanmedian(windows[known], axis=1)
    return medians


def _drawn(distances: Doubles, bins: Bins) -> Doubles:
    """Return the largest of each bin that is a number above 0; else NaN, which is not drawn."""
    largest = largest_by_bin(np.where(np.isnan(distances), 0.0, distances), bins)
    return np.where(largest > 0, largest, np.nan)


def _color(index: int, count: int, *, is_first: bool) -> str | tuple[float, ...]:
    if count <= _MOST_COLORS:
        return COLORS[index]
    if is_first:
        return VERMILION
    from matplotlib import colormaps

    return colormaps["viridis"](index / (count - 1))


def _first_step(difference: RunDifference) -> tuple[int, str]:
    """Return the step at which the runs part, and the words for the layer if it is sure."""
    step, place = difference.first_different_step, difference.first_place
    assert step is not None
    if place is None or not place.sure or place.stage == "layers":
        return step, ""
    where = "" if place.layer is None else f" in {shorten(place.layer, _WIDEST_NAME)}"
    return place.step, where


def _explain_colors(figure: Figure, axes: Axes, layers: tuple[str, ...]) -> None:
    """Put a scale at the right: the first layer at the top, some of them named."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    last = len(layers) - 1
    scale = figure.colorbar(ScalarMappable(Normalize(0, last), "viridis"), ax=axes, pad=0.02)
    named = np.unique(np.linspace(0, last, 5).astype(np.intp))
    scale.set_ticks(
        named.tolist(), labels=[shorten(layers[index], _WIDEST_NAME) for index in named]
    )
    scale.ax.invert_yaxis()
    scale.ax.tick_params(labelsize="small")
    scale.set_label("layer (input at the top)")
