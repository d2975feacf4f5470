"""The findings of a run, each in a line, and one of them in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from gradcli.records import Finding
from gradcli.views.findings import SEVERITY_STYLES, finding_lines
from gradcli.views.labelled import Labelled
from gradcli.views.words import Text
from gradcli.watch.watch_screen import WatchScreen
from gradcli.watch.watch_sentences import finding_line


class FindingList(OptionList):
    """Findings to choose from, each in a line; what else there is to say comes first."""

    DEFAULT_CSS = """
    FindingList {
        height: auto; max-height: 30%; border: none; padding: 0 1;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    FindingList:focus { border: none; }
    FindingList > .option-list--option-highlighted,
    FindingList:focus > .option-list--option-highlighted {
        background: $foreground 15%; color: $foreground; text-style: underline;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "finding in full")]

    def __init__(self) -> None:
        super().__init__(id="findings")
        self.findings: tuple[Finding, ...] = ()
        self._said: tuple[object, ...] = ()

    def show(self, findings: Sequence[Finding], notes: Sequence[str], nothing: str) -> None:
        """List other findings in place of the last ones, unless they are the same.

        Args:
            findings: what was found.
            notes: what a reader must know first.
            nothing: what is said without findings.
        """
        said = (*notes, *map(finding_line, findings), nothing)
        if said == self._said:
            return
        self._said, self.findings = said, tuple(findings)
        chosen = self.highlighted
        self.clear_options()
        self.add_options([Option(Text(f"note: {note}", "yellow"), disabled=True) for note in notes])
        for at, one in enumerate(findings):
            style = f"bold {SEVERITY_STYLES[one.severity]}".strip()
            head, _, rest = finding_line(one).partition(". ")
            text = Text.assemble((f"{head}.", style), f" {rest}")
            self.add_option(Option(text, id=str(at)))
        if not findings:
            self.add_option(Option(Text(nothing, "dim"), disabled=True))
        if findings:
            last = self.option_count - 1
            _highlight(self, min(chosen if chosen is not None else len(notes), last))


def _highlight(options: OptionList, at: int) -> None:
    options.highlighted = at


class FindingScreen(WatchScreen):
    """A finding in full: what it means, its evidence, its rule, and what to try.

    Args:
        finding: what was found.
        command: trains again with its advice; empty without one.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "back"),
        Binding("y", "copy", "copy the command"),
    ]
    DEFAULT_CSS = """
    FindingScreen VerticalScroll { padding: 1 2; }
    FindingScreen Static { height: auto; }
    """

    def __init__(self, finding: Finding, command: str) -> None:
        super().__init__()
        self._finding, self._command = finding, command

    def compose(self) -> ComposeResult:
        """Lay the finding out, in the words of all other screens."""
        lines = list(finding_lines(self._finding, "finding", rule=True))
        if self._command:
            lines += [Text(""), Labelled("type", Text(self._command, "bold"))]
        with VerticalScroll():
            for line in lines:
                yield Static(line)
        yield Footer(show_command_palette=False)

    def action_copy(self) -> None:
        """Copy the command, as far as the terminal allows (OSC 52), over SSH, too."""
        if not self._command:
            self.notify("There is no command: no override mends this.")
            return
        self.app.copy_to_clipboard(self._command)
        self.notify("The command was handed to the terminal's clipboard.")
