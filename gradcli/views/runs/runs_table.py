"""The table of runs, as wide as the terminal lets it be."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.records import RunRow
from gradcli.views import numbers
from gradcli.views.heading import STATUS_STYLES
from gradcli.views.table import STRONG, TITLE, Column, Lines, fitting, table, total_width


def runs_table(rows: Sequence[RunRow]) -> RenderableType:
    """Draw the runs in the order given. A terminal too narrow drops whole columns, never ids.

    In a pipe every column is there, however long the lines: what reads them is not a screen.
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
        width = options.max_width if options.is_terminal else total_width(columns)
        yield Lines(table(fitting(columns, width), width))


def _columns(rows: Sequence[RunRow]) -> list[Column]:
    return [
        Column("run", [row.run for row in rows], styles=STRONG),
        Column("name", [row.name for row in rows], rank=9),
        Column(
            "status",
            [row.status for row in rows],
            rank=1,
            styles=[STATUS_STYLES[row.status] for row in rows],
        ),
        Column("when", [row.when for row in rows], rank=8, styles=TITLE),
        Column("data", [row.data for row in rows], rank=6),
        Column("model", [row.model for row in rows], rank=4),
        Column("optimizer", [row.optimizer for row in rows], rank=3),
        Column("epochs", [numbers.count(row.epochs) for row in rows], rank=7, align="right"),
        Column("test acc", [numbers.score(row.test_accuracy) for row in rows], 2, align="right"),
        Column("findings", [" ".join(row.findings) for row in rows], rank=5),
    ]
