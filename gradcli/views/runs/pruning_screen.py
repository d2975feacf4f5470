"""What `runs prune` is about to remove: a table with sizes and their total."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.notation import numbers
from gradcli.records import PruningSummary
from gradcli.views.heading import STATUS_STYLES
from gradcli.views.table import STRONG, TITLE, Column, Lines, fitting, table, total_width
from gradcli.views.words import Text


def pruning_screen(summary: PruningSummary) -> RenderableType:
    """Draw what would be removed, and say what is left alone and why."""
    return _PruningScreen(summary)


class _PruningScreen:
    def __init__(self, summary: PruningSummary) -> None:
        self._summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._summary.rows:
            columns = _columns(self._summary)
            width = options.max_width if options.is_terminal else total_width(columns)
            yield Lines(table(fitting(columns, width), width))
        else:
            yield Text("nothing to remove")
        for sentence in _left_alone(self._summary):
            yield Text(sentence)


def _columns(summary: PruningSummary) -> list[Column]:
    rows = summary.rows
    sizes = [row.size_bytes for row in rows]
    frees = "checkpoints" if summary.what == "checkpoints" else "frees"
    return [
        Column("run", [*(row.run for row in rows), "in all"], styles=STRONG),
        Column(
            "status",
            [*(row.status for row in rows), ""],
            rank=1,
            styles=[*(STATUS_STYLES[row.status] for row in rows), ""],
        ),
        Column("when", [*(row.when for row in rows), ""], rank=2, styles=TITLE),
        Column(frees, [numbers.file_size(size) for size in (*sizes, sum(sizes))], align="right"),
    ]


def _left_alone(summary: PruningSummary) -> Iterator[str]:
    if summary.at_work:
        yield f"Left alone, because a process works on it: {_listed(summary.at_work)}."
    if summary.resumable:
        yield (
            "Left alone, because it could not be continued without its checkpoints: "
            f"{_listed(summary.resumable)}."
        )


def _listed(names: Sequence[str]) -> str:
    most = 3
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {numbers.count(rest)} more" if rest > 0 else "")
