"""The pictures of a comparison: curves, learning rates, gradient norms, time to the target.

Each arm has one colour and one dash pattern in all pictures, and its name stands beside what
is its own, so that no reader has to match colours. Matplotlib is imported on use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradcli.comparison.results import ComparisonSummary, GridResult, RankedArm, TrialRecords
from gradcli.records import Doubles, Floats
from gradcli.views.compare.arm_phrases import learning_rate
from gradcli.views.draw.run_figures import (
    DOTS_PER_INCH,
    GREY,
    Bins,
    blank_figure,
    decade_limits,
    draw_norms,
    finite_or_gap,
    layer_norms_by_bin,
    log_scale,
    mean_by_bin,
)
from gradcli.views.heading import describe_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch


# Okabe and Ito's palette (2008) without its yellow, which is too pale for a line.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MOST_HEAT_MAPS = 12
LOSS_BINS = 120
"""Few enough for a bin's mean to be smooth."""
# The roundest first: a later one is left out where it would stand too close to an earlier one.
ACCURACY_TICKS = (0.9, 0.99, 0.5, 0.95, 0.98, 0.999, 0.8, 0.97, 0.1, 0.7, 0.995, 0.96, 0.6, 0.85)
FINER_ACCURACY_TICKS = (0.92, 0.94, 0.3, 0.975, 0.985, 0.93, 0.91, 0.2, 0.4)
FEWEST_TICKS = 3
LEAST_TICK_GAP = 0.09
"""Of the height of a picture."""
LEAST_LABEL_GAP = 0.07
"""Between the names of two lines, of the height or the width of a picture."""
MOST_LEVEL_NAMES = 6
"""The most names beside one another; more of them are slanted."""
LEADER = {"arrowstyle": "-", "alpha": 0.4, "shrinkA": 0}
"""The thin line from a name to what it names."""
_LEAST_ERROR = 1e-4


def plot_comparison(
    folder: Path, summary: ComparisonSummary, trials: Sequence[TrialRecords]
) -> list[Path]:
    """Draw a comparison into `folder` as PNG files and return their paths.

    Args:
        folder: an existing folder.
        summary: of the comparison. Without tuning, `learning_rates.png` is left out.
        trials: the records of its trials, in any order; arrays may be memory-mapped. Where no
            trial has been measured, the other pictures are left out.
    """
    measured = _by_arm(summary, trials)
    pictures: dict[str, Figure] = {}
    if measured:
        pictures["learning_curves.png"] = _curves_figure(summary, measured)
    if summary.tuning:
        pictures["learning_rates.png"] = _learning_rates_figure(summary)
    if measured:
        pictures["gradient_norms.png"] = _norms_figure(summary, measured)
        pictures["time_to_target.png"] = _target_figure(summary)
    for name, figure in pictures.items():
        figure.savefig(folder / name, dpi=DOTS_PER_INCH)
    return [folder / name for name in pictures]


def _by_arm(
    summary: ComparisonSummary, trials: Sequence[TrialRecords]
) -> dict[str, list[TrialRecords]]:
    """Return the measuring trials that made any step, by arm, in the order of the ranking."""
    found: dict[str, list[TrialRecords]] = {arm.name: [] for arm in summary.ranking}
    for records in trials:
        if records.trial.stage == "measuring" and len(records.steps):
            found[records.trial.arm].append(records)
    return {arm: of_arm for arm, of_arm in found.items() if of_arm}


# Learning curves -----------------------------------------------------------------------------


def _curves_figure(summary: ComparisonSummary, measured: dict[str, list[TrialRecords]]) -> Figure:
    figure = blank_figure(7.5)
    above, below = figure.subplots(2, 1, sharex=True)
    whole = {arm: [one for one in trials if _is_whole(one)] for arm, trials in measured.items()}
    losses = {arm: loss_curves(trials) for arm, trials in whole.items() if trials}
    accuracies = {arm: accuracy_curves(trials) for arm, trials in whole.items() if trials}
    accuracies = {arm: curves for arm, curves in accuracies.items() if len(curves[0])}

    for arm, (step, values) in losses.items():
        _band(above, summary, arm, step, values)
    log_scale(above, np.concatenate([[np.nan], *(v.ravel() for _, v in losses.values())]))
    above.set_ylabel("training loss (nats)")
    _label_lines(above, summary, losses)
    gone = [arm for arm in measured if arm not in losses]
    if gone:
        above.set_title(f"no seed of {', '.join(gone)} came to its end", fontsize="small")

    accuracies = _side_by_side(accuracies)
    for arm, (step, values) in accuracies.items():
        _band(below, summary, arm, step, values, marker="o")
    _accuracy_scale(below)
    _mark_target(below, summary)
    below.set_ylabel("validation accuracy")
    below.set_xlabel("training step")
    below.set_xlim(left=0)
    _label_lines(below, summary, accuracies)

    seeds = max(len(trials) for trials in measured.values())
    spread = f"mean and range over {seeds} seeds" if seeds > 1 else "one seed"
    figure.suptitle(f"Learning curves, {spread}: {_subject(summary)}", fontsize="medium")
    return figure


def loss_curves(trials: Sequence[TrialRecords]) -> tuple[Floats, Doubles]:
    """Return the middles of bins of steps (bins,) and each trial's mean loss in them.

    The trials have the same steps; the losses have the shape (trials, bins).
    """
    bins = Bins.of(trials[0].steps.step, LOSS_BINS)
    return bins.middles, np.stack([mean_by_bin(one.steps.loss, bins) for one in trials])


def accuracy_curves(trials: Sequence[TrialRecords]) -> tuple[Floats, Doubles]:
    """Return the steps (n,) at which all trials were evaluated, and their accuracies (trials, n).

    Accuracies are those on the validation split.
    """
    found = [
        {record.step: record.accuracy for record in one.evals if record.split == "val"}
        for one in trials
    ]
    step = sorted(set.intersection(*(set(accuracies) for accuracies in found)))
    values = np.array([[accuracies[at] for at in step] for accuracies in found])
    return np.array(step, dtype=np.float64), values.reshape(len(trials), len(step))


def _side_by_side(
    curves: Mapping[str, tuple[Floats, Doubles]],
) -> dict[str, tuple[Floats, Doubles]]:
    """Move curves with points at the same steps aside, so that their ranges are seen."""
    middle = (len(curves) - 1) / 2
    return {
        arm: (step + 0.01 * step[-1] * (place - middle), values)
        for place, (arm, (step, values)) in enumerate(curves.items())
    }


def _is_whole(records: TrialRecords) -> bool:
    """Whether a trial came to its end: one that diverged is never averaged in."""
    return records.trial.status == "finished"


def _band(
    axes: Axes,
    summary: ComparisonSummary,
    arm: str,
    step: Floats,
    values: Doubles,
    marker: str = "",
) -> None:
    """Draw the mean of values (trials, n) and their range; a single point's range is a bar."""
    color, dash = _look(summary, arm)
    mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    axes.plot(step, finite_or_gap(mean), dash, color=color, linewidth=1.5, marker=marker)
    axes.fill_between(step, finite_or_gap(low), finite_or_gap(high), color=color, alpha=0.2, lw=0)
    if marker:
        axes.vlines(step, low, high, color=color, linewidth=1)
    axes.grid(alpha=0.3)


# Learning rates ------------------------------------------------------------------------------


def _learning_rates_figure(summary: ComparisonSummary) -> Figure:
    from matplotlib.lines import Line2D

    figure = blank_figure(5.5)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    for arm in summary.ranking:
        grid = [one for one in summary.tuning if one.arm == arm.name]
        _learning_rates_of_arm(axes, summary, arm, grid)
    _accuracy_scale(axes)
    _mark_target(axes, summary)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("validation accuracy")
    axes.grid(alpha=0.3)
    _label_chosen(axes, summary)
    marks = {}
    if any(one.chosen for one in summary.tuning):
        marks["chosen"] = Line2D([], [], marker="o", markersize=9, mfc="none", ls="", color="black")
    if any(arm.val_accuracy.count for arm in summary.ranking):
        marks["fresh seeds, with 95% interval"] = Line2D([], [], marker="D", color="black")
    if any(one.status == "diverged" for one in summary.tuning):
        marks["diverged"] = Line2D([], [], marker="x", ls="", color="black")
    figure.legend(
        list(marks.values()),
        list(marks),
        loc="outside lower center",
        ncols=max(1, len(marks)),
        frameon=False,
    )
    figure.suptitle(f"Learning rates tried: {_subject(summary)}", fontsize="medium")
    return figure


def _label_chosen(axes: Axes, summary: ComparisonSummary) -> None:
    """Write each arm's name above the picture, over its chosen learning rate."""
    chosen = [one for one in summary.tuning if one.chosen and not math.isnan(one.val_accuracy)]
    many = len(chosen) > MOST_LEVEL_NAMES
    to_axes = axes.transScale + axes.transLimits
    places = [float(to_axes.transform((one.learning_rate, 0.5))[0]) for one in chosen]
    gap = LEAST_LABEL_GAP if many else 1 / MOST_LEVEL_NAMES
    for one, place in zip(chosen, apart(places, gap), strict=True):
        color, _ = _look(summary, one.arm)
        axes.annotate(
            f"{one.arm}, lr {learning_rate(one.learning_rate)}",
            (one.learning_rate, one.val_accuracy),
            xytext=(place, 1.03),
            textcoords="axes fraction",
            ha="left" if many else "center",
            rotation=45 if many else 0,
            fontsize="small",
            color=color,
            arrowprops={**LEADER, "color": color, "relpos": (0 if many else 0.5, 0)},
        )


def _learning_rates_of_arm(
    axes: Axes, summary: ComparisonSummary, arm: RankedArm, grid: Sequence[GridResult]
) -> None:
    color, dash = _look(summary, arm.name)
    axes.plot(
        [one.learning_rate for one in grid],
        [one.val_accuracy for one in grid],
        dash,
        color=color,
        marker="o",
        markersize=4,
    )
    chosen = [one for one in grid if one.chosen]
    axes.plot(
        [one.learning_rate for one in chosen],
        [one.val_accuracy for one in chosen],
        "o",
        color=color,
        markersize=10,
        markerfacecolor="none",
    )
    diverged = [one.learning_rate for one in grid if one.status == "diverged"]
    axes.plot(
        diverged,
        [0.02] * len(diverged),
        "x",
        color=color,
        markersize=8,
        markeredgewidth=2,
        transform=axes.get_xaxis_transform(),
    )
    fresh = arm.val_accuracy
    if fresh.count:
        half = fresh.ci95[1] - fresh.mean if fresh.count > 1 else 0.0
        # Beside the chosen one, which it would hide.
        axes.errorbar(
            arm.learning_rate * 1.06, fresh.mean, half, fmt="D", color=color, markersize=4
        )


# Gradient norms ------------------------------------------------------------------------------


def _norms_figure(summary: ComparisonSummary, measured: dict[str, list[TrialRecords]]) -> Figure:
    """Draw a heat map for each arm, all on one scale, of its first seed."""
    first = {
        arm: min(trials, key=lambda one: one.trial.seed)
        for arm, trials in list(measured.items())[:MOST_HEAT_MAPS]
    }
    norms = {
        arm: layer_norms_by_bin(one.steps, one.info, Bins.of(one.steps.step))
        for arm, one in first.items()
    }
    # What a trial does on its way to infinity would leave the others one colour.
    whole = [norms[arm] for arm, one in first.items() if _is_whole(one)] or list(norms.values())
    scale = decade_limits(np.concatenate([values.ravel() for values in whole]))
    heights = [0.9 + 0.2 * min(len(one.info.layers), 20) for one in first.values()]
    figure = blank_figure(1.0 + sum(heights))
    panels = figure.subplots(
        len(first), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    legend: dict[str, Patch] = {}
    for axes, (arm, one) in zip(panels, first.items(), strict=True):
        image, handles = draw_norms(axes, norms[arm], one.steps.step, one.info.layers, scale)
        legend |= {str(handle.get_label()): handle for handle in handles}
        rate = learning_rate(one.trial.learning_rate)
        ended = ", diverged" if one.trial.status == "diverged" else ""
        axes.set_title(f"{arm}, lr {rate}{ended}", fontsize="small", loc="left")
    panels[-1].set_xlabel("training step")
    colorbar = figure.colorbar(
        image, ax=list(panels), pad=0.02, aspect=40, extend="both", extendfrac=0.02
    )
    colorbar.set_label("log10 of the gradient norm before clipping")
    if legend:
        figure.legend(
            handles=list(legend.values()), loc="outside lower left", ncols=2, frameon=False
        )
    more = summary.ranking[MOST_HEAT_MAPS:]
    best = f" of the best {MOST_HEAT_MAPS}" if more else ""
    seed = next(iter(first.values())).trial.seed
    figure.suptitle(f"Gradient norms by layer{best}, seed {seed}: {_subject(summary)}", size=10)
    return figure


# Time to the target --------------------------------------------------------------------------


def _target_figure(summary: ComparisonSummary) -> Figure:
    """Draw the steps and the seconds to the target, a dot a seed and a bar at the median."""
    figure = blank_figure(1.6 + 0.45 * len(summary.ranking))
    left, right = figure.subplots(1, 2, sharey=True)
    _times(left, summary, "steps_to_target")
    left.set_xlabel("training steps")
    _times(right, summary, "seconds_to_target")
    right.set_xlabel("seconds in training steps, on a shared machine")
    left.set_yticks(range(len(summary.ranking)), [arm.name for arm in summary.ranking])
    left.set_ylim(len(summary.ranking) - 0.5, -0.5)
    target = f"{summary.info.target_accuracy:g}"
    figure.suptitle(
        f"To a validation accuracy of {target}, each seed and median: {_subject(summary)}",
        fontsize="medium",
    )
    return figure


def _times(axes: Axes, summary: ComparisonSummary, what: str) -> None:
    for row, arm in enumerate(summary.ranking):
        color, _ = _look(summary, arm.name)
        times = np.array(
            [
                one.measured[what]
                for one in summary.trials
                if one.arm == arm.name and one.stage == "measuring"
            ]
        )
        reached = times[np.isfinite(times)]
        median = arm.measured[what]
        if math.isfinite(median):
            axes.vlines(median, row - 0.3, row + 0.3, color=color, linewidth=3)
        axes.plot(reached, np.full(len(reached), row), "o", color=color, alpha=0.7)
        late = int(np.isposinf(times).sum())
        if late:
            axes.annotate(
                f"{late} of {len(times)} never",
                (0.98, row),
                xycoords=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                color=color,
            )
    axes.set_xlim(0, axes.get_xlim()[1] * (1.4 if axes.texts else 1))
    axes.grid(alpha=0.3, axis="x")


# What all share ------------------------------------------------------------------------------


def _look(summary: ComparisonSummary, arm: str) -> tuple[str, str]:
    """Return an arm's colour and dash pattern: by its place in the comparison, not its rank."""
    place = [one.name for one in summary.info.arms].index(arm)
    return COLORS[place % len(COLORS)], DASHES[place // len(COLORS) % len(DASHES)]


def _accuracy_scale(axes: Axes) -> None:
    """Make steps in the logarithm of the error rate equal: 0.90 to 0.99 as 0 to 0.9."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axes.set_yscale("function", functions=(_height_of_accuracy, lambda height: 1 - 10.0**-height))
    ticks = accuracy_ticks(*axes.get_ylim())
    few = len(ticks) < FEWEST_TICKS
    axes.yaxis.set_major_locator(MaxNLocator(FEWEST_TICKS + 1) if few else FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def accuracy_ticks(low: float, high: float) -> list[float]:
    """Return round accuracies between two others that have room beside one another."""
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


def _mark_target(axes: Axes, summary: ComparisonSummary) -> None:
    target = summary.info.target_accuracy
    axes.axhline(target, color=GREY, linestyle="--", linewidth=1, zorder=0)
    axes.annotate(
        f"target {target:g}",
        (0.01, target),
        xycoords=axes.get_yaxis_transform(),
        va="bottom",
        fontsize="small",
        color="dimgrey",
    )


def _label_lines(
    axes: Axes, summary: ComparisonSummary, curves: Mapping[str, tuple[Floats, Doubles]]
) -> None:
    """Write each arm's name at the right edge, level with the end of its line where it can be.

    With it stands how many of its trials are not in the line because they diverged.
    """
    to_axes = axes.transScale + axes.transLimits
    ends = [(float(step[-1]), float(values[:, -1].mean())) for step, values in curves.values()]
    heights = [float(to_axes.transform(end)[1]) for end in ends]
    arms = {arm.name: arm for arm in summary.ranking}
    for name, end, height in zip(curves, ends, apart(heights, LEAST_LABEL_GAP), strict=True):
        color, _ = _look(summary, name)
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
    """Move heights as little as can be (least squares) to be `gap` apart, in the same order.

    They end up between 0 and 1 where there is room for that.
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


def _subject(summary: ComparisonSummary) -> str:
    return f"{summary.info.model}, {describe_data(summary.info.data)}"
