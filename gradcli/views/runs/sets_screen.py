"""Sets of runs side by side: their scores, in what they differ, and which one is better."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.comparison.run_sets import RunSet, RunSetComparison
from gradcli.notation import numbers
from gradcli.views.compare.verdict_sentences import interval
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.runs.set_verdicts import pair_grounds, pair_verdict
from gradcli.views.table import (
    STRONG,
    TITLE,
    Column,
    Lines,
    fitting,
    shorten,
    table,
    total_width,
)
from gradcli.views.words import Text

#: More pairs than this are counted, apart from those with a verdict.
MOST_PAIRS = 10
_WIDEST_VALUE = 28
_MOST_LEFT_OUT = 3


def sets_screen(comparison: RunSetComparison) -> RenderableType:
    """Draw a comparison of sets."""
    return _SetsScreen(comparison)


class _SetsScreen:
    def __init__(self, comparison: RunSetComparison) -> None:
        self._comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        comparison = self._comparison
        for columns in (_score_columns(comparison), _setting_columns(comparison)):
            if columns:
                width = options.max_width if options.is_terminal else total_width(columns)
                yield Lines(table(fitting(columns, width), width))
                yield ""
        yield from _verdicts(comparison)
        yield from _labelled_sentences("caution", comparison.cautions)
        yield from _labelled_sentences("left out", left_out(comparison.sets))
        yield ""
        yield from whole_lines("next", [shlex.join(one) for one in comparison.next_commands])


def score_name(comparison: RunSetComparison) -> str:
    """Return what is compared, in words."""
    by, metric = comparison.by, comparison.metric
    return f"{by} {metric.name}" if by in ("test", "val") else metric.name


def left_out(sets: Sequence[RunSet]) -> list[str]:
    """Say which runs do not count, and why."""
    sentences = []
    for one in sets:
        runs = list(one.left_out.items())
        if runs:
            named = ", ".join(f"{run} ({why})" for run, why in runs[:_MOST_LEFT_OUT])
            more = len(runs) - _MOST_LEFT_OUT
            rest = f" and {numbers.count(more, 'more run')}" if more > 0 else ""
            sentences.append(f"of {one.name}: {named}{rest}.")
    return sentences


def _score_columns(comparison: RunSetComparison) -> list[Column]:
    sets, name = comparison.sets, score_name(comparison)
    return [
        Column("", [numbers.ABSENT if one.rank is None else str(one.rank) for one in sets]),
        Column("set", [one.name for one in sets], styles=STRONG),
        Column("mean", [_score(one.score.mean) for one in sets], above=name, align="right"),
        Column(
            "95% interval",
            [interval(one.score.ci95) for one in sets],
            rank=2,
            above="over runs",
            align="right",
        ),
        Column("std", [_score(one.score.std) for one in sets], rank=3, align="right"),
        Column("runs", [str(len(one.members)) for one in sets], rank=1, align="right"),
        Column("seeds", [_seeds(one) for one in sets], rank=4),
    ]


def _seeds(one: RunSet) -> str:
    """Write the seeds of a set: `1 to 5`, or the first few of them."""
    seeds = sorted({member.seed for member in one.members if member.seed is not None})
    if not seeds:
        return "not known"
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return shorten(", ".join(map(str, seeds)), _WIDEST_VALUE)


def _setting_columns(comparison: RunSetComparison) -> list[Column]:
    if not comparison.differing:
        return []
    return [
        Column("setting", comparison.differing, styles=TITLE),
        *(
            Column(
                one.name, [_value(one.settings[key]) for key in comparison.differing], rank=place
            )
            for place, one in enumerate(comparison.sets)
        ),
    ]


def _verdicts(comparison: RunSetComparison) -> Iterator[RenderableType]:
    pairs = comparison.pairs
    shown = [one for one in pairs if one.result.verdict != "tie"]
    shown += [one for one in pairs if one.result.verdict == "tie"][: MOST_PAIRS - len(shown)]
    for place, pair in enumerate(shown):
        style = STRONG if pair.result.verdict != "tie" else ""
        said = Text.assemble((pair_verdict(pair), style), f": {pair_grounds(pair)}")
        yield Labelled("" if place else "verdict", said)
    if len(shown) < len(pairs):
        yield Labelled("", Text(f"{numbers.count(len(pairs) - len(shown), 'more pair')} tied."))
    if len(pairs) > 1:
        yield Labelled("", Text(f"Corrected for {len(pairs)} pairs (Holm).", TITLE))


def _labelled_sentences(label: str, sentences: Sequence[str]) -> Iterator[RenderableType]:
    for place, sentence in enumerate(sentences):
        yield Labelled("" if place else label, Text(sentence))


def _score(value: float) -> str:
    return numbers.ABSENT if math.isnan(value) else numbers.score(value)


def _value(value: Any) -> str:
    if value is None:
        return numbers.ABSENT
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return shorten(text, _WIDEST_VALUE)
