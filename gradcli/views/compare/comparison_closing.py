"""The closing screen of a comparison: the ranking, what of it is more than luck, what next.

Drawn from a `ComparisonSummary` alone, for a terminal and for a pipe, at the end of a
comparison and whenever it is shown again.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from gradcli.comparison.results import ComparisonSummary, GridCell, RankedArm
from gradcli.views import numbers
from gradcli.views.compare.arm_phrases import describe_comparison, describe_failure, learning_rate
from gradcli.views.compare.comparison_screen import steps_to_target
from gradcli.views.compare.rate_strip import heat_strips
from gradcli.views.compare.verdict_sentences import grounds, halving_result, interval, verdict
from gradcli.views.heading import STATUS_STYLES, joined
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import GAP, STRONG, TITLE, Column, Lines, fitting, table, total_width
from gradcli.views.train.training_screen import PICTURE

MOST_FAILURES = 5
TOLERANCE = 0.01
"""Within this of the best accuracy a learning rate is as good (`learning_rate_sensitivity`)."""


def comparison_closing_screen(summary: ComparisonSummary) -> RenderableType:
    """Draw the closing screen. In a pipe the tables keep all columns, however wide."""
    return _ComparisonClosingScreen(summary)


class _ComparisonClosingScreen:
    def __init__(self, summary: ComparisonSummary) -> None:
        self._summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        summary = self._summary
        yield from _headline(summary, options.max_width)
        yield ""
        yield _table(_ranking(summary), options)
        yield ""
        if summary.tuning:
            yield from _tuning(summary, options)
            yield ""
        yield from _verdicts(summary)
        yield from _remarks(summary)
        yield ""
        yield from _commands(summary)


def _headline(summary: ComparisonSummary, width: int) -> Iterator[RenderableType]:
    style = f"bold {STATUS_STYLES[summary.status]}"
    yield Text.assemble((summary.status, style), "  ", (summary.info.name, STRONG))
    yield Text(joined(describe_comparison(summary.info), ", ", width), TITLE)
    if summary.info.data.note:
        yield Text(summary.info.data.note)


def _ranking(summary: ComparisonSummary) -> list[Column]:
    arms = summary.ranking
    target = f"{summary.info.target_accuracy:g}"
    lost = [_lost(arm) for arm in arms]
    columns = [
        *_names(arms),
        Column("lr", [learning_rate(arm.learning_rate) for arm in arms]),
        Column(
            "mean", [numbers.score(arm.test_accuracy.mean) for arm in arms], above="test accuracy"
        ),
        Column("95% interval", [interval(arm.test_accuracy.ci95) for arm in arms], rank=1),
        Column("std", [numbers.score(arm.test_accuracy.std) for arm in arms], rank=2),
        Column("seeds", [f"{arm.test_accuracy.count}" for arm in arms], rank=3, align="right"),
        Column(
            f"to {target}",
            [steps_to_target(arm.steps_to_target) for arm in arms],
            rank=4,
            align="right",
            above="steps",
        ),
        Column(
            f"to {target}",
            [_seconds_to_target(arm) for arm in arms],
            rank=6,
            align="right",
            above="time",
        ),
        Column("loss", [numbers.score(arm.train_loss) for arm in arms], rank=7, above="train"),
        Column(
            "norm", [numbers.known_norm(arm.grad_norm) for arm in arms], rank=5, above="gradient"
        ),
        Column(
            "clipped",
            [numbers.share(arm.clipped_fraction) for arm in arms],
            rank=8,
            align="right",
            above="steps",
        ),
    ]
    if any(lost):
        columns.append(Column("trials", lost, styles="red", above="lost"))
    return columns


def _names(arms: Sequence[RankedArm]) -> list[Column]:
    return [
        Column("", [_rank(arm) for arm in arms], align="right"),
        Column("optimizer", [arm.name for arm in arms], styles=STRONG),
    ]


def _rank(arm: RankedArm) -> str:
    """Return an arm's place, which it has from its first trial with fresh seeds on."""
    return str(arm.rank) if arm.test_accuracy.count or arm.diverged else numbers.ABSENT


def _lost(arm: RankedArm) -> str:
    """Say which trials are not in the arm's numbers."""
    counts = {"diverged": arm.diverged, "missing": arm.missing}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def _seconds_to_target(arm: RankedArm) -> str:
    seconds = arm.seconds_to_target
    return "never" if math.isinf(seconds) else numbers.duration(seconds)


def _tuning(summary: ComparisonSummary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Draw what was tried, and what the chosen score was worth on seeds that it had not seen."""
    arms = summary.ranking
    grids = {arm.name: _grid(summary, arm.name) for arm in arms}
    strips = heat_strips(list(grids.values()))
    selected = [arm.selection for arm in arms]
    columns = [
        *_names(arms),
        Column("tried", [_range(grids[arm.name]) for arm in arms], rank=4, above="learning rates"),
        Column("by lr", strips.texts, rank=3, styles=PICTURE, above="val acc"),
        Column("chosen", [learning_rate(arm.learning_rate) for arm in arms], above="lr"),
        Column(
            "when chosen",
            [numbers.score(one.selected_score) if one else numbers.ABSENT for one in selected],
            rank=2,
            above="val accuracy",
        ),
        Column(
            "fresh seeds",
            [numbers.score(one.fresh.mean) if one else numbers.ABSENT for one in selected],
            rank=2,
            above="val accuracy",
        ),
        Column(
            "change",
            [f"{-one.optimism:+.4f}" if one else numbers.ABSENT for one in selected],
            rank=1,
            align="right",
        ),
        Column(
            f"within {TOLERANCE:g} of the best",
            [_good_range(arm) for arm in arms],
            rank=5,
            above="learning rates",
        ),
    ]
    if options.ascii_only:
        columns = [column for column in columns if column.styles != PICTURE]
    yield _table(columns, options)
    if not options.ascii_only:
        legend = GAP.join(f"{symbol} {meaning}" for symbol, meaning in strips.legend())
        yield Text(f"val acc by lr, the lowest first: {legend}", TITLE)


def _grid(summary: ComparisonSummary, arm: str) -> list[GridCell]:
    return [
        GridCell(one.learning_rate, one.status, one.val_accuracy)
        for one in summary.tuning
        if one.arm == arm
    ]


def _range(grid: list[GridCell]) -> str:
    if not grid:
        return numbers.ABSENT
    low, high = grid[0].learning_rate, grid[-1].learning_rate
    return f"{len(grid)}: {learning_rate(low)} to {learning_rate(high)}"


def _good_range(arm: RankedArm) -> str:
    """Write the learning rates that do nearly as well, and how many decades they span."""
    good = arm.sensitivity
    if good is None or math.isnan(good.best):
        return numbers.ABSENT
    least = "at least " if good.open_ended else ""
    ends = f"{learning_rate(good.low)} to {learning_rate(good.high)}"
    return f"{ends} ({least}{good.decades:.1f} decades)"


def _verdicts(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """Say of each pair what its interval, widened for the number of pairs, says of it."""
    for row, pair in enumerate(summary.pairs):
        text = Text.assemble((verdict(pair), STRONG), f": {grounds(pair)}")
        yield Labelled("verdicts" if row == 0 else "", text)
    if summary.pairs:
        pairs = numbers.count(len(summary.pairs), "pair")
        note = f"In brackets: the 95% interval over seeds, corrected for {pairs} (Holm)."
        yield Labelled("", Text(note, TITLE))


def _remarks(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """Say what a reader must know to take the numbers for what they are worth."""
    remarks = [warning.message for warning in summary.warnings]
    remarks += [
        f"{arm.name} did best at an end of the learning rates tried: a better one may lie beyond."
        for arm in summary.ranking
        if arm.learning_rate_at_edge
    ]
    yield from _paragraphs("caution", remarks, "yellow")
    failures = [describe_failure(one) for one in summary.trials if one.status == "failed"]
    if len(failures) > MOST_FAILURES:
        rest = numbers.count(len(failures) - MOST_FAILURES, "more failed trial")
        failures[MOST_FAILURES:] = [f"and {rest}"]
    yield from _paragraphs("failed", failures, "red")
    if summary.halving is not None:
        yield Labelled("halving", Text(halving_result(summary.halving)))
    counts = Counter(one.status for one in summary.trials)
    parts = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    jobs = numbers.count(summary.info.jobs, "job")
    text = f"{parts or 'none'}; {numbers.duration(summary.seconds)} with {jobs} at a time"
    yield Labelled("trials", Text(text))


def _paragraphs(label: str, texts: list[str], style: str) -> Iterator[RenderableType]:
    for row, text in enumerate(texts):
        yield Labelled(label if row == 0 else "", Text(text, style))


def _commands(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """Lay out what can be typed next."""
    if summary.winner_command:
        yield from whole_lines("best", [summary.winner_command])
    yield from whole_lines("comparison", [summary.info.path])
    show = shlex.join(["gradcli", "runs", "show", summary.info.path])
    yield from whole_lines("next", [*filter(None, [summary.resume_command]), show])


def _table(columns: list[Column], options: ConsoleOptions) -> Lines:
    width = options.max_width if options.is_terminal else total_width(columns)
    return Lines(table(fitting(columns, width), width))
