"""A stream gets only what it can encode: stand-ins for our symbols, escapes for a user's."""

# ruff: noqa: RUF001 (the symbols themselves are what this is about)

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gradcli as package
from gradcli.views.ascii import STAND_INS, stand_in, write_what_streams_can
from gradcli.views.sparkline import LEVELS

PACKAGE = Path(package.__file__).parent
SMALL = ("data=mnist5k", "max_steps=4", "model.hidden=[8]")


def test_every_symbol_of_the_screens_has_a_stand_in():
    symbols = set()
    for path in [*(PACKAGE / "views").rglob("*.py"), *(PACKAGE / "diagnosis").rglob("*.py")]:
        if "draw" in path.parts or path.name == "ascii.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                symbols |= {symbol for symbol in node.value if not symbol.isascii()}
    assert LEVELS[0] in symbols
    assert symbols - {"…"} <= set(STAND_INS)


def test_stand_ins_are_ascii_and_the_levels_of_a_strip_stay_distinct():
    assert all(text.isascii() and text for text in STAND_INS.values())
    strip = [STAND_INS[symbol] for symbol in (*LEVELS, "×", "·")]
    assert len({*strip, "!", "-", "_", "~"}) == len(strip) + 4
    assert all(len(text) == 1 for text in strip)


def test_an_ellipsis_keeps_the_width_of_a_cell():
    assert stand_in("hidd…out", 4) == "~"
    assert stand_in("  … 3 more", 2) == "..."


def test_what_has_no_stand_in_is_escaped():
    assert stand_in("Schlüssel", 4) == "\\xfc"
    assert stand_in("模型", 0) == "\\u6a21"


def test_streams_that_are_not_the_process_s_own_stay_as_they_are(capsys):
    before = sys.stdout.errors
    write_what_streams_can({"LC_ALL": "C"})
    assert (sys.stdout.encoding.lower(), sys.stdout.errors) == ("utf-8", before)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directory of a run; both have names that no ASCII stream can write."""
    folder = tmp_path_factory.mktemp("ascii") / "rüns"
    package.train(*SMALL, "name='größe'", runs_dir=folder)
    return folder


COMMANDS = [
    ("train", *SMALL, "name='größer'"),
    ("train", *SMALL, "-q"),
    ("train", *SMALL, "optimizer=ädam"),
    ("train", "--help"),
    ("--help",),
    ("trän",),
    ("configs",),
    ("configs", "model"),
    ("compare-optimizers", *SMALL, "protocol.tune=false", "--seeds", "2", "-j", "1"),
    ("runs", "list"),
    ("runs", "show", "compare"),
    ("inspect-gradients", "compare"),
    ("runs", "diff", "größe", "größer"),
    ("runs", "show", "größe-"),
    ("runs", "show", "nöpe"),
    ("runs", "export", "größe-"),
    ("inspect-gradients", "größe-"),
    ("inspect-gradients", "data=mnist5k", "model=deep_mlp"),
]
ENVIRONMENTS = {
    "LC_ALL=C": {"LC_ALL": "C"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
}


def answer(words, environment, runs):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHONIO")}
    return subprocess.run(
        [sys.executable, "-m", "gradcli", *words],
        env={**clean, "GRADCLI_RUNS": str(runs), **environment},
        capture_output=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_screen_is_ascii_if_the_stream_is(words, runs):
    done = answer(words, ENVIRONMENTS["ascii"], runs)
    assert done.returncode in (0, 2), done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert done.stdout + done.stderr
    assert b"UnicodeEncodeError" not in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_closing_screen_keeps_its_columns(name, runs):
    shown = answer(("runs", "show", "größe-"), ENVIRONMENTS[name], runs).stdout
    text = shown.decode("cp1252" if name == "cp1252" else "ascii")
    rows = [line for line in text.splitlines() if line.startswith(("hidden1", "output"))]
    assert len(rows) == 2 and len({len(row) for row in rows}) == 1
    assert ("8x784" in rows[0]) == (name != "cp1252")  # which has the multiplication sign


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("train", *SMALL, "optimizer=adm"), 2, b"no option 'adm'"),
        (("train", *SMALL), 0, b"epoch 1/"),
        (("runs", "show", "gr", "--help"), 0, b"Usage"),
    ],
)
def test_an_ascii_terminal_gets_ascii(runs, words, code, says, on_terminal):
    found, said = on_terminal(*words, GRADCLI_RUNS=str(runs), LC_ALL="C", TERM="xterm")
    assert found == code
    assert says in said
    assert said.isascii()
