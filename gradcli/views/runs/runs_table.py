"""The table of runs, as wide as the terminal allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

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
    shorten_list,
    table,
    total_width,
)


def runs_table(rows: Sequence[RunRow]) -> RenderableType:
    """Draw the runs in the order given.

    A narrow terminal drops whole columns, but never the names of runs; the optimizers of a
    comparison are cut to the room that is left. A pipe gets every column in full: its reader is
    not a screen.
    """
    return _RunsTable(rows)


class _RunsTable:
    def __init__(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._rows:
            yield "no runs yet"
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
    ]


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


_OPTIMIZER = "optimizer"


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Choose columns as if no list of optimizers were long, then give the lists what is left."""
    full = next(column for column in columns if column.title == _OPTIMIZER)
    single = [text for text in full.cells if "," not in text]
    narrow = max(map(len, (_OPTIMIZER, *single)))

    def cut(to: int) -> Column:
        return replace(full, cells=[shorten_list(text, to) for text in full.cells])

    kept = fitting([cut(narrow) if column is full else column for column in columns], width)
    room = width - total_width(kept)
    return [cut(column.width + room) if column.title == _OPTIMIZER else column for column in kept]
