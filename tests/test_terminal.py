"""Tests see one terminal, whichever they are run in; and gradcli works in unusual ones."""

import io
import locale
import os
import shutil
import time
from pathlib import Path

from rich.console import Console

from gradcli.errors import UserError
from gradcli.views.error_panel import error_panel

UNUSUAL = {
    "COLUMNS": "33",
    "LINES": "7",
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "TTY_COMPATIBLE": "1",
    "TERM": "dumb",
    "TZ": "Asia/Kolkata",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "GRADCLI_RUNS": "elsewhere",
    "GRADCLI_UNHEARD_OF": "1",
}


def test_the_terminal_is_the_one_that_the_tests_expect():
    assert shutil.get_terminal_size() == (80, 25)
    assert Console(file=io.StringIO()).size == (80, 25)
    assert time.tzname[0] == "UTC"
    assert locale.getpreferredencoding(False).upper() == "UTF-8"
    assert os.environ["TERM"] == "xterm"
    assert "GRADCLI_UNHEARD_OF" not in os.environ
    assert not {"NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "PYTHONIOENCODING"} & set(os.environ)


def test_the_environment_of_the_user_does_not_reach_the_tests(spawn):
    test = f"{__file__}::{test_the_terminal_is_the_one_that_the_tests_expect.__name__}"
    answer = spawn("-m", "pytest", test, cwd=Path(__file__).parents[1], **UNUSUAL)
    assert answer.code == 0, answer.out


def test_a_process_that_a_test_starts_sees_the_same_terminal(spawn):
    says = "import shutil, sys, time; print(*shutil.get_terminal_size(), time.tzname[0])"
    assert spawn("-c", f"{says}; print(sys.stdout.encoding)").out.lower().split() == [
        *("80", "25", "utc", "utf-8"),
    ]


def test_a_training_ends_well_if_stdout_is_ascii(spawn, tmp_path):
    small = ["data=mnist5k", "max_steps=2", "model.hidden=[8]", "--runs-dir", str(tmp_path)]
    answer = spawn("-m", "gradcli", "train", *small, PYTHONIOENCODING="ascii")
    assert "UnicodeEncodeError" not in answer.err
    assert answer.code == 0


def test_a_command_in_an_error_stays_on_one_line_in_a_pipe():
    command = "gradcli runs show " + "a-long-name-of-a-run " * 5 + "--json"
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=False)
    console.print(error_panel(UserError("There is no such run.", hint=command)), crop=False)
    assert f"try: {command}" in file.getvalue()
