"""The picture of a search for a learning rate: the loss of every rehearsal, and the proposal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from gradcli.comparison.best_rate import FoundRate
from gradcli.notation import numbers
from gradcli.notation.panels import BLUE, GREY, ORANGE, VERMILION
from gradcli.views.draw.run_figures import blank_figure
from gradcli.views.draw.saving import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_found_rate(folder: Path, found: FoundRate) -> list[Path]:
    """Draw a search into `folder` as `learning_rate.png`, and return its path.

    Args:
        folder: exists.
        found: what the search has found.
    """
    path = folder / "learning_rate.png"
    save_figure(found_rate_figure(found), path)
    return [path]


def found_rate_figure(found: FoundRate) -> Figure:
    """Draw the loss against the learning rate: a line per seed, and one for the scouting."""
    figure = blank_figure(4.5)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    proposed = found.proposed
    losses = [
        loss
        for one in (*proposed.scouted, *proposed.rehearsed)
        for loss in one.losses
        if math.isfinite(loss)
    ]
    if losses and min(losses) > 0:  # of a bad rate it would flatten all others on a linear axis
        axes.set_yscale("log")
    seeds = numbers.count(len(found.search.seeds), "seed")
    for number in range(len(found.search.seeds)):
        points = [
            (one.rate, one.losses[number])
            for one in proposed.rehearsed
            if number < len(one.losses) and math.isfinite(one.losses[number])
        ]
        axes.plot(
            [rate for rate, _ in points],
            [loss for _, loss in points],
            color=BLUE,
            alpha=0.6,
            marker="o",
            markersize=4,
            label="" if number else f"{found.search.steps} steps, {seeds}",
        )
    scouted = [one for one in proposed.scouted if math.isfinite(one.mean)]
    axes.plot(
        [one.rate for one in scouted],
        [one.mean for one in scouted],
        "--",
        color=GREY,
        marker="s",
        markersize=4,
        label=f"{found.search.scouting_steps} steps, seed {found.search.seeds[0]}",
    )
    tried = (*proposed.scouted, *proposed.rehearsed)
    if diverged := sorted({one.rate for one in tried if math.isinf(one.mean)}):
        axes.plot(
            diverged,
            [0.03] * len(diverged),
            "x",
            color=VERMILION,
            transform=axes.get_xaxis_transform(),
            label="diverged",
        )
    if proposed.is_found:
        axes.axvspan(*proposed.interval, color=ORANGE, alpha=0.2, label="95% interval")
        axes.axvline(proposed.rate, color=ORANGE, label=f"lr {proposed.rate:g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel(found.judged_by)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"Learning rate of {found.info.model}, {found.info.optimizer}, {found.info.data.name}",
        fontsize="medium",
    )
    return figure
