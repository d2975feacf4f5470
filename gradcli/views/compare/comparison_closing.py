"""The closing screen of a comparison: the ranking, which differences are real, and what to do next.

Drawn from a `ComparisonSummary` alone, for a terminal and for a pipe, at the end of a comparison
and whenever it is shown again.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.comparison.groups import answering_first
from gradcli.comparison.live import GridCell
from gradcli.comparison.results import ComparisonSummary, RankedArm
from gradcli.comparison.verdicts import PairResult
from gradcli.notation import numbers
from gradcli.records import Metric
from gradcli.views.compare.arm_columns import arm_names, selection_columns
from gradcli.views.compare.arm_phrases import describe_comparison, describe_failure, learning_rate
from gradcli.views.compare.column_cells import reported_columns
from gradcli.views.compare.rate_strip import heat_strips, short_validation
from gradcli.views.compare.search_sentences import (
    ends_to_widen,
    how_it_searched,
    what_budgets_say,
    what_keys_decide,
)
from gradcli.views.compare.search_tables import search_tables
from gradcli.views.compare.target_table import soonest, target_columns, target_remarks
from gradcli.views.compare.verdict_sentences import (
    best_at_an_end,
    example_worth,
    grounds,
    grouped_verdicts,
    halving_result,
    interval,
    overlapping_note,
    ranked_sets,
    shows_interval,
    verdict,
    warning_sentences,
)
from gradcli.views.heading import STATUS_STYLES, joined
from gradcli.views.labelled import Labelled, labels_lines, whole_lines
from gradcli.views.table import GAP, STRONG, TITLE, Column, Lines, fitting, table, total_width
from gradcli.views.train.training_screen import PICTURE
from gradcli.views.words import Text

MOST_FAILURES = 5
_SPREAD = 100
"""The rank of a deviation: in a narrow terminal the means of further metrics outlast it."""
MOST_PAIRS = 3
"""With more pairs, the verdicts are summed up."""
MOST_ANSWERS = 12
"""The most pairs shown that answer what `--vary` asks; `--all-pairs` shows the rest."""
TOLERANCE = 0.01
"""A learning rate this close to the best accuracy is as good (`learning_rate_sensitivity`)..."""
RELATIVE_TOLERANCE = 0.05
"""...and this close, relative to the best score, by any other metric."""


def comparison_closing_screen(
    summary: ComparisonSummary, *, all_pairs: bool = False
) -> RenderableType:
    """Draw the closing screen. In a pipe the tables keep all columns, however wide.

    Args:
        summary: of the comparison.
        all_pairs: give every pair a line, instead of summing up the verdicts of many.
    """
    return _ComparisonClosingScreen(summary, all_pairs)


class _ComparisonClosingScreen:
    def __init__(self, summary: ComparisonSummary, all_pairs: bool) -> None:
        self._summary, self._all_pairs = summary, all_pairs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        summary = self._summary
        yield from _headline(summary, options.max_width)
        yield ""
        yield _table(ranking_columns(summary), options)
        yield ""
        if any(arm.further for arm in summary.ranking):
            yield _table(further_columns(summary.ranking), options)
            yield ""
        if summary.info.search:
            for columns in search_tables(summary, options.ascii_only):
                yield _table(columns, options)
                yield ""
        elif summary.tuning:
            yield from _tuning(summary, options)
            yield ""
        if summary.target is not None:
            yield _table(target_columns(summary, summary.target), options)
            yield ""
        yield from _verdicts(summary, all_pairs=self._all_pairs)
        yield from _search_result(summary)
        yield from _soonest(summary)
        yield from _remarks(summary)
        yield ""
        yield from _commands(summary)


def _headline(summary: ComparisonSummary, width: int) -> Iterator[RenderableType]:
    style = f"bold {STATUS_STYLES[summary.status]}"
    yield Text.assemble((summary.status, style), "  ", (summary.info.name, STRONG))
    yield Text(joined(describe_comparison(summary.info), ", ", width), TITLE)
    if summary.info.data.note:
        yield Text(summary.info.data.note)


def ranking_columns(summary: ComparisonSummary) -> list[Column]:
    """Lay out the ranking: the arms with their scores, the best first."""
    arms, metric = summary.ranking, summary.info.metric
    lost = [_lost(arm, summary) for arm in arms]
    columns = [
        *arm_names(arms),
        Column("lr", [learning_rate(arm.learning_rate) for arm in arms]),
        Column(
            "mean",
            [numbers.score(arm.test_score.mean) for arm in arms],
            above=f"test {metric.name}",
        ),
        Column(
            "95% interval",
            [interval(arm.test_score.ci95) for arm in arms],
            rank=1,
            above="over seeds",
        ),
        Column("std", [numbers.score(arm.test_score.std) for arm in arms], rank=2),
        Column("seeds", [f"{arm.test_score.count}" for arm in arms], rank=3, align="right"),
        *_reported(summary),
    ]
    if any(lost):
        columns.append(Column("trials", lost, styles="red", above="lost"))
    return columns


def _reported(summary: ComparisonSummary) -> list[Column]:
    """Lay out the columns that every comparison reports; those of the target have their table."""
    target = summary.info.target_score
    columns = reported_columns(summary.ranking, target)
    if summary.target is None:
        return columns
    return [column for column in columns if column.title != f"to {target:g}"]


def further_columns(arms: Sequence[RankedArm]) -> list[Column]:
    """Lay out what the arms scored by the further metrics, the first ones in the most widths."""
    columns = arm_names(arms)
    scores = [{one.metric.name: one.test for one in arm.further} for arm in arms]
    for place, name in enumerate(dict.fromkeys(chain.from_iterable(scores))):
        tests = [one.get(name) for one in scores]
        means = [numbers.score(test.mean) if test else numbers.ABSENT for test in tests]
        deviations = [numbers.score(test.std) if test else numbers.ABSENT for test in tests]
        columns.append(Column("mean", means, rank=place, above=f"test {name}"))
        columns.append(Column("std", deviations, rank=_SPREAD + place))
    return columns


def _lost(arm: RankedArm, summary: ComparisonSummary) -> str:
    """Say how many trials are not part of the arm's numbers: of those that measure, or of all."""
    counts = {"diverged": arm.diverged, "missing": arm.missing}
    if not arm.seeds:
        statuses = [trial.status for trial in summary.trials if trial.arm == arm.name]
        counts = {one: statuses.count(one) for one in ("diverged", "failed")}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def _tuning(summary: ComparisonSummary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Draw the tuning: the learning rates tried, and the chosen score repeated on fresh seeds."""
    arms, metric = summary.ranking, summary.info.metric
    grids = {arm.name: _grid(summary, arm.name) for arm in arms}
    strips = heat_strips(list(grids.values()), metric)
    columns = [
        *arm_names(arms),
        Column("tried", [_range(grids[arm.name]) for arm in arms], rank=4, above="learning rates"),
        Column("by lr", strips.texts, rank=3, styles=PICTURE, above=short_validation(metric)),
        Column("chosen", [_chosen(arm) for arm in arms], above="lr"),
        *selection_columns(arms, metric),
        Column(
            _tolerance(metric),
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
        yield Text(f"{short_validation(metric)} by lr, the lowest first: {legend}", TITLE)


def _tolerance(metric: Metric) -> str:
    near = f"{TOLERANCE:g}" if metric.is_accuracy else f"{RELATIVE_TOLERANCE:.0%}"
    return f"within {near} of the best"


def _chosen(arm: RankedArm) -> str:
    """Write the chosen learning rate, marked if it is an end of those tried."""
    return f"{learning_rate(arm.learning_rate)}{' (end)' if arm.learning_rate_at_edge else ''}"


def _grid(summary: ComparisonSummary, arm: str) -> list[GridCell]:
    return [
        GridCell(one.learning_rate, one.status, one.val_score)
        for one in summary.tuning
        if one.arm == arm
    ]


def _range(grid: list[GridCell]) -> str:
    if not grid:
        return numbers.ABSENT
    low, high = grid[0].learning_rate, grid[-1].learning_rate
    return f"{len(grid)}: {learning_rate(low)} to {learning_rate(high)}"


def _good_range(arm: RankedArm) -> str:
    """Write the range of learning rates that do nearly as well, and its width in decades.

    A range of one rate has no width to name, only whether it may be wider.
    """
    good = arm.sensitivity
    if good is None or math.isnan(good.best):
        return numbers.ABSENT
    if good.low == good.high:
        beyond = "or beyond" if good.open_ended else "only"
        return f"{learning_rate(good.low)} {beyond}"
    least = "at least " if good.open_ended else ""
    ends = f"{learning_rate(good.low)} to {learning_rate(good.high)}"
    return f"{ends} ({least}{good.decades:.1f} decades)"


def _verdicts(summary: ComparisonSummary, *, all_pairs: bool) -> Iterator[RenderableType]:
    """Say which differences are more than luck.

    The pairs that answer what `--vary` asks come first, one line each. Of many pairs the others are
    summed up, unless `all_pairs` are wanted.
    """
    answering, others = answering_first(summary.pairs, summary.info.arms)
    if not all_pairs and len(summary.pairs) > MOST_PAIRS:
        answering = answering[:MOST_ANSWERS]
        others = []
    shown = [*answering, *others]
    lines = [
        Text.assemble((verdict(one), STRONG), f": {grounds(one, summary.info.metric)}")
        for one in shown
    ]
    grouped = len(lines) < len(summary.pairs)
    if grouped:
        lines += [
            Text.assemble((subject, STRONG), f": {said}.")
            for subject, said in grouped_verdicts(summary.pairs)
        ]
    sets = ranked_sets(summary.ranking)
    if sets and len(summary.pairs) <= MOST_PAIRS:
        yield Labelled("ranking", Text(sets, STRONG))
    for row, line in enumerate(lines):
        yield Labelled("verdicts" if row == 0 else "", line)
    pairs = numbers.count(len(summary.pairs), "pair")
    if grouped:
        overlapping = overlapping_note(summary.pairs)
        intervals = any(map(shows_interval, shown))
        brackets = f"In brackets: the 95% interval over {_over(shown)}. " if intervals else ""
        note = f"{brackets}Tests at 95%, corrected for {pairs} (Holm). {overlapping}".strip()
        yield Labelled("", Text(note, TITLE))
        yield from whole_lines("", [_show(summary, "--all-pairs")])
    elif any(map(shows_interval, shown)):
        note = f"In brackets: the 95% interval over {_over(shown)}, corrected for {pairs} (Holm)."
        yield Labelled("", Text(note, TITLE))
    elif any(one.evidence == "divergence" for one in shown):
        yield Labelled("", Text(f"p is corrected for {pairs} (Holm).", TITLE))


def _soonest(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """Say which arms reach the target sooner than others."""
    if summary.target is not None and (said := soonest(summary.target.steps)):
        yield from _paragraphs("soonest", [" ".join(said)], "")


def _over(pairs: Sequence[PairResult]) -> str:
    """Say what the intervals of pairs are over."""
    with_examples = {pair.tested_on == "seeds-and-examples" for pair in pairs if pair.seeds > 1}
    return "seeds and test examples" if with_examples == {True} else "seeds"


def _search_result(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """Say whether the budget decides the ranking, and what each searched key decides."""
    yield from _paragraphs("search", how_it_searched(summary.info), "")
    yield from _paragraphs("budgets", what_budgets_say(summary.ranking), "")
    arms_by_text: dict[str, list[str]] = {}
    for arm in summary.ranking:
        if arm.search_sensitivity is not None:
            arms_by_text.setdefault(what_keys_decide(arm.search_sensitivity), []).append(arm.name)
    for row, (text, names) in enumerate(arms_by_text.items()):
        told = Text.assemble((", ".join(names), STRONG), f": {text}")
        yield Labelled("keys" if row == 0 else "", told)


def _remarks(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """Say what limits the numbers, and which trials failed."""
    yield from _paragraphs("note", list(summary.notes), "")
    yield from _paragraphs("caution", cautions(summary), "yellow")
    failures = [describe_failure(one) for one in summary.trials if one.status == "failed"]
    if len(failures) > MOST_FAILURES:
        rest = numbers.count(len(failures) - MOST_FAILURES, "more failed trial")
        failures[MOST_FAILURES:] = [f"and {rest}"]
    yield from _paragraphs("failed", failures, "red")
    yield from _paragraphs("target", target_remarks(summary), "")
    if summary.halving is not None:
        yield Labelled("halving", Text(halving_result(summary.halving)))
    counts = Counter(one.status for one in summary.trials)
    parts = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    yield Labelled("trials", Text(f"{parts or 'none has ended'}; {effort(summary)}"))
    if summary.info.data.test and summary.pairs and summary.info.metric.is_accuracy:
        yield Labelled("test set", Text(example_worth(summary.info.data)))


def cautions(summary: ComparisonSummary) -> list[str]:
    """Say what limits the numbers."""
    remarks = warning_sentences(summary.warnings)
    remarks += chain.from_iterable(map(ends_to_widen, summary.ranking))
    remarks += best_at_an_end([arm.name for arm in summary.ranking if arm.learning_rate_at_edge])
    return remarks


def effort(summary: ComparisonSummary) -> str:
    """Say how long the comparison took, and how many trials ran at a time."""
    time = numbers.duration(summary.seconds)
    jobs = numbers.count(summary.info.jobs, "job")
    if not summary.info.already_done:
        return f"{time} with {jobs} at a time"
    earlier = f"{summary.info.already_done} of them by earlier calls"
    return f"{earlier}; {time} in all, the last call with {jobs} at a time"


def _paragraphs(label: str, texts: list[str], style: str) -> Iterator[RenderableType]:
    for row, text in enumerate(texts):
        yield Labelled(label if row == 0 else "", Text(text, style))


def _commands(summary: ComparisonSummary) -> Iterator[RenderableType]:
    """List the commands to type next."""
    if summary.winner_at_edge:
        so_far = f"{_which_end(summary.ranking[0])}: not yet the answer"
        yield Labelled("so far", Text(so_far, "yellow"))
        yield from whole_lines("", [summary.winner_command])
        yield from whole_lines("extend", [summary.extend_command])
    elif summary.winner_command:
        yield from whole_lines("best", [summary.winner_command])
    if summary.retry_command:
        yield Labelled("result", Text("none: every trial diverged. Try lower learning rates:"))
        yield from whole_lines("", [summary.retry_command])
    yield from whole_lines("comparison", [summary.info.path])
    if summary.kept_trial:
        yield from whole_lines("weights", [summary.kept_trial])
    yield from labels_lines(summary.tags, summary.note)
    yield from whole_lines("next", [*filter(None, [summary.resume_command]), _show(summary)])


def _which_end(arm: RankedArm) -> str:
    if arm.setting_at_edge:
        return f"near an end of the range of {' and '.join(arm.setting_at_edge)}"
    return f"at the end of the rates tried (lr {learning_rate(arm.learning_rate)})"


def _show(summary: ComparisonSummary, *options: str) -> str:
    return shlex.join(["gradcli", "runs", "show", summary.info.path, *options])


def _table(columns: list[Column], options: ConsoleOptions) -> Lines:
    width = options.max_width if options.is_terminal else total_width(columns)
    return Lines(table(fitting(columns, width), width))
