import io
import itertools
import math
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from gradcli.views.compare.compare_view import QuietCompareView
from gradcli.views.compare.live_table import CompareLiveView
from gradcli.views.compare.trial_lines import ComparePlainView
from gradcli.views.console import compare_view


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(terminal, clock):
    console = Console(file=terminal, force_terminal=True, width=80, height=24, color_system=None)
    view = CompareLiveView(console, clock)
    yield view
    view.close()


# The live table ------------------------------------------------------------------------------


def test_the_heading_comes_at_once_and_the_table_after_a_pause(
    view, terminal, clock, make_comparison_info, make_progress
):
    view.start(make_comparison_info())
    first = len(terminal.getvalue())
    assert "20260105-101500-compare-77aa" in terminal.getvalue()
    view.progress(make_progress())
    assert len(terminal.getvalue()) == first
    clock.now = 0.11
    view.progress(make_progress())
    assert "trials 18 of 24" in terminal.getvalue()


def test_drawing_takes_half_a_percent_of_the_time_at_most(
    terminal, make_comparison_info, make_progress
):
    cost, ticks, now = 0.05, itertools.count(), [0.0]

    def costly() -> float:
        next(ticks)
        now[0] += cost
        return now[0]

    console = Console(file=terminal, force_terminal=True, width=80, height=24, color_system=None)
    view = CompareLiveView(console, costly)
    view.start(make_comparison_info())
    drawn_at, before = now[0], terminal.getvalue().count("\r")
    while terminal.getvalue().count("\r") == before:
        view.progress(make_progress())
    view.close()
    assert now[0] - drawn_at >= 200 * cost


def test_the_end_is_drawn_whatever_the_pause(
    view, terminal, make_comparison_info, make_progress, make_comparison
):
    view.start(make_comparison_info())
    view.progress(make_progress(trials_done=24, seconds_left=0.0))
    view.finish(make_comparison())
    assert "100%" in terminal.getvalue()
    assert "finished in 52 s" in terminal.getvalue()


def test_only_failed_trials_are_reported_above_the_table(
    view, terminal, make_comparison_info, make_trial
):
    view.start(make_comparison_info())
    before = len(terminal.getvalue())
    view.trial(make_trial())
    assert len(terminal.getvalue()) == before
    view.trial(make_trial(status="failed", error="killed by signal 9"))
    said = terminal.getvalue()[before:]
    assert "failed: adam, lr 0.002, seed 101, measuring: killed by signal 9" in said
    assert said.index("killed") < said.index("gradcli")


def test_the_note_on_the_data_comes_first(view, terminal, make_comparison_info):
    info = make_comparison_info()
    view.start(replace(info, data=replace(info.data, note="MNIST could not be had.")))
    text = terminal.getvalue()
    assert text.index("MNIST could not be had.") < text.index("gradcli")


def test_a_download_shows_a_bar_that_the_table_then_replaces(
    view, terminal, clock, make_comparison_info
):
    view.download(2_500_000, 10_000_000, "train-images.gz")
    assert "train-images.gz" in terminal.getvalue()
    assert "━" in terminal.getvalue()
    assert "2.5 MB of 10.0 MB" in terminal.getvalue()
    written = len(terminal.getvalue())
    view.download(3_000_000, 10_000_000, "train-images.gz")
    assert len(terminal.getvalue()) == written  # too soon after the last
    clock.now = 0.11
    view.download(9_000_000, 10_000_000, "train-images.gz")
    assert "9.0 MB of 10.0 MB" in terminal.getvalue()
    view.download(10_000_000, 10_000_000, "train-images.gz")
    written = terminal.getvalue()
    assert "10.0 MB of 10.0 MB" in written  # its end is drawn in any case
    assert "\n" not in written
    view.start(make_comparison_info())
    # The heading begins in the bar's own line, and erases what is left of it.
    heading = terminal.getvalue()[len(written) :]
    assert heading.startswith("\r")
    assert "\x1b[K" in heading.split("\n")[0]


def test_closing_gives_the_terminal_back_and_may_be_repeated(view, terminal, make_comparison_info):
    streams = sys.stdout, sys.stderr
    view.start(make_comparison_info())
    view.close()
    once = terminal.getvalue()
    view.close()
    assert terminal.getvalue() == once
    assert once.endswith("\x1b[?25h")
    assert (sys.stdout, sys.stderr) == streams


def test_ending_what_never_began_writes_nothing(view, terminal, make_comparison, make_progress):
    view.progress(make_progress())
    view.finish(make_comparison())
    view.close()
    assert terminal.getvalue() == ""


# Plain lines ---------------------------------------------------------------------------------


def test_one_line_a_trial_and_one_a_chosen_learning_rate(
    make_comparison_info, make_trial, make_arm_progress, fresh_arm, make_progress, make_comparison
):
    stream = io.StringIO()
    view = ComparePlainView(stream)
    view.start(make_comparison_info(("adam", "sgd")))
    view.progress(make_progress([fresh_arm("adam"), fresh_arm("sgd")]))
    tuning = {"stage": "tuning", "test_score": math.nan}
    view.trial(make_trial(**tuning))
    view.trial(make_trial(**tuning, status="diverged", learning_rate=1.0, val_score=math.nan))
    for _ in range(3):
        view.progress(make_progress([make_arm_progress("adam"), fresh_arm("sgd")]))
    view.trial(make_trial())
    view.trial(make_trial(status="failed", error="no memory left", seed=102))
    view.finish(make_comparison())
    view.close()
    head, *lines = stream.getvalue().splitlines()
    assert head.startswith("20260105-101500-compare-77aa: mnist 50,000 images, mlp 235,146")
    numbers = "train loss 0.0812  grad norm 0.512  clipped 34%  390 steps  2.4 s"
    assert lines == [
        "adam: lr 0.0003 0.001 0.002 0.005 0.01",
        "sgd: lr 0.05 0.1 0.2 0.5 1",
        f"finished:  adam  lr 0.002  seed 101  tuning  val accuracy 0.9777  {numbers}",
        f"diverged:  adam  lr 1  seed 101  tuning  val accuracy -  {numbers}",
        "adam: lr 0.002 chosen",
        "finished:  adam  lr 0.002  seed 101  measuring  val accuracy 0.9777  "
        f"test accuracy 0.9780  {numbers}",
        "failed: adam, lr 0.002, seed 102, measuring: no memory left",
        "finished in 52 s",
    ]


def test_plain_lines_are_ascii_and_whole_at_once(make_comparison_info, make_trial, make_progress):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    view = ComparePlainView(stream)
    view.start(make_comparison_info(already_done=7))
    view.progress(make_progress())
    view.trial(make_trial())
    lines = raw.getvalue().decode().splitlines()
    assert "7 trials already done" in lines
    assert lines[-1].startswith("finished:")


def test_a_download_is_one_plain_line_a_file():
    stream = io.StringIO()
    view = ComparePlainView(stream)
    for done in range(100):
        view.download(done, 9_900_000, "train-images.gz")
    view.download(0, 0, "labels.gz")
    assert stream.getvalue().splitlines() == [
        "downloading train-images.gz (9.9 MB)",
        "downloading labels.gz",
    ]


def test_without_tuning_nothing_is_called_chosen(make_comparison_info, make_progress):
    stream = io.StringIO()
    view = ComparePlainView(stream)
    info = make_comparison_info()
    view.start(replace(info, protocol=replace(info.protocol, tune=False)))
    view.progress(make_progress())
    assert "chosen" not in stream.getvalue()


# Which view ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "live", "quiet", "kind"),
    [
        (Terminal, True, False, CompareLiveView),
        (Terminal, False, False, ComparePlainView),
        (io.StringIO, True, False, ComparePlainView),
        (Terminal, True, True, QuietCompareView),
    ],
)
def test_the_view_is_the_best_that_is_wanted_and_possible(monkeypatch, stream, live, quiet, kind):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    assert type(compare_view(live=live, quiet=quiet)) is kind


def test_the_quiet_view_draws_nothing(
    monkeypatch, make_comparison_info, make_progress, make_trial, make_comparison
):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    view = compare_view(live=True, quiet=True)
    view.note("a note")
    view.download(1, 2, "file")
    view.start(make_comparison_info())
    view.progress(make_progress())
    view.trial(make_trial(status="failed"))
    view.finish(make_comparison())
    view.close()
    assert terminal.getvalue() == ""
