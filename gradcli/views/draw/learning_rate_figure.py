"""The picture of the learning rates that a comparison tried, and of those that it chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from gradcli.comparison.results import ComparisonSummary, GridResult, RankedArm
from gradcli.views.compare.arm_phrases import learning_rate
from gradcli.views.draw.arm_marks import (
    LEADER,
    apart,
    look,
    mark_target,
    score_scale,
    subject,
)
from gradcli.views.draw.run_figures import blank_figure
from gradcli.views.table import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MOST_LEVEL_NAMES = 6
"""The most names above one another's lines; more are listed in a legend at the right."""
LONGEST_LEVEL_NAME = 16
"""The width of a line of a name, if there are the most; fewer names have more room..."""
LEAST_LEVEL_NAMES = 3
"""...but no more than this many have."""
FRESH = "*"
"""The marker of fresh seeds: no arm's."""


def learning_rates_figure(summary: ComparisonSummary) -> Figure:
    """Draw the validation score of every learning rate, a line per arm."""
    from matplotlib.lines import Line2D

    figure = blank_figure(5.5)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    lines: dict[str, Line2D] = {}
    for arm in summary.ranking:
        grid = [one for one in summary.tuning if one.arm == arm.name]
        lines |= _learning_rates_of_arm(axes, summary, arm, grid)
    marks = mark_target(axes, summary)
    score_scale(axes, summary.info.metric)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"validation {summary.info.metric.name}")
    axes.grid(alpha=0.3)
    if len(lines) > MOST_LEVEL_NAMES:
        figure.legend(
            list(lines.values()),
            list(lines),
            loc="outside right upper",
            frameon=False,
            fontsize="small",
        )
    else:
        _label_chosen(axes, summary)
    if any(one.chosen for one in summary.tuning):
        marks["chosen"] = Line2D([], [], marker="o", markersize=9, mfc="none", ls="", color="black")
    if any(arm.val_score.count for arm in summary.ranking):
        fresh = Line2D([], [], marker=FRESH, ls="", color="black", markersize=8)
        marks["fresh seeds, with 95% interval"] = fresh
    if any(one.status == "diverged" for one in summary.tuning):
        marks["diverged"] = Line2D([], [], marker="x", ls="", color="black")
    figure.legend(
        list(marks.values()),
        list(marks),
        loc="outside lower center",
        ncols=max(1, len(marks)),
        frameon=False,
    )
    figure.suptitle(f"Learning rates tried: {subject(summary)}", fontsize="medium")
    return figure


def _label_chosen(axes: Axes, summary: ComparisonSummary) -> None:
    """Write each arm's name above the picture, over its chosen learning rate."""
    chosen = [one for one in summary.tuning if one.chosen and not math.isnan(one.val_score)]
    to_axes = axes.transScale + axes.transLimits
    places = [float(to_axes.transform((one.learning_rate, 0.5))[0]) for one in chosen]
    names = max(len(chosen), LEAST_LEVEL_NAMES)
    width = LONGEST_LEVEL_NAME * MOST_LEVEL_NAMES // names
    for one, place in zip(chosen, apart(places, 1 / names), strict=True):
        color = look(summary, one.arm).color
        lines = wrap(one.arm, width, break_long_words=False, break_on_hyphens=False)
        name = "\n".join(shorten(line, width) for line in lines)
        axes.annotate(
            f"{name}\nlr {learning_rate(one.learning_rate)}",
            (one.learning_rate, one.val_score),
            xytext=(place, 1.03),
            textcoords="axes fraction",
            ha="center",
            va="bottom",
            fontsize="small",
            color=color,
            arrowprops={**LEADER, "color": color, "relpos": (0.5, 0)},
        )


def _learning_rates_of_arm(
    axes: Axes, summary: ComparisonSummary, arm: RankedArm, grid: Sequence[GridResult]
) -> dict[str, Line2D]:
    """Draw the learning rates of an arm, and return its entry for a legend."""
    drawn = look(summary, arm.name)
    (line,) = axes.plot(
        [one.learning_rate for one in grid],
        [one.val_score for one in grid],
        drawn.dash,
        color=drawn.color,
        marker=drawn.marker,
        markersize=5,
    )
    chosen = [one for one in grid if one.chosen]
    axes.plot(
        [one.learning_rate for one in chosen],
        [one.val_score for one in chosen],
        "o",
        color=drawn.color,
        markersize=11,
        markerfacecolor="none",
    )
    diverged = [one.learning_rate for one in grid if one.status == "diverged"]
    axes.plot(
        diverged,
        [0.02] * len(diverged),
        "x",
        color=drawn.color,
        markersize=8,
        markeredgewidth=2,
        transform=axes.get_xaxis_transform(),
    )
    fresh = arm.val_score
    if fresh.count:
        known = math.isfinite(sum(fresh.ci95))
        low, high = fresh.ci95 if known else (fresh.mean, fresh.mean)
        axes.errorbar(
            arm.learning_rate * 1.06,  # next to the chosen one, which it would hide
            fresh.mean,
            [[fresh.mean - low], [high - fresh.mean]],
            fmt=FRESH,
            color=drawn.color,
            markersize=7,
        )
    return {f"{arm.name}, lr {learning_rate(arm.learning_rate)}": line}
