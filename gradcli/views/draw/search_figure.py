"""The picture of a search: what each key did to the score, and how the best one rose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from gradcli.comparison.results import ComparisonSummary, GridResult, TrialStatus
from gradcli.comparison.search import Range, Setting
from gradcli.notation.panels import whole_steps
from gradcli.records import Doubles, Metric
from gradcli.views.draw.arm_marks import LEADER, ArmLook, apart, look_at, score_scale
from gradcli.views.draw.run_figures import blank_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MOST_ARMS = 8
"""Of the panels; the curves of the best so far are of all arms."""
PANEL_INCHES, CURVE_INCHES = 1.6, 2.4
BEYOND_ENDS = 0.06
"""The room beside a range, of its width."""
LEAST_TICK_GAP = 0.3
"""Between the numbers at an axis, of the width of a range."""
ABOVE_SCORES = 0.16
"""The room above and below the scores, of their range: for the marks of what diverged."""
LEAST_NAME_GAP = 0.11
"""Between the names of two curves, of the height of their panel."""

_DIVERGED_HEIGHT = 0.06
"""Of a panel, where scores are worst."""


#: A failed trial has no score to draw.
_DRAWN_STATUSES: dict[TrialStatus, Literal["finished", "stopped", "diverged"]] = {
    "finished": "finished",
    "stopped": "stopped",
    "diverged": "diverged",
}


@dataclass(frozen=True, slots=True)
class DrawnSearch:
    """The search of one arm, as it is drawn; settings are in the order of their proposal."""

    name: str
    place: int
    """Of the arm in the comparison, which decides its colour."""
    ranges: tuple[Range, ...]
    settings: tuple[Setting, ...]
    scores: tuple[float, ...]
    """On the validation split: at the end, or where a setting was stopped; NaN without one."""
    statuses: tuple[Literal["finished", "stopped", "diverged"], ...]
    chosen: int | None
    """The place of the chosen setting."""


def drawn_searches(summary: ComparisonSummary) -> list[DrawnSearch]:
    """Return the searches of a comparison, the best arm first, without what has not ended."""
    places = {arm.name: place for place, arm in enumerate(summary.info.arms)}
    found = []
    for arm in summary.ranking:
        tried = [
            one for one in summary.tuning if one.arm == arm.name and one.status in _DRAWN_STATUSES
        ]
        settings = [one.setting for one in tried]
        if tried:
            found.append(
                DrawnSearch(
                    name=arm.name,
                    place=places[arm.name],
                    ranges=summary.info.arms[places[arm.name]].ranges,
                    settings=tuple(settings),
                    scores=tuple(_score(summary, one) for one in tried),
                    statuses=tuple(_DRAWN_STATUSES[one.status] for one in tried),
                    chosen=settings.index(arm.setting) if arm.setting in settings else None,
                )
            )
    return found


def _score(summary: ComparisonSummary, tried: GridResult) -> float:
    """Return the mean score of what was tried, where it was stopped if it was."""
    scores = [
        one.val_score
        for one in summary.trials
        if (one.arm, one.setting, one.stage) == (tried.arm, tried.setting, "tuning")
    ]
    return tried.val_score if tried.status != "stopped" or not scores else float(np.mean(scores))


def search_figure(searches: Sequence[DrawnSearch], metric: Metric, subject: str) -> Figure:
    """Draw each setting's score against the value of each key, and the best so far.

    Args:
        searches: one per arm, the best arm first. Only the first `MOST_ARMS` have panels.
        metric: of the scores.
        subject: what was trained, for the title.
    """
    shown = searches[:MOST_ARMS]
    rows = [PANEL_INCHES] * len(shown) + [CURVE_INCHES]
    figure = blank_figure(1.2 + sum(rows))
    columns = max(len(search.ranges) for search in shown)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=rows)
    panels: list[Axes] = []
    for row, search in enumerate(shown):
        for key in range(len(search.ranges)):
            axes = figure.add_subplot(grid[row, key], sharey=panels[0] if panels else None)
            panels.append(axes)
            _key_panel(axes, search, key, metric)
    scores = np.array([score for search in shown for score in search.scores])
    _scale(panels[0], metric, has_scores=bool(np.isfinite(scores).any()))
    _best_so_far(figure.add_subplot(grid[-1, :]), searches, metric)
    marks = _marks(shown)
    figure.legend(
        list(marks.values()),
        list(marks),
        loc="outside lower center",
        ncols=max(1, len(marks)),
        frameon=False,
    )
    some = f", the best {MOST_ARMS} arms" if len(searches) > len(shown) else ""
    figure.suptitle(f"Settings tried{some}: {subject}", fontsize="medium")
    return figure


def _scale(axes: Axes, metric: Metric, *, has_scores: bool) -> None:
    """Make the height fit the metric; without a score it has no numbers."""
    if has_scores:
        score_scale(axes, metric)
    else:
        axes.set_yticks([])


def _key_panel(axes: Axes, search: DrawnSearch, key: int, metric: Metric) -> None:
    """Draw the scores of an arm's settings against the value of one key."""
    one, drawn = search.ranges[key], look_at(search.place)
    positions = np.array([one.position(setting[key][1]) for setting in search.settings])
    scores = np.array(search.scores)
    statuses = np.array(search.statuses)
    for status, face in (("stopped", "white"), ("finished", drawn.color)):
        of_status = statuses == status
        axes.plot(
            positions[of_status],
            scores[of_status],
            drawn.marker,
            color=drawn.color,
            markerfacecolor=face,
            markersize=5,
        )
    diverged = positions[statuses == "diverged"]
    axes.plot(
        diverged,
        [_DIVERGED_HEIGHT if metric.direction == "maximize" else 1 - _DIVERGED_HEIGHT]
        * len(diverged),
        "x",
        color=drawn.color,
        markersize=6,
        markeredgewidth=1.5,
        transform=axes.get_xaxis_transform(),
    )
    if search.chosen is not None:
        axes.plot(
            positions[search.chosen],
            scores[search.chosen],
            "o",
            color=drawn.color,
            markersize=11,
            markerfacecolor="none",
        )
    ticks = range_ticks(one)
    axes.set_xticks([one.position(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.set_xlim(-BEYOND_ENDS, 1 + BEYOND_ENDS)
    axes.margins(y=ABOVE_SCORES)
    axes.set_xlabel(one.key, labelpad=1, fontsize="small")
    axes.tick_params(labelsize="small", labelleft=key == 0)
    axes.grid(alpha=0.3)
    if key == 0:
        axes.set_title(search.name, fontsize="small", loc="left", color=drawn.color)
        axes.set_ylabel(f"validation\n{metric.name}", fontsize="small")


def range_ticks(one: Range) -> list[float]:
    """Return round values within a range, with room for each."""
    if one.scale == "linear":
        from matplotlib.ticker import MaxNLocator

        values = list(map(float, MaxNLocator(4).tick_values(one.low, one.high)))
    elif one.scale == "log":
        values = _round_numbers(one.low, one.high)
    else:
        # Without the last digits, so that 1 - 0.002 is 0.998.
        ends = (1 - one.high, 1 - one.low)
        values = [float(f"{1 - number:.12g}") for number in _round_numbers(*ends)]
    ticks: list[float] = []
    for value in values:
        place = one.position(value)
        near = any(abs(place - one.position(tick)) < LEAST_TICK_GAP for tick in ticks)
        if -BEYOND_ENDS <= place <= 1 + BEYOND_ENDS and not near:
            ticks.append(value)
    return sorted(ticks)


def _round_numbers(low: float, high: float) -> list[float]:
    """Return the powers of ten around two numbers, then their halves and fifths."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [float(f"{digit}e{decade}") for digit in (1, 5, 2) for decade in range(first, last + 1)]


def best_so_far(search: DrawnSearch, metric: Metric) -> Doubles:
    """Return the best score (n,) of the settings that ran to their end, after each one tried.

    NaN until there is one.
    """
    merits = [
        metric.merit(score) if status == "finished" else -math.inf
        for score, status in zip(search.scores, search.statuses, strict=True)
    ]
    best = np.maximum.accumulate(np.array(merits, dtype=np.float64))
    known: Doubles = np.where(np.isneginf(best), np.nan, best)
    return known if metric.direction == "maximize" else -known


def _best_so_far(axes: Axes, searches: Sequence[DrawnSearch], metric: Metric) -> None:
    """Draw the best score of each arm after every setting, with the arm's name at its end."""
    ends: list[tuple[DrawnSearch, ArmLook, float, float]] = []
    for search in searches:
        drawn, best = look_at(search.place), best_so_far(search, metric)
        tried = np.arange(1, len(best) + 1)
        axes.step(tried, best, drawn.dash, where="post", color=drawn.color, linewidth=1.5)
        if np.isfinite(best).any():
            at = int(np.flatnonzero(np.isfinite(best))[0])
            axes.plot(tried[at], best[at], drawn.marker, color=drawn.color, markersize=4)
            ends.append((search, drawn, float(tried[-1]), float(best[-1])))
    _scale(axes, metric, has_scores=bool(ends))
    axes.set_xlim(0, max(len(one.settings) for one in searches) + 0.5)
    axes.set_xlabel("settings tried")
    axes.set_ylabel("the best so far")
    axes.grid(alpha=0.3)
    whole_steps(axes)
    to_axes = axes.transScale + axes.transLimits
    heights = [float(to_axes.transform((x, y))[1]) for *_, x, y in ends]
    for (search, drawn, x, y), height in zip(ends, apart(heights, LEAST_NAME_GAP), strict=True):
        axes.annotate(
            search.name,
            (x, y),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            color=drawn.color,
            arrowprops={**LEADER, "color": drawn.color, "relpos": (0, 0.5)},
        )


def _marks(searches: Sequence[DrawnSearch]) -> dict[str, Line2D]:
    """Return what a legend explains: the marks that are drawn."""
    from matplotlib.lines import Line2D

    statuses = {status for search in searches for status in search.statuses}
    kinds = {
        "ran to its end": ("finished" in statuses, "o", "black", 5),
        "stopped early": ("stopped" in statuses, "o", "white", 5),
        "diverged": ("diverged" in statuses, "x", "black", 6),
        "chosen": (any(one.chosen is not None for one in searches), "o", "none", 11),
    }
    return {
        name: Line2D([], [], marker=marker, ls="", color="black", mfc=face, markersize=size)
        for name, (drawn, marker, face, size) in kinds.items()
        if drawn
    }
