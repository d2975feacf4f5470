"""What the pictures of a comparison share: each arm's look, its name, and the scale of scores.

Each arm has one colour, dash pattern and marker in all pictures. Its name is next to its line,
never on one, so that no reader has to match colours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradcli.comparison.results import ComparisonSummary
from gradcli.notation.panels import GREY, log_scale, plain_numbers
from gradcli.records import Doubles, Floats, Metric
from gradcli.views.compare.arm_phrases import learning_rate
from gradcli.views.heading import describe_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Okabe and Ito's palette (2008) without its yellow, which is too pale for a line.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
# The roundest first: a later one is left out if it would be too close to an earlier one.
ACCURACY_TICKS = (0.9, 0.99, 0.5, 0.95, 0.98, 0.999, 0.8, 0.97, 0.1, 0.7, 0.995, 0.96, 0.6, 0.85)
FINER_ACCURACY_TICKS = (0.92, 0.94, 0.3, 0.975, 0.985, 0.93, 0.91, 0.2, 0.4)
FEWEST_TICKS = 3
LEAST_TICK_GAP = 0.09
"""Of the height of a picture."""
LEAST_LABEL_GAP = 0.07
"""Between the names of two lines, of the height or the width of a picture."""
LEADER = {"arrowstyle": "-", "alpha": 0.4, "shrinkA": 0}
"""The thin line from a name to what it names."""
MOST_ABOVE_SCORES = 0.3
"""The room for intervals above the scores, and below them, of the range of the scores."""
_LEAST_ERROR = 1e-4


@dataclass(frozen=True, slots=True)
class ArmLook:
    """How an arm is drawn."""

    color: str
    dash: str
    marker: str


def look(summary: ComparisonSummary, arm: str) -> ArmLook:
    """Return how an arm is drawn: by its place in the comparison, not by its rank."""
    return look_at([one.name for one in summary.info.arms].index(arm))


def look_at(place: int) -> ArmLook:
    """Return how the arm at a place of the comparison is drawn.

    No two of the first 56 arms share both colour and marker.
    """
    turn = place // len(COLORS)
    return ArmLook(
        COLORS[place % len(COLORS)], DASHES[turn % len(DASHES)], MARKERS[turn % len(MARKERS)]
    )


def score_scale(axes: Axes, metric: Metric) -> None:
    """Make the height of a score fit its metric.

    Of accuracies, steps in the logarithm of the error rate are equal: 0.90 to 0.99 as 0 to 0.9. Of
    positive scores that are better if lower, steps in their own logarithm.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    drawn = _scores_drawn(axes)
    if not metric.is_accuracy:
        # The ends of intervals may lie at 0, where no score does.
        if metric.direction == "minimize" and np.min(drawn, initial=math.inf) > 0:
            log_scale(axes, drawn)
        else:
            plain_numbers(axes)
        _leave_out_long_intervals(axes, drawn)
        return
    axes.set_yscale("function", functions=(_height_of_accuracy, lambda height: 1 - 10.0**-height))
    _leave_out_long_intervals(axes, drawn)
    ticks = accuracy_ticks(*axes.get_ylim())
    few = len(ticks) < FEWEST_TICKS
    axes.yaxis.set_major_locator(MaxNLocator(FEWEST_TICKS + 1) if few else FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _scores_drawn(axes: Axes) -> Doubles:
    """Return the finite scores drawn so far, without ends of intervals.

    They are those of the lines and points of all axes that share this scale.
    """
    together = axes.get_shared_y_axes().get_siblings(axes)
    scores = [line.get_ydata() for one in together for line in one.lines if _has_scores(one, line)]
    drawn = np.concatenate([[np.nan], *scores]).astype(np.float64)
    return drawn[np.isfinite(drawn)]


def _has_scores(axes: Axes, line: Line2D) -> bool:
    """Whether the height of a line is a score; that of a mark at the edge of the axes is none."""
    return line.get_transform() != axes.get_xaxis_transform()


def _leave_out_long_intervals(axes: Axes, scores: Doubles) -> None:
    """Set the limits so that what is above and below the scores takes little of the height.

    The interval of few seeds may be far longer than the scores are apart, and would squeeze them.
    """
    axes.autoscale_view()  # what is written beside the axes needs their limits, too
    if not scores.size:
        return
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array([scores.min(), scores.max()]))
    bottom, top = scale.transform(np.array(axes.get_ylim()))
    room = MOST_ABOVE_SCORES * (high - low)
    if room > 0:
        limits = np.array([max(bottom, low - room), min(top, high + room)])
        axes.set_ylim(*scale.inverted().transform(limits))


def accuracy_ticks(low: float, high: float) -> list[float]:
    """Return round accuracies between two others, with room for each."""
    bottom, top = _height_of_accuracy(np.array([low, high]))
    ticks: list[float] = []
    heights: list[float] = []
    for tick in (*ACCURACY_TICKS, *FINER_ACCURACY_TICKS):
        height = float((_height_of_accuracy(np.array(tick)) - bottom) / (top - bottom))
        if 0 <= height <= 1 and all(abs(height - one) >= LEAST_TICK_GAP for one in heights):
            ticks.append(tick)
            heights.append(height)
    return sorted(ticks)


def _height_of_accuracy(accuracy: Doubles) -> Doubles:
    return -np.log10(np.maximum(1 - accuracy, _LEAST_ERROR))


def mark_target(axes: Axes, summary: ComparisonSummary) -> dict[str, Line2D]:
    """Draw the score to time as a line across, and return its entry for a legend, if it has one."""
    target = summary.info.target_score
    if math.isnan(target):
        return {}
    line = axes.axhline(target, color=GREY, linestyle="--", linewidth=1, zorder=0)
    return {f"target {target:g}": line}


def label_lines(
    axes: Axes, summary: ComparisonSummary, curves: Mapping[str, tuple[Floats, Doubles]]
) -> None:
    """Write each arm's name at the right edge, level with the end of its line if possible.

    It also says how many trials are not part of the line because they diverged.
    """
    to_axes = axes.transScale + axes.transLimits
    ends = [(float(step[-1]), float(values[:, -1].mean())) for step, values in curves.values()]
    heights = [float(to_axes.transform(end)[1]) for end in ends]
    arms = {arm.name: arm for arm in summary.ranking}
    for name, end, height in zip(curves, ends, apart(heights, LEAST_LABEL_GAP), strict=True):
        color = look(summary, name).color
        lost = f", {arms[name].diverged} diverged" if arms[name].diverged else ""
        axes.annotate(
            f"{name}, lr {learning_rate(arms[name].learning_rate)}{lost}",
            end,
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            color=color,
            arrowprops={**LEADER, "color": color, "relpos": (0, 0.5)},
        )


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights as little as possible (least squares) to be `gap` apart, in the same order.

    They end up between 0 and 1 if there is room.
    """
    if not heights:
        return []
    order = np.argsort(heights, kind="stable")
    gaps = gap * np.arange(len(heights))
    # With the gaps taken out, "apart" means "rising": isotonic regression, by pooling blocks.
    blocks: list[tuple[float, int]] = []
    for value in np.asarray(heights, dtype=np.float64)[order] - gaps:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    moved = np.empty(len(heights))
    level = [mean for mean, size in blocks for _ in range(size)]
    moved[order] = np.clip(level, 0, max(1 - float(gaps[-1]), 0)) + gaps
    return [float(height) for height in moved]


def subject(summary: ComparisonSummary) -> str:
    """Name the model and the data for a title; not the model if `--vary` compares several."""
    overrides = [one for arm in summary.info.arms for one in arm.overrides]
    several = any(one.partition("=")[0] == "model" for one in overrides)
    model = "several models" if several else summary.info.model
    return f"{model}, {describe_data(summary.info.data)}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """List names; of a long list only the first."""
    shown, more = names[:most], len(names) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
