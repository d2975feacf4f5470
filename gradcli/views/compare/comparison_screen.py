"""The screen of a running comparison: from its progress to lines of a given size.

Layout only. `live_table` decides when it is drawn; `comparison.progress` gives the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from gradcli.comparison.live import ArmProgress, ComparisonProgress, RunningTrial
from gradcli.comparison.results import ComparisonInfo
from gradcli.comparison.verdicts import Summary
from gradcli.notation import numbers
from gradcli.records import Metric
from gradcli.views.compare.arm_phrases import describe_comparison, describe_trial, learning_rate
from gradcli.views.compare.column_cells import written
from gradcli.views.compare.rate_strip import (
    Strips,
    best_so_far,
    heat_strips,
    is_scored,
    short_validation,
)
from gradcli.views.heading import joined
from gradcli.views.sparkline import sparklines
from gradcli.views.table import (
    GAP,
    STRONG,
    TITLE,
    Column,
    Line,
    crop,
    fit,
    fitting,
    piece,
    shorten,
    table,
    total_width,
)
from gradcli.views.train.training_screen import (
    CLOCK_WIDTH,
    LONGEST_SPARKLINE,
    MARGIN,
    PICTURE,
    ROOMY_HEIGHT,
    TABLE_TITLES,
    bar,
)

LEADER = "★"
LEADER_MEANING = "ahead by more than luck"
LEADER_STYLE = "bold green"
FAILED_STYLE = "red"
SHORTEST_SPARKLINE = 8
SHORTEST_BAR = 8
FEWEST_ARMS = 3
"""If the table has no room for this many, everything below it but the progress bar is left out."""


def comparison_screen(
    info: ComparisonInfo,
    progress: ComparisonProgress | None,
    ended: str,
    width: int,
    height: int,
) -> list[Line]:
    """Draw a comparison as at most `height` lines, none wider than `width` cells.

    Args:
        info: what is compared.
        progress: how far it is; None before any news.
        ended: how it ended; empty while it runs.
        width: of the terminal, in cells.
        height: of the terminal, in lines.
    """
    if progress is not None:
        info = replace(info, target_score=progress.target_score)
    inner = width - len(MARGIN)
    lines = _heading(info, inner)
    if progress is None:
        lines.append([piece(f"starting {numbers.count(info.jobs, 'worker')} ...", TITLE)])
    else:
        lines += _body(info, progress, ended, inner, height - len(lines))
    return [crop([piece(MARGIN), *line], width) for line in lines[:height]]


def visible_arms(progress: ComparisonProgress, room: int, metric: Metric) -> list[int]:
    """Choose the arms to show if `room` rows do not hold them all.

    Running arms come first, then those with the best scores so far.
    """
    running = {trial.arm for trial in progress.running}

    def importance(index: int) -> tuple[bool, float, float]:
        arm = progress.arms[index]
        test, best = arm.test_score.mean, _best_score(arm, metric)
        return (
            arm.name not in running,
            math.inf if math.isnan(test) else -metric.merit(test),
            math.inf if math.isnan(best) else -metric.merit(best),
        )

    return sorted(sorted(range(len(progress.arms)), key=importance)[:room])


def _heading(info: ComparisonInfo, width: int) -> list[Line]:
    goal = "" if math.isnan(info.target_score) else f"target {info.target_score:g}"
    room = max(width - len("gradcli") - len(goal) - 2 * len(GAP), 1)
    return [
        [piece("gradcli", STRONG), piece(GAP + fit(info.name, room) + GAP), piece(goal, TITLE)],
        [piece(joined(describe_comparison(info), " · ", width), TITLE)],
    ]


def _body(
    info: ComparisonInfo, progress: ComparisonProgress, ended: str, width: int, height: int
) -> list[Line]:
    """Lay out the table of arms and, below it, the running trials."""
    grids = [arm.grid for arm in progress.arms]
    if info.search is not None:
        grids = [tuple(best_so_far(grid, info.metric)) for grid in grids]
    strips = heat_strips(grids, info.metric)
    blank: list[Line] = [[]] if height >= ROOMY_HEIGHT - 2 else []
    # A line per job, even if it is between two trials: nothing below may jump.
    jobs = 0 if ended else max(min(info.jobs, height // 3), 1)
    legend = [_legend(progress, strips)]

    room = height - TABLE_TITLES - len(legend) - jobs - 1 - 3 * len(blank)
    if room < FEWEST_ARMS:
        legend, blank, jobs = [], [], 0
        room = max(height - TABLE_TITLES - 1, 1)
    return [
        *blank,
        *_arms(info, progress, strips, width, room),
        *legend,
        *(blank if jobs else []),
        *_running(() if ended else progress.running, jobs, width),
        *blank,
        _overall(progress, ended, width),
    ]


def _arms(
    info: ComparisonInfo, progress: ComparisonProgress, strips: Strips, width: int, room: int
) -> list[Line]:
    """Lay out the table of arms: its titles and at most `room` other lines."""
    count = len(progress.arms)
    shown = visible_arms(progress, room if count <= room else room - 1, info.metric)
    arms = [progress.arms[index] for index in shown]
    texts = [strips.texts[index] for index in shown]
    lines = table(_columns(info, arms, texts, width), width)
    if len(shown) < count:
        more = numbers.count(count - len(shown), "more optimizer")
        lines.append([piece(f"   … {more}", TITLE)])
    return lines


def _columns(
    info: ComparisonInfo, arms: Sequence[ArmProgress], strips: Sequence[str], width: int
) -> list[Column]:
    """Choose the columns that fit into `width`; the sparklines get the remaining space."""
    longest_name = max(width // 4, 12)
    space = [" " * SHORTEST_SPARKLINE] * len(arms)
    losses = Column("loss", space, rank=5, styles=PICTURE, above="training")
    norms = Column("trend", space, rank=8, styles=PICTURE)
    columns = [
        Column("", [LEADER if arm.leads else " " for arm in arms], styles=LEADER_STYLE),
        Column(
            "optimizer",
            [shorten(arm.name, longest_name) for arm in arms],
            styles=[LEADER_STYLE if arm.leads else "" for arm in arms],
        ),
        Column(
            "stage", [arm.stage for arm in arms], rank=4, styles=TITLE, least_width=len("measuring")
        ),
        Column(
            "trials",
            [f"{arm.trials_done}/{arm.trials_total}" for arm in arms],
            rank=2,
            align="right",
            least_width=len("12/14"),
            styles=[FAILED_STYLE if arm.failed else "" for arm in arms],
        ),
        Column(
            "lr",
            [_known(learning_rate, arm.learning_rate) for arm in arms],
            rank=1,
            least_width=len("0.0316"),
        ),
        Column(
            "best so far" if info.search else "by lr",
            strips,
            rank=3,
            styles=PICTURE,
            above=short_validation(info.metric),
        ),
        Column(
            "best" if info.search else "best lr",
            [_known(numbers.score, _best_score(arm, info.metric)) for arm in arms],
            rank=12,
            above=short_validation(info.metric),
        ),
        Column(
            "± std",
            [_with_spread(arm.test_score) for arm in arms],
            above=f"test {info.metric.name}",
            least_width=len("0.9791 ±0.0012"),
        ),
        losses,
        Column(
            "norm",
            [numbers.aligned_norm(arm.grad_norm) if arm.grad_norms else "" for arm in arms],
            rank=6,
            above="gradient",
            least_width=numbers.NORM_WIDTH,
        ),
        norms,
        Column(
            "clipped",
            [_known(numbers.share, arm.clipped_fraction) for arm in arms],
            rank=10,
            align="right",
            above="steps",
        ),
        Column(
            f"to {info.target_score:g}",
            [_known(partial(written, "count"), arm.steps_to_target) for arm in arms],
            rank=7,
            align="right",
            above="steps",
        ),
        Column(
            "steps/s",
            [_known(numbers.norm, arm.steps_per_second) for arm in arms],
            rank=11,
            align="right",
        ),
        Column(
            "time left",
            [_time_left(arm) for arm in arms],
            rank=9,
            align="right",
            least_width=len("59 min 59 s"),
        ),
    ]
    if not info.protocol.tune:
        columns = [column for column in columns if column.above != short_validation(info.metric)]
    if math.isnan(info.target_score):
        columns = [column for column in columns if not column.title.startswith("to ")]
    kept = fitting(columns, width)
    spare = (width - total_width(kept)) // max((losses in kept) + (norms in kept), 1)
    size = min(SHORTEST_SPARKLINE + spare, LONGEST_SPARKLINE)
    for column, courses in (
        (losses, [arm.losses for arm in arms]),
        (norms, [arm.grad_norms for arm in arms]),
    ):
        if column in kept:
            drawn = [_trend(course, size) for course in courses]
            kept[kept.index(column)] = replace(column, cells=drawn)
    return kept


def _with_spread(summary: Summary) -> str:
    """Write a mean with its deviation over the seeds, if there are any."""
    if not summary.count:
        return ""
    mean = numbers.score(summary.mean)
    return mean if math.isnan(summary.std) else f"{mean} ±{numbers.score(summary.std)}"


def _time_left(arm: ArmProgress) -> str:
    return "" if arm.stage == "done" else _known(numbers.duration, arm.seconds_left)


def _known(write: Callable[[float], str], value: float) -> str:
    """Write a number; nothing if there is none yet."""
    return "" if math.isnan(value) else write(value)


def _best_score(arm: ArmProgress, metric: Metric) -> float:
    """Return the best validation score of an arm's learning rates; NaN if there is none."""
    scores = (cell.val_score for cell in arm.grid if is_scored(cell))
    return max(scores, key=metric.merit, default=math.nan)


def _trend(course: Sequence[float], width: int) -> str:
    points = np.array(course, dtype=np.float64)[:, np.newaxis]
    return sparklines(points, width, log=True, least_span=2)[0]


def _legend(progress: ComparisonProgress, strips: Strips) -> Line:
    """Say what the symbols on the screen mean."""
    leads = any(arm.leads for arm in progress.arms)
    line = [piece(LEADER, LEADER_STYLE), piece(f" {LEADER_MEANING}{GAP}", TITLE)] if leads else []
    for symbol, meaning in strips.legend():
        line += [piece(symbol, PICTURE), piece(f" {meaning}{GAP}", TITLE)]
    return line


def _running(running: Sequence[RunningTrial], room: int, width: int) -> list[Line]:
    """Lay out the running trials as exactly `room` lines."""
    shown = running if len(running) <= room else running[: max(room - 1, 0)]
    phrases = [describe_trial(trial) for trial in shown]
    widths = [max(len(phrase) for phrase in column) for column in zip(*phrases, strict=True)]
    lines = [
        _running_trial(trial, GAP.join(map(fit, parts, widths)), width)
        for trial, parts in zip(shown, phrases, strict=True)
    ]
    if len(shown) < len(running) and room:
        lines.append([piece(f"… {len(running) - len(shown)} more running", TITLE)])
    return lines + [[]] * (room - len(lines))


def _running_trial(trial: RunningTrial, label: str, width: int) -> Line:
    done = min(trial.step / trial.total_steps, 1.0) if trial.total_steps else 0.0
    return _with_bar(label, done, _left(trial.seconds_left), width)


def _overall(progress: ComparisonProgress, ended: str, width: int) -> Line:
    """Lay out how much of the comparison is done, parts of running trials included."""
    running = () if ended else progress.running
    parts = sum(trial.step / max(trial.total_steps, 1) for trial in running)
    total = progress.trials_total
    done = min((progress.trials_done + parts) / total, 1.0) if total else 1.0
    label = f"trials {progress.trials_done} of {total}"
    return _with_bar(label, done, ended or _left(progress.seconds_left), width)


def _with_bar(label: str, done: float, clock_text: str, width: int) -> Line:
    """Put a progress bar between a label and a time, if there is room for one."""
    percent = f"{int(100 * done)}%"  # rounded down: 100% is all of it
    right = f"{percent:>4}{GAP}{fit(clock_text, max(CLOCK_WIDTH, len(clock_text)), 'right')}"
    room = width - len(label) - len(right) - 2 * len(GAP)
    if room < SHORTEST_BAR:
        return [piece(GAP.join(filter(None, [label, percent, clock_text])))]
    return [piece(label + GAP), *bar(done, room), piece(GAP + right)]


def _left(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{numbers.duration(seconds)} left"
