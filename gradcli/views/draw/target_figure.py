"""The picture of how soon the arms of a comparison reach the target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gradcli.comparison.results import ComparisonSummary
from gradcli.notation.panels import whole_steps
from gradcli.records import Doubles
from gradcli.views.draw.arm_marks import look, subject
from gradcli.views.draw.run_figures import blank_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEEDS_BESIDE = 0.08
"""Between the marks of two seeds, of the distance between two arms."""


def target_figure(summary: ComparisonSummary) -> Figure:
    """Draw how soon the arms reach the target.

    Above, the share of an arm's seeds that have, over the steps; below, the steps and the seconds,
    with a mark per seed and a bar at the median.
    """
    rows = 0.8 + 0.45 * len(summary.ranking)
    figure = blank_figure(2.8 + rows)
    panels = figure.subplot_mosaic(
        [["shares", "shares"], ["steps", "seconds"]], height_ratios=[2.8, rows]
    )
    _shares(panels["shares"], summary)
    left, right = panels["steps"], panels["seconds"]
    right.sharey(left)
    right.tick_params(labelleft=False)
    _times(left, summary, "steps_to_target")
    left.set_xlabel("training steps")
    whole_steps(left)
    _times(right, summary, "seconds_to_target")
    right.set_xlabel("seconds in training steps, on a shared machine")
    left.set_yticks(range(len(summary.ranking)), [arm.name for arm in summary.ranking])
    left.set_ylim(len(summary.ranking) - 0.5, -0.5)
    goal = f"a validation {summary.info.metric.name} of {summary.info.target_score:g}"
    figure.suptitle(f"To {goal}, each seed and median: {subject(summary)}", fontsize="medium")
    return figure


def _shares(axes: Axes, summary: ComparisonSummary) -> None:
    """Draw the share of each arm's seeds that have reached the target, over the steps.

    It is 1 - S of the Kaplan-Meier estimate S: all trials that never reach it end together, where a
    bar marks the end of their curve.
    """
    for arm in summary.ranking:
        drawn = look(summary, arm.name)
        times = _times_of(summary, arm.name, "steps_to_target")
        times = np.sort(times[~np.isnan(times)])
        reached = times[np.isfinite(times)]
        shares = np.arange(len(reached) + 1) / max(len(times), 1)
        end = float(np.max([one.steps for one in summary.trials if one.arm == arm.name], initial=0))
        axes.step(
            [0, *reached, end],
            [*shares, shares[-1]],
            where="post",
            color=drawn.color,
            linestyle=drawn.dash,
        )
        axes.plot(reached, shares[1:], drawn.marker, color=drawn.color, markersize=4)
        if len(reached) < len(times):
            axes.plot([end], shares[-1:], "|", color=drawn.color, markersize=12)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("training steps")
    axes.set_ylabel("share of seeds there")
    whole_steps(axes)
    axes.grid(alpha=0.3)


def _times(axes: Axes, summary: ComparisonSummary, what: str) -> None:
    latest = 0.0
    for row, arm in enumerate(summary.ranking):
        drawn = look(summary, arm.name)
        times = _times_of(summary, arm.name, what)
        reached = times[np.isfinite(times)]
        latest = max(latest, float(np.max(reached, initial=0.0)))
        median = arm.measured[what]
        if math.isfinite(median):
            axes.vlines(median, row - 0.35, row + 0.35, color=drawn.color, linewidth=3)
        # Seeds are evaluated at the same steps: side by side they can be counted.
        beside = row + SEEDS_BESIDE * (np.arange(len(reached)) - (len(reached) - 1) / 2)
        axes.plot(reached, beside, drawn.marker, color=drawn.color, markersize=5, alpha=0.7)
        late = int(np.isposinf(times).sum())
        if late:
            axes.annotate(
                f"{late} of {len(times)} never",
                (0.98, row),
                xycoords=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                color=drawn.color,
            )
    axes.set_xlim(0, latest * (1.6 if axes.texts else 1.08))
    axes.grid(alpha=0.3, axis="x")


def _times_of(summary: ComparisonSummary, arm: str, what: str) -> Doubles:
    """Return the times of an arm's measuring trials; infinite if the target was not reached."""
    return np.array(
        [
            one.measured[what]
            for one in summary.trials
            if one.arm == arm and one.stage == "measuring"
        ],
        dtype=np.float64,
    )
