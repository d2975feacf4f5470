"""The pictures of a comparison: curves, learning rates, gradient norms, time to the target.

What they share is in `arm_marks`. Matplotlib is imported on use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradcli.comparison.results import ComparisonSummary, TrialRecords
from gradcli.notation.panels import finite_or_gap, log_scale, whole_steps
from gradcli.records import Doubles, Floats
from gradcli.views.compare.arm_phrases import learning_rate
from gradcli.views.draw.arm_marks import (
    label_lines,
    listed,
    look,
    mark_target,
    score_scale,
    subject,
)
from gradcli.views.draw.learning_rate_figure import learning_rates_figure
from gradcli.views.draw.run_figures import (
    Bins,
    blank_figure,
    decade_limits,
    draw_norms,
    layer_norms_by_bin,
    mean_by_bin,
)
from gradcli.views.draw.saving import save_figure
from gradcli.views.draw.search_figure import drawn_searches, search_figure
from gradcli.views.draw.target_figure import target_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch


MOST_HEAT_MAPS = 12
MOST_LAYER_ROWS = 20
"""Of a heat map: those of more layers are less high, and half as high still have names."""
LOSS_BINS = 120
"""Few enough for a bin's mean to be smooth."""
FEW_MARKERS = 8
"""Of a line that has a point per bin."""


def plot_comparison(
    folder: Path, summary: ComparisonSummary, trials: Sequence[TrialRecords]
) -> list[Path]:
    """Draw a comparison into `folder` as PNG files and return their paths.

    Args:
        folder: an existing folder.
        summary: of the comparison. Without tuning, `learning_rates.png` is left out; of a search
            there is `search.png` instead; if no trial reached the target, there is no
            `time_to_target.png`.
        trials: the records of its trials, in any order; arrays may be memory-mapped. If no trial
            has been measured, only `learning_rates.png` or `search.png` is drawn.
    """
    measured = trials_by_arm(summary, trials)
    pictures: dict[str, Figure] = {}
    if measured:
        pictures["learning_curves.png"] = _curves_figure(summary, measured)
    if summary.info.search and (searches := drawn_searches(summary)):
        pictures["search.png"] = search_figure(searches, summary.info.metric, subject(summary))
    elif summary.tuning and not summary.info.search:
        pictures["learning_rates.png"] = learning_rates_figure(summary)
    if measured:
        pictures["gradient_norms.png"] = _norms_figure(summary, measured)
        if any(
            math.isfinite(one.measured["steps_to_target"])
            for one in summary.trials
            if one.stage == "measuring"
        ):
            pictures["time_to_target.png"] = target_figure(summary)
    for name, figure in pictures.items():
        save_figure(figure, folder / name)
    return [folder / name for name in pictures]


def trials_by_arm(
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
    whole = {arm: [one for one in trials if _is_whole(one)] for arm, trials in measured.items()}
    losses = {arm: loss_curves(trials) for arm, trials in whole.items() if trials}
    scores = {arm: score_curves(trials) for arm, trials in whole.items() if trials}
    scores = {arm: curves for arm, curves in scores.items() if len(curves[0])}
    figure = blank_figure(7.5 if scores else 4.2)
    panels = figure.subplots(1 + bool(scores), 1, sharex=True, squeeze=False)[:, 0]

    _losses(panels[0], summary, measured, losses)
    if scores:
        scores = _side_by_side(scores)
        for arm, (step, values) in scores.items():
            _band(panels[1], summary, arm, step, values, points=True)
        target = mark_target(panels[1], summary)
        score_scale(panels[1], summary.info.metric)
        if target:
            figure.legend(
                list(target.values()), list(target), loc="outside lower left", frameon=False
            )
        panels[1].set_ylabel(f"validation {summary.info.metric.name}")
        label_lines(panels[1], summary, scores)
    panels[-1].set_xlabel("training step")
    whole_steps(panels[-1])
    panels[-1].set_xlim(left=0)

    seeds = max(len(trials) for trials in measured.values())
    spread = f"mean and range over {seeds} seeds" if seeds > 1 else "one seed"
    figure.suptitle(f"Learning curves, {spread}: {subject(summary)}", fontsize="medium")
    return figure


def _losses(
    axes: Axes,
    summary: ComparisonSummary,
    measured: dict[str, list[TrialRecords]],
    curves: dict[str, tuple[Floats, Doubles]],
) -> None:
    """Draw the arms' losses; of an arm without any whole trial, each trial up to its end."""
    for arm, (step, values) in curves.items():
        _band(axes, summary, arm, step, values)
    broken = {arm: trials for arm, trials in measured.items() if arm not in curves}
    drawn = [values.ravel() for _, values in curves.values()]
    for arm, trials in broken.items():
        for one in trials:
            step, (loss,) = loss_curves([one])
            drawn.append(loss)
            color = look(summary, arm).color
            axes.plot(step, finite_or_gap(loss), ":", color=color, linewidth=1, marker="x", ms=3)
    log_scale(axes, np.concatenate([[np.nan], *drawn]))
    axes.set_ylabel("training loss")
    label_lines(axes, summary, curves)
    if broken:
        axes.set_title(f"dotted: no trial of {listed(list(broken))} finished", fontsize="small")


def loss_curves(trials: Sequence[TrialRecords]) -> tuple[Floats, Doubles]:
    """Return the middles of bins of steps (bins,) and each trial's mean loss in them.

    The trials have the same steps; the losses have the shape (trials, bins).
    """
    bins = Bins.of(trials[0].steps.step, LOSS_BINS)
    return bins.middles, np.stack([mean_by_bin(one.steps.loss, bins) for one in trials])


def score_curves(trials: Sequence[TrialRecords]) -> tuple[Floats, Doubles]:
    """Return the steps (n,) at which all trials were evaluated, and their scores (trials, n).

    They are those on the validation split.
    """
    found = [
        {record.step: record.score for record in one.evals if record.split == "val"}
        for one in trials
    ]
    step = sorted(set.intersection(*(set(scores) for scores in found)))
    values = np.array([[scores[at] for at in step] for scores in found])
    return np.array(step, dtype=np.float64), values.reshape(len(trials), len(step))


def _side_by_side(
    curves: Mapping[str, tuple[Floats, Doubles]],
) -> dict[str, tuple[Floats, Doubles]]:
    """Move curves with points at the same steps aside a little, so that their ranges are seen."""
    middle = (len(curves) - 1) / 2
    distance = min(0.01, 0.04 / len(curves))
    return {
        arm: (step + distance * step[-1] * (place - middle), values)
        for place, (arm, (step, values)) in enumerate(curves.items())
    }


def _is_whole(records: TrialRecords) -> bool:
    """Whether a trial finished: one that diverged is never averaged in."""
    return records.trial.status == "finished"


def _band(
    axes: Axes,
    summary: ComparisonSummary,
    arm: str,
    step: Floats,
    values: Doubles,
    *,
    points: bool = False,
) -> None:
    """Draw the mean of values (trials, n) and their range.

    A marker is at every step if they are `points`, whose ranges are bars; else at a few, at other
    steps than those of the next arm.
    """
    drawn = look(summary, arm)
    mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    place = [one.name for one in summary.info.arms].index(arm)
    every = max(1, len(step) // FEW_MARKERS)
    axes.plot(
        step,
        finite_or_gap(mean),
        drawn.dash,
        color=drawn.color,
        linewidth=1.5,
        marker=drawn.marker,
        markersize=5,
        markevery=1 if points else ((3 * place) % every, every),
    )
    axes.fill_between(
        step, finite_or_gap(low), finite_or_gap(high), color=drawn.color, alpha=0.2, lw=0
    )
    if points:
        axes.vlines(step, low, high, color=drawn.color, linewidth=1)
    axes.grid(alpha=0.3)


# Gradient norms ------------------------------------------------------------------------------


def _norms_figure(summary: ComparisonSummary, measured: dict[str, list[TrialRecords]]) -> Figure:
    """Draw a heat map of each arm's first seed, all on one scale."""
    first = {
        arm: min(trials, key=lambda one: one.trial.seed)
        for arm, trials in list(measured.items())[:MOST_HEAT_MAPS]
    }
    norms = {
        arm: layer_norms_by_bin(one.steps, one.info, Bins.of(one.steps.step))
        for arm, one in first.items()
    }
    # A trial that diverges would leave the others one colour.
    whole = [norms[arm] for arm, one in first.items() if _is_whole(one)] or list(norms.values())
    scale = decade_limits(np.concatenate([values.ravel() for values in whole]))
    heights = [0.9 + 0.2 * min(len(one.info.layers), MOST_LAYER_ROWS) for one in first.values()]
    figure = blank_figure(1.0 + sum(heights))
    panels = figure.subplots(
        len(first), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    legend: dict[str, Patch] = {}
    for axes, (arm, one) in zip(panels, first.items(), strict=True):
        image, handles = draw_norms(
            axes, norms[arm], one.steps.step, one.info.layers, scale, 2 * MOST_LAYER_ROWS
        )
        legend |= {str(handle.get_label()): handle for handle in handles}
        rate = learning_rate(one.trial.learning_rate)
        ended = ", diverged" if one.trial.status == "diverged" else ""
        axes.set_title(f"{arm}, lr {rate}{ended}", fontsize="small", loc="left")
    panels[-1].set_xlabel("training step")
    whole_steps(panels[-1])
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
    figure.suptitle(f"Gradient norms by layer{best}, seed {seed}: {subject(summary)}", size=10)
    return figure
