"""The table of runs and comparisons, or of the trials of one comparison."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static

from gradcli.errors import UserError
from gradcli.runs.choosing.facts import Facts
from gradcli.runs.watching.folder_watch import FolderWatch
from gradcli.runs.watching.looking import WatchedComparison
from gradcli.views.table import Column
from gradcli.views.words import Text
from gradcli.watch.beside_screen import BesideScreen
from gradcli.watch.open_watch import LETTERS
from gradcli.watch.run_rows import (
    Filter,
    count_phrase,
    next_order,
    read_filter,
    row_columns,
    shown_rows,
)
from gradcli.watch.run_screen import RunScreen
from gradcli.watch.watch_screen import WatchScreen
from gradcli.watch.watch_sentences import NO_RUNS, ranking_lines


class _RunsTable(DataTable[Text]):
    """A table whose keys the foot of the screen shows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "open")]


class RunsScreen(WatchScreen):
    """A table of what a folder holds.

    Args:
        folder: a runs directory, or the trials of a comparison.
        comparison: the comparison whose trials these are.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark"),
        Binding("b", "beside", "side by side"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("escape", "give_up", "back", show=False),
    ]
    DEFAULT_CSS = """
    RunsScreen #heading { height: auto; padding: 0 1; }
    RunsScreen #said { height: 1; padding: 0 1; color: $text-muted; }
    RunsScreen DataTable { height: 1fr; }
    RunsScreen #empty { height: 1fr; padding: 1 2; }
    RunsScreen Input { display: none; height: 1; border: none; padding: 0 1; }
    RunsScreen Input.open { display: block; }
    """

    def __init__(self, folder: Path, comparison: WatchedComparison | None = None) -> None:
        super().__init__()
        self._watch = FolderWatch(folder)
        self._comparison = comparison
        self._chosen, self._filter_text, self._wrong = Filter(), "", ""
        self._order, self._is_reversed = "", False
        self.marked: list[str] = []
        """The names of the marked directories, in the order in which they were marked."""
        self._rows: list[Facts] = []
        self._visible: list[str] = []
        self._drawn: tuple[tuple[str, ...], list[Column], int] | None = None

    def compose(self) -> ComposeResult:
        """Lay out the heading, the table, the filter and the keys."""
        yield Static(id="heading")
        yield _RunsTable(cursor_type="row")
        yield Static(id="empty")
        yield Static(id="said")
        yield Input(placeholder="optimizer=adam test>0.9 NAME", compact=True)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show what there is at once."""
        self.look()
        self.show()
        self.query_one(DataTable).focus()

    def on_resize(self) -> None:
        """Choose the columns anew."""
        self.show()

    def prepare(self) -> None:
        """Note which rows are on the screen."""
        for table in self.query(DataTable):
            top, height = int(table.scroll_y), table.size.height
            self._visible = [facts.row.run for facts in self._rows[top : top + height]]

    def look(self) -> bool:
        """Look at the folder, and at the rows that are on the screen."""
        changed = self._watch.look(self._visible)
        if self._comparison is not None and changed:
            self._comparison = WatchedComparison(self._comparison.path)
        return changed

    def show(self) -> None:
        """Draw the rows, with the cursor on the run that it was on."""
        known, refused = self._watch.known, self._watch.refused
        self._rows = shown_rows(known, self._chosen, self._order, is_reversed=self._is_reversed)
        names = {facts.row.run for facts in known}
        self.marked = [name for name in self.marked if name in names]
        self._show_heading()
        empty, table = self.query_one("#empty", Static), self.query_one(DataTable)
        empty.display, table.display = not self._rows, bool(self._rows)
        if not self._rows:
            nothing = NO_RUNS.format(folder=self._watch.folder)
            empty.update(Text("no run fulfils the filter" if known else nothing))
        self._show_rows(table)
        said = count_phrase(len(known), self._rows, len(refused), self._order)
        if refused and not self._wrong:
            first = min(refused)
            said += f". {refused[first].problem}"
        if self._filter_text:
            said = f"filter {self._filter_text}: {said}"
        if self.query_one(Input).has_class("open"):
            said = f"{len(self._rows)} of {len(known)} runs"
            said += "; enter keeps the filter, escape gives it up"
        self.query_one("#said", Static).update(Text(self._wrong or said, no_wrap=True))

    def _show_heading(self) -> None:
        lines = [f"gradcli watch  {self._watch.folder}"]
        if self._comparison is not None:
            try:
                lines = ranking_lines(self._comparison)
            except UserError as error:
                lines = [error.problem]
        text = Text(lines[0], "bold")
        for line in lines[1:]:
            text.append(f"\n{line}")
        self.query_one("#heading", Static).update(text)

    def _show_rows(self, table: DataTable[Text]) -> None:
        """Fill the table anew, unless it holds the same already."""
        width = max(self.app.size.width - 4, 20)
        columns = row_columns(
            self._rows, self.marked, width, self._order, f"{datetime.now():%Y-%m-%d}"
        )
        names = tuple(facts.row.run for facts in self._rows)
        if self._drawn is not None and self._drawn == (names, columns, width):
            return
        under = self._under_cursor(table)
        top = table.scroll_y
        self._drawn = names, columns, width
        table.clear(columns=True)
        for column in columns:
            table.add_column(Text(column.title), width=column.width)
        for at, name in enumerate(names):
            table.add_row(*(_cell(column, at) for column in columns), key=name)
        if under in names:
            table.move_cursor(row=names.index(under), scroll=False)
            table.scroll_to(y=top, animate=False)

    def _under_cursor(self, table: DataTable[Text]) -> str | None:
        """Return the name of the directory that the cursor is on."""
        if self._drawn is None or not self._drawn[0]:
            return None
        row: int = table.cursor_row
        return self._drawn[0][min(row, len(self._drawn[0]) - 1)]

    def _selected(self) -> Facts | None:
        name = self._under_cursor(self.query_one(DataTable))
        return next((facts for facts in self._rows if facts.row.run == name), None)

    def on_data_table_row_selected(self) -> None:
        """Open the run, or the trials of the comparison."""
        self.action_open()

    def action_open(self) -> None:
        """Open the run, or the trials of the comparison, that the cursor is on."""
        if (facts := self._selected()) is None:
            return
        if isinstance(facts.found, WatchedComparison):
            self.app.push_screen(RunsScreen(facts.found.path / "trials", facts.found))
        else:
            self.app.push_screen(RunScreen(facts.found.path))

    def action_mark(self) -> None:
        """Mark the run that the cursor is on, or take the mark away; go to the next row."""
        if (facts := self._selected()) is None:
            return
        name = facts.row.run
        if isinstance(facts.found, WatchedComparison):
            self.notify("Only runs can be marked; enter opens the trials of a comparison.")
        elif name in self.marked:
            self.marked.remove(name)
        elif len(self.marked) < len(LETTERS):
            self.marked.append(name)
        else:
            self.notify(f"At most {len(LETTERS)} runs fit side by side.")
        self.show()
        self.query_one(DataTable).action_cursor_down()

    def action_beside(self) -> None:
        """Show the marked runs side by side."""
        if len(self.marked) < 2:
            self.notify("Mark two runs or more with the space bar first.")
            return
        self.app.push_screen(BesideScreen([self._watch.folder / name for name in self.marked]))

    def action_filter(self) -> None:
        """Let the user type a filter."""
        field = self.query_one(Input)
        field.add_class("open")
        field.value = self._filter_text
        field.focus()
        self.show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed; a condition that is not finished yet changes nothing."""
        text = event.value.strip()
        try:
            self._chosen = read_filter(text, self._watch.known)
            self._filter_text, self._wrong = text, ""
        except UserError as error:
            self._wrong = error.problem
        self.show()

    def on_input_submitted(self) -> None:
        """Keep the filter, and go back to the table."""
        if not self._wrong:
            self._close_filter()

    def _close_filter(self) -> None:
        self._wrong = ""
        self.query_one(Input).remove_class("open")
        self.query_one(DataTable).focus()
        self.show()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = next_order(self._order)
        self.show()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._is_reversed = not self._is_reversed
        self.show()

    def action_give_up(self) -> None:
        """Give up the filter; without one, go back to the screen before."""
        if self.query_one(Input).has_class("open") or self._filter_text:
            self.query_one(Input).value = ""
            self._chosen, self._filter_text = Filter(), ""
            self._close_filter()
        elif len(self.app.screen_stack) > 2:  # the first is Textual's own
            self.app.pop_screen()


def _cell(column: Column, at: int) -> Text:
    style = column.styles if isinstance(column.styles, str) else column.styles[at]
    return Text(column.cells[at], style, justify=column.align)
