import io
import itertools
import sys

import pytest
from rich.console import Console

from gradcli.views.train.live_screen import LiveView


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def emulate(output: str, height: int) -> list[str]:
    """Replay the few control codes that the view may use; anything else fails."""
    rows, row, column, index = [""], 0, 0, 0
    while index < len(output):
        character = output[index]
        if character == "\x1b":
            end = next(place for place in range(index + 2, len(output)) if output[place].isalpha())
            code, final = output[index + 2 : end], output[end]
            if final == "A":
                row = max(row - int(code), 0)
            elif final == "K":
                rows[row] = rows[row][:column]
            elif final == "J":
                rows = [*rows[:row], rows[row][:column]]
            else:
                assert (code, final) in {("?25", "l"), ("?25", "h")}
            index = end + 1
            continue
        if character == "\n":
            row, column = row + 1, 0
            if row == len(rows):
                rows.append("")
        elif character == "\r":
            column = 0
        else:
            rows[row] = rows[row][:column].ljust(column) + character + rows[row][column + 1 :]
            column += 1
        index += 1
    return rows


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(terminal, clock):
    console = Console(file=terminal, force_terminal=True, width=80, height=30, color_system=None)
    view = LiveView(console, clock)
    yield view
    view.close()


def test_the_first_screen_comes_at_once_and_the_next_after_a_pause(
    view, terminal, clock, make_info, make_steps
):
    view.begin(make_info(), "runs/one", {})
    first = len(terminal.getvalue())
    assert "hidden1" in terminal.getvalue()
    view.record(make_steps([[1.0, 1.0, 1.0]]))
    assert len(terminal.getvalue()) == first
    clock.now = 0.11
    view.record(make_steps([[1.0, 1.0, 1.0]], first=2))
    assert "step 2 of 300" in terminal.getvalue()


def test_drawing_takes_half_a_percent_of_the_time_at_most(terminal, make_info, make_steps):
    cost, ticks = 0.05, itertools.count()
    clock = Clock()

    def costly() -> float:
        next(ticks)
        clock.now += cost
        return clock.now

    console = Console(file=terminal, force_terminal=True, width=80, height=30, color_system=None)
    view = LiveView(console, costly)
    view.begin(make_info(), "runs/one", {})
    drawn_at = clock.now
    before = terminal.getvalue().count("\r")
    step = 1
    while terminal.getvalue().count("\r") == before:
        view.record(make_steps([[1.0, 1.0, 1.0]], first=step))
        step += 1
    view.close()
    assert clock.now - drawn_at >= 200 * cost


def test_screens_replace_each_other_and_stray_output_stays_above(
    view, terminal, clock, make_info, make_steps
):
    view.note("a note")
    view.begin(make_info(), "runs/one", {})
    for step in range(1, 6):
        clock.now += 1
        view.record(make_steps([[1.0, 1.0, 1.0]], first=step))
        view.note(f"stray {step}")
    view.close()
    rows = [line.rstrip() for line in emulate(terminal.getvalue(), 30)]
    assert rows[:6] == ["a note", *(f"stray {step}" for step in range(1, 6))]
    assert sum("gradcli" in line for line in rows) == 1
    assert any("step 5 of 300" in line for line in rows)


def test_the_echo_of_ctrl_c_does_not_move_the_screen(view, terminal, clock, make_info, make_steps):
    view.begin(make_info(), "runs/one", {})
    assert terminal.getvalue().endswith("\r")  # from the end of a full row, ^C would wrap


def test_the_time_left_counts_only_the_steps_of_this_process(
    view, terminal, clock, make_info, make_steps
):
    view.begin(make_info(start_step=200, total_steps=300), "runs/one", {})
    clock.now = 10.0
    view.record(make_steps([[1.0, 1.0, 1.0]] * 20, first=201))
    assert "40 s left" in terminal.getvalue()  # 80 steps, each of half a second


def test_the_end_is_shown(view, terminal, clock, make_info, make_steps, make_summary):
    view.begin(make_info(), "runs/one", {})
    view.record(make_steps([[1.0, 1.0, 1.0]] * 300))
    view.finish(make_summary())
    assert "100%" in terminal.getvalue()
    assert "finished in 4.4 s" in terminal.getvalue()


def test_closing_gives_the_terminal_back_and_may_be_repeated(view, terminal, make_info):
    streams = sys.stdout, sys.stderr
    view.begin(make_info(), "runs/one", {})
    view.close()
    once = terminal.getvalue()
    view.close()
    assert terminal.getvalue() == once
    assert once.endswith("\x1b[?25h")
    assert (sys.stdout, sys.stderr) == streams


def test_closing_what_never_began_writes_nothing(view, terminal):
    view.close()
    assert terminal.getvalue() == ""


def test_printed_text_appears_above_the_screen(terminal, monkeypatch, make_info):
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = Console(file=terminal, force_terminal=True, width=80, height=30, color_system=None)
    view = LiveView(console)
    view.begin(make_info(), "runs/one", {})
    print("a warning", file=sys.stderr)
    print("no end of line", end="", file=sys.stderr)
    view.close()
    rows = [line.rstrip() for line in emulate(terminal.getvalue(), 30)]
    assert rows[:2] == ["a warning", "no end of line"]


def test_a_narrower_terminal_leaves_nothing_of_the_wider_screen(terminal, clock, make_info):
    console = Console(file=terminal, force_terminal=True, width=80, height=30, color_system=None)
    view = LiveView(console, clock)
    view.begin(make_info(), "runs/one", {})
    written = len(terminal.getvalue())
    console.width = 40
    view.note("narrow")
    view.close()
    again = terminal.getvalue()[written:]
    lines = terminal.getvalue()[:written].count("\n") + 1
    wrapped = int(again[again.index("\x1b[") + 2 : again.index("A")]) + 1
    assert wrapped > lines


def test_downloads_show_a_bar_before_the_run(view, terminal):
    view.download(2_500_000, 10_000_000, "train-images.gz")
    assert "train-images.gz" in terminal.getvalue()
    assert "2.5 MB of 10.0 MB" in terminal.getvalue()
