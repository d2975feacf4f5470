"""A user's mistake on the screen: what is wrong, where, what is valid, and what to type."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table

from gradcli.errors import UserError
from gradcli.views.words import Text


def error_panel(error: UserError) -> RenderableType:
    """Draw the error: a panel on a terminal; elsewhere plain lines, each of them whole."""
    return _ErrorPanel(error)


def warning_line(text: str) -> RenderableType:
    """Draw what is wrong and does not stop the command: one line, however long."""
    return _WholeLine(f"warning: {text}")


class _WholeLine:
    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._text, no_wrap=True, overflow="ignore")


class _ErrorPanel:
    def __init__(self, error: UserError) -> None:
        self._error = error

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not options.is_terminal or options.ascii_only:
            first, *others = str(self._error).split("\n")
            said = "\n".join([f"error: {first}", *(f"  {line}" for line in others)])
            yield Text(said, no_wrap=True, overflow="ignore")
            return
        yield Panel(
            _body(self._error),
            title="error",
            title_align="left",
            border_style="red",
            padding=(0, 1),
        )


def _body(error: UserError) -> Table:
    body = Table.grid(padding=(0, 2))
    body.add_column(style="dim", no_wrap=True)
    body.add_column(overflow="fold")
    body.add_row("what", Text(error.problem, "bold"))
    if error.where:
        body.add_row("where", Text(error.where))
    if error.choices:
        body.add_row("nearest", Text(", ".join(error.choices)))
    if error.hint:
        body.add_row("try", Text(error.hint, "green"))
    return body
