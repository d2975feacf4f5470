"""The live line that says which probe runs: on a terminal only, and gone afterwards."""

import io

import pytest
from rich.console import Console

from gradcli.views import console
from gradcli.views.inspect.probe_progress import ProbeProgress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_it_says_which_probe_runs_and_how_many_there_are():
    stream = io.StringIO()
    with ProbeProgress(Console(file=stream, force_terminal=True, width=80)) as announce:
        announce("signals", 1, 3)
        announce("noise", 2, 3)
    text = stream.getvalue()
    assert "probe 2 of 3: noise" in text
    assert text.endswith("\x1b[2K")  # the line is erased


def test_nothing_is_written_before_the_first_probe_or_without_a_terminal():
    stream = io.StringIO()
    with ProbeProgress(Console(file=stream, force_terminal=True)):
        pass
    with ProbeProgress(None) as announce:
        announce("signals", 1, 3)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("stream", "live", "shown"),
    [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)],
)
def test_only_a_terminal_gets_it_and_only_if_wanted(monkeypatch, stream, live, shown):
    monkeypatch.setattr(console.sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with console.probe_progress(live=live) as announce:
        announce("noise", 1, 1)
    assert ("probe 1 of 1: noise" in stream.getvalue()) == shown
