"""The picture of sets of runs: the score of every run, and the mean with its interval."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from gradcli.comparison.run_sets import RunSetComparison
from gradcli.notation.panels import GREY
from gradcli.views.draw.arm_marks import look_at
from gradcli.views.draw.run_figures import blank_figure
from gradcli.views.draw.saving import save_figure
from gradcli.views.runs.sets_screen import score_name
from gradcli.views.table import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT_OF_SET = 0.55
_WIDEST_NAME = 32
_SPREAD = 0.22
"""Of the points of a set across its line."""


def plot_run_sets(path: Path, comparison: RunSetComparison) -> list[Path]:
    """Draw sets of runs into a file, and return its path in a list.

    Args:
        path: in a folder that exists.
        comparison: of the sets.
    """
    save_figure(run_sets_figure(comparison), path)
    return [path]


def run_sets_figure(comparison: RunSetComparison) -> Figure:
    """Draw a line per set, the best at the top: a point per run, the mean and its 95% interval.

    Runs of one seed have one height within their lines, so that pairs can be followed.
    """
    figure = blank_figure(1.4 + _HEIGHT_OF_SET * len(comparison.sets))
    axes = figure.add_subplot()
    members = [member for one in comparison.sets for member in one.members]
    seeds = sorted({member.seed for member in members if member.seed is not None})
    for place, one in enumerate(comparison.sets):
        look = look_at(place)
        scored = [member for member in one.members if math.isfinite(member.score)]
        heights = [
            place + _offset(seeds.index(member.seed), len(seeds)) if member.seed in seeds else place
            for member in scored
        ]
        axes.plot(
            [member.score for member in scored],
            heights,
            look.marker,
            color=look.color,
            alpha=0.55,
            markersize=5,
        )
        low, high = one.score.ci95
        if math.isfinite(low):
            axes.plot([low, high], [place, place], color=look.color, linewidth=2)
        if one.score.count:
            axes.plot([one.score.mean], [place], "|", color=look.color, markersize=16)
    axes.set_yticks(range(len(comparison.sets)), [_name(one.name) for one in comparison.sets])
    axes.invert_yaxis()
    axes.set_ylim(len(comparison.sets) - 0.5, -0.5)
    axes.set_xlabel(score_name(comparison))
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    better = "right" if comparison.metric.direction == "maximize" else "left"
    figure.suptitle(
        "A point per run; the line is the 95% interval of the mean, "
        f"the bar the mean. Better is further {better}.",
        fontsize="small",
        color=GREY,
    )
    return figure


def _offset(index: int, count: int) -> float:
    """Return where the points of a seed are across the line of a set, between ± `_SPREAD`."""
    return _SPREAD * (2 * (index + 0.5) / count - 1) if count > 1 else 0.0


def _name(name: str) -> str:
    return shorten(name, _WIDEST_NAME)
