"""No text of a stranger's reaches a terminal as a command to it, whatever shows the text."""

import ast
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest

import gradcli as package
from gradcli.errors import UserError
from gradcli.notation.visible import LAYOUT, visible
from gradcli.views.console import console_on
from gradcli.views.error_panel import error_panel
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import Column, Lines, piece, table
from gradcli.views.words import Text, write_line

PACKAGE = Path(package.__file__).parent
#: Sets the title of the window, asks the terminal to answer, rings, goes back and hides text:
#: with escapes of one byte and of two, backspaces, a change of direction and a broken line.
PAYLOAD = "\x1b]0;owned\x07\x1b[6n\x9b2J\x7f\x08\r\x0b\x0c\u202e\u2028\n"
#: What readers look at, so that a run with another value would be refused instead of shown.
_STRUCTURE = {
    *("started", "status", "heartbeat", "_target_", "type", "split", "phase", "stage"),
    *("probe", "id", "verdict", "evidence", "code", "request", "sha256"),
    *("columns", "config"),
}
_KINDS = {"layers", "probe", "setup", "correct"}


def mangled(value, key=""):
    """Append the payload to every text of a JSON document that a reader does not interpret."""
    if key in _STRUCTURE:
        return value
    if isinstance(value, dict):
        return {name: mangled(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [mangled(item, key) for item in value]
    if not isinstance(value, str) or value in ("", "nan", "inf", "-inf"):
        return value
    return value if key == "kind" and value in _KINDS else value + PAYLOAD


def mangle(folder):
    """Append the payload to the texts of all JSON files below `folder`."""
    for path in folder.rglob("*.json"):
        path.write_text(json.dumps(mangled(json.loads(path.read_text()))))
    for path in folder.rglob("*.jsonl"):
        lines = [json.dumps(mangled(json.loads(line))) for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines))


ALL = [chr(code) for code in range(sys.maxunicode + 1)]
COMMANDS = [
    ("runs", "list"),
    ("runs", "list", "--json"),
    ("runs", "show", "finished"),
    ("runs", "show", "finished", "--json"),
    ("runs", "show", "diverged"),
    ("runs", "show", "own"),
    ("runs", "show", "comparison"),
    ("runs", "show", "comparison", "--all-pairs"),
    ("runs", "diff", "finished", "interrupted"),
    ("runs", "diff", "finished", "own", "--json"),
    ("runs", "export", "finished"),
    ("runs", "export", "finished", "--format", "jsonl"),
    ("runs", "export", "comparison", "--what", "trials"),
    ("runs", "export", "comparison"),
    ("inspect-gradients", "finished"),
    ("inspect-gradients", "finished", "--json"),
    ("inspect-gradients", "own"),
    ("inspect-gradients", "comparison"),
    ("inspect-gradients", "interrupted", "--probe", "noise"),
    ("runs", "show", "f"),
    ("runs", "rm", "finished"),
    ("runs", "rm", "--yes", "finished"),
    ("train", "--resume", "interrupted"),
    ("train", "--resume", "comparison"),
    ("train", "--resume", "own"),
    ("compare-optimizers", "--resume", "comparison"),
]


def obeyed(text):
    """The characters of a text that a terminal would obey, apart from line breaks."""
    harmless = "\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
    return {
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    } - set(harmless)


def test_every_control_character_is_made_visible():
    for character in ALL:
        shown = visible(f"a{character}b")
        assert not obeyed(shown)
        assert len(shown) >= 3
        assert shown.isascii() or character in shown
    assert visible("\x1b[2J\x9b\x7f\u202e\udc80") == r"\x1b[2J\x9b\x7f\u202e\udc80"


def test_text_stays_as_it_is():
    for text in ("größe 模型 Ünïcödé", "hidden1\N{NO-BREAK SPACE}▁▂▃", "👩\N{ZERO WIDTH JOINER}🔬"):
        assert visible(text) == text
    assert visible("a\n\tb", LAYOUT) == "a\n\tb"
    assert visible("a\n\tb") == r"a\n\tb"


DRAWN = {
    "text": lambda: Text(PAYLOAD),
    "appended": lambda: Text("a").append(PAYLOAD),
    "assembled": lambda: Text.assemble(PAYLOAD, (PAYLOAD, "bold")),
    "str": lambda: PAYLOAD,
    "labelled": lambda: Labelled(PAYLOAD, Text(PAYLOAD * 9)),
    "piece": lambda: Lines([[piece(PAYLOAD)]]),
    "command": lambda: next(iter(whole_lines(PAYLOAD, [PAYLOAD]))),
    "cells": lambda: Lines(table([Column(PAYLOAD, [PAYLOAD], above=PAYLOAD)], 200)),
    "error": lambda: error_panel(
        UserError(PAYLOAD, where=PAYLOAD, choices=[PAYLOAD], hint=PAYLOAD)
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_whatever_draws_it_the_console_shows_it(name):
    stream = io.StringIO()
    console_on(stream).print(DRAWN[name](), crop=False)
    assert not obeyed(stream.getvalue())
    assert r"\x1b]0;owned\x07" in stream.getvalue().replace("\n", "")


def test_a_cell_and_a_command_stay_on_one_line():
    stream = io.StringIO()
    console_on(stream).print(DRAWN["cells"]())
    console_on(stream).print(DRAWN["command"](), crop=False)
    assert len(stream.getvalue().splitlines()) == 4
    widths = {len(line) for line in stream.getvalue().splitlines()[:3]}
    assert len(widths) == 1


def test_markup_is_text():
    stream = io.StringIO()
    console_on(stream).print("[link=http://example.org]a[/link] :smile:")
    assert stream.getvalue() == "[link=http://example.org]a[/link] :smile:\n"


def test_a_plain_line_shows_it():
    stream = io.StringIO()
    write_line(stream, f"epoch 1{PAYLOAD}")
    assert not obeyed(stream.getvalue())


# Nothing goes round it ----------------------------------------------------------------------


def calls_in(room):
    for path in sorted((PACKAGE / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            yield str(path.relative_to(PACKAGE)), node


#: JSON is ASCII, the exports make their texts visible, and the version is our own.
WRITERS = {"views/words.py", "cli/options.py"}


@pytest.mark.parametrize("room", ["views", "cli"])
def test_one_function_writes_lines_and_one_makes_consoles(room):
    for path, node in calls_in(room):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "sys.stdout.write", "sys.stderr.write"), path
            if called.endswith(("stream.write", "stream().write", ".writelines")):
                assert path in WRITERS
            if called in ("Console", "_VisibleConsole"):
                assert path == "views/console.py"
        if isinstance(node, ast.ImportFrom):
            assert node.module != "rich.text" or path == "views/console.py", path


# Every command ------------------------------------------------------------------------------


@pytest.fixture
def hostile(stored):
    """The runs of the fixtures with the payload in every text, and in the folder's name."""
    mangle(stored)
    for path in list(stored.iterdir()):
        path.rename(path.with_name(path.name + PAYLOAD.replace("\n", "")))
    return stored


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_passes_it_on(words, gradcli, hostile):
    answer = gradcli(*words)
    assert not obeyed(answer.out)
    assert not obeyed(answer.err)
    assert "owned" in answer.out + answer.err
    assert answer.code in (0, 2)


def test_nor_does_a_terminal_get_it(hostile, on_terminal):
    """In colour, on a terminal: our own codes set colours, and nothing else."""
    code, said = on_terminal("runs", "show", "finished", GRADCLI_RUNS=str(hostile))
    assert code == 0
    text = said.decode()
    assert r"\x1b]0;owned\x07" in text
    codes = {code[0] for code in text.split("\x1b")[1:]}
    assert codes == {"["}
    assert "\x1b[6n" not in text and not {"\x07", "\x08", "\x9b", "\x7f", "\x0b"} & set(text)
