"""The table of runs, as wide as the terminal allows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.notation import numbers
from gradcli.records import RunRow
from gradcli.views.heading import STATUS_STYLES
from gradcli.views.table import (
    STRONG,
    TITLE,
    Column,
    Lines,
    fitting,
    shorten,
    shorten_list,
    table,
    total_width,
)


def runs_table(rows: Sequence[RunRow], *, are_chosen: bool = False) -> RenderableType:
    """Draw the runs in the order given.

    A narrow terminal drops whole columns, but never the names of runs; the optimizers of a
    comparison are cut to the room that is left. A pipe gets every column in full: its reader is
    not a screen.

    Args:
        rows: the runs.
        are_chosen: whether conditions may have left some out.
    """
    return _RunsTable(rows, "no run fulfils the conditions" if are_chosen else "no runs yet")


class _RunsTable:
    def __init__(self, rows: Sequence[RunRow], without: str) -> None:
        self._rows = rows
        self._without = without

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._rows:
            yield self._without
            return
        columns = _columns(self._rows)
        width = total_width(columns)
        if options.is_terminal:
            width = options.max_width
            columns = _fitting(columns, width)
        yield Lines(table(columns, width))


def _columns(rows: Sequence[RunRow]) -> list[Column]:
    return [
        Column("run", [row.run for row in rows], styles=STRONG),
        Column("name", [row.name for row in rows], rank=9),
        Column(
            "status",
            [row.status for row in rows],
            rank=4,
            styles=[STATUS_STYLES[row.status] for row in rows],
        ),
        Column("when", [row.when for row in rows], rank=3, styles=TITLE),
        Column("data", [row.data for row in rows], rank=7),
        Column("model", [row.model for row in rows], rank=2),
        Column(_OPTIMIZER, [row.optimizer for row in rows], rank=1),
        Column("epochs", [numbers.count(row.epochs) for row in rows], rank=8, align="right"),
        _scores(rows),
        Column("findings", [" ".join(row.findings) for row in rows], rank=6),
        *_labels(rows),
        *(_further(key, rows) for key in dict.fromkeys(key for row in rows for key in row.further)),
    ]


def _labels(rows: Sequence[RunRow]) -> list[Column]:
    """Lay out tags and notes, if any run has them; a long note is cut in a terminal."""
    columns = []
    if any(row.tags for row in rows):
        columns.append(Column("tags", [" ".join(row.tags) for row in rows], rank=5))
    if any(row.note for row in rows):
        columns.append(Column(_NOTE, [row.note for row in rows], rank=10))
    return columns


def _further(key: str, rows: Sequence[RunRow]) -> Column:
    """Lay out the values of a key that was asked for."""
    values = [row.further.get(key, ()) for row in rows]
    are_numbers = all(isinstance(one, int | float) for several in values for one in several)
    cells = [", ".join(map(_value, several)) or numbers.ABSENT for several in values]
    return Column(key, cells, rank=1, align="right" if are_numbers else "left")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, separators=(",", ":"))


def _scores(rows: Sequence[RunRow]) -> Column:
    """Lay out the test scores; with several metrics, each with its name."""
    metrics = {row.metric for row in rows if not math.isnan(row.test_score)}
    if len(metrics) <= 1:
        name = next((one.name for one in metrics if not one.is_accuracy), "acc")
        cells = [numbers.score(row.test_score) for row in rows]
        return Column(f"test {name}", cells, 5, align="right")
    cells = [
        numbers.ABSENT
        if math.isnan(row.test_score)
        else f"{row.metric.name} {numbers.score(row.test_score)}"
        for row in rows
    ]
    return Column("test", cells, 5, align="right")


_OPTIMIZER, _NOTE = "optimizer", "note"
_WIDEST_NOTE = 40


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Choose columns as if no list of optimizers were long, then give the lists what is left."""
    columns = [
        replace(one, cells=[shorten(text, _WIDEST_NOTE) for text in one.cells])
        if one.title == _NOTE
        else one
        for one in columns
    ]
    full = next(column for column in columns if column.title == _OPTIMIZER)
    single = [text for text in full.cells if "," not in text]
    narrow = max(map(len, (_OPTIMIZER, *single)))

    def cut(to: int) -> Column:
        return replace(full, cells=[shorten_list(text, to) for text in full.cells])

    kept = fitting([cut(narrow) if column is full else column for column in columns], width)
    room = width - total_width(kept)
    return [cut(column.width + room) if column.title == _OPTIMIZER else column for column in kept]
