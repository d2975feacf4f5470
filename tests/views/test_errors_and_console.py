import io
import sys

import pytest
from rich.console import Console

from gradcli.errors import UserError, nearest
from gradcli.views.console import can_draw_live, show_message, show_result, train_view
from gradcli.views.error_panel import error_panel
from gradcli.views.train.epoch_lines import PlainView
from gradcli.views.train.live_screen import LiveView
from gradcli.views.train.train_view import QuietView

ERROR = UserError(
    "No optimizer is called 'adm'.",
    where="--optimizer",
    choices=["adam", "adamw"],
    hint="gradcli train --optimizer adam model.hidden=[256,128]",
)
PARTS = (ERROR.problem, "--optimizer", "adam, adamw", "model.hidden=[256,128]")


class Stream(io.TextIOWrapper):
    """A text stream that is, or is not, a terminal."""

    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()


def drawn(error: UserError, *, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=terminal, color_system=None)
    console.print(error_panel(error), crop=False)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_an_error_says_all_it_knows(terminal):
    text = drawn(ERROR, terminal=terminal)
    assert all(part in text for part in PARTS)
    assert ("╭" in text) is terminal


def test_brackets_in_an_error_are_not_markup():
    assert "[red]x" in drawn(UserError("bad [red]x"), terminal=True)
    assert "[red]x" in drawn(UserError("bad [red]x"), terminal=False)


def test_what_is_to_be_copied_stays_whole_in_a_pipe():
    long = "-o " + "/".join(f"folder{index}" for index in range(30))
    assert f"  try: {long}\n" in drawn(UserError("wrong", hint=long), terminal=False)


def test_what_is_not_known_is_not_shown():
    assert "nearest" not in drawn(UserError("wrong"), terminal=True)


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def test_live_only_if_a_screen_can_be_kept_in_place(environment):
    environment.setenv("FORCE_COLOR", "1")
    assert can_draw_live(Stream(True))
    assert not can_draw_live(Stream(False))
    assert not can_draw_live(Stream(True, "ascii"))
    environment.setenv("TERM", "dumb")
    assert not can_draw_live(Stream(True))


@pytest.mark.parametrize(
    ("terminal", "live", "quiet", "kind"),
    [
        (True, True, False, LiveView),
        (True, False, False, PlainView),
        (False, True, False, PlainView),
        (True, True, True, QuietView),
        (False, False, True, QuietView),
    ],
)
def test_the_view_is_the_best_that_is_wanted_and_possible(environment, terminal, live, quiet, kind):
    environment.setattr(sys, "stderr", Stream(terminal))
    assert type(train_view(live=live, quiet=quiet)) is kind


def test_the_quiet_view_draws_nothing(environment, make_info, make_steps, make_summary):
    stream = Stream(True)
    environment.setattr(sys, "stderr", stream)
    view = train_view(live=True, quiet=True)
    view.note("note")
    view.download(1, 2, "file")
    view.begin(make_info(), "runs/one", {})
    view.record(make_steps([[1.0, 1.0, 1.0]]))
    view.finish(make_summary())
    view.close()
    assert stream.text() == ""


def test_results_and_messages_go_to_their_own_streams(environment):
    environment.setenv("FORCE_COLOR", "1")
    out, err = Stream(False), Stream(False)
    environment.setattr(sys, "stdout", out)
    environment.setattr(sys, "stderr", err)
    show_result("the result")
    show_message(error_panel(ERROR))
    assert out.text() == "the result\n"
    assert "--optimizer" in err.text()
    assert "\x1b" not in err.text()


def test_no_color_is_honoured(environment):
    environment.setenv("NO_COLOR", "1")
    err = Stream(True)
    environment.setattr(sys, "stderr", err)
    show_message(error_panel(ERROR))
    assert "\x1b[3" not in err.text()


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("adma", "adam"),
        ("adm", "adam"),
        ("sdg", "sgd"),
        ("ADAMX", "adamax"),
        ("rmsporp", "rmsprop"),
    ],
)
def test_the_nearest_of_several_comes_first(word, first):
    valid = ["adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "radam", "rmsprop", "sgd"]
    assert nearest(word, valid)[0] == first
    assert nearest(word, valid, most=1) == [first]
    assert nearest("xyz", valid) == []
