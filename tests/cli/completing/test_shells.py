"""What shells hand over and get back, and the command that installs their scripts."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from typer.main import get_command

from gradcli.cli.app import app
from gradcli.cli.completing.completion import SHELLS, add_line, place_of
from gradcli.cli.completing.shells import for_bash, for_fish, for_zsh, quoted, split

COMMAND = get_command(app)


def bash(line, replaced, why="9"):
    return list(for_bash(COMMAND, [line, replaced, why, "60"]))


@pytest.mark.parametrize(
    "line",
    [
        "gradcli train optimizer=adam",
        "gradcli 'a b' \"c d\" e\\ f",
        "gradcli ''",
        "a  b\tc",
        "x 'it'\\''s' \"a\\\"b\\c\"",
    ],
)
def test_a_whole_line_is_split_as_the_standard_library_does(line):
    assert [one.text for one in split(line)] == shlex.split(line)


@pytest.mark.parametrize(
    ("line", "text", "quote"),
    [
        ("a ", "", ""),
        ("", "", ""),
        ("a 'b c", "b c", "'"),
        ('a "b c', "b c", '"'),
        ("a b\\", "b", ""),
        ("a 'b' ", "", ""),
        ("a 'b'c", "bc", ""),
    ],
)
def test_the_word_at_the_cursor_may_be_incomplete(line, text, quote):
    last = split(line)[-1]
    assert (last.text, last.quote) == (text, quote)


TEXTS = ["plain", "a b", "it's", 'say "x"', "$(rm)`ls`", "a\\b", "#;&|<>*?", "ä", "~", "(){}"]


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_what_is_quoted_is_read_back(text, quote):
    command = f"printf %s {quote}{quoted(text, quote)}{quote}"
    said = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert said.stdout.decode() == text


@pytest.mark.parametrize(
    ("line", "replaced", "expected"),
    [
        ("gradcli train optimizer=rms", "rms", ["none space", "rmsprop"]),
        ("gradcli train optimizer.l", "optimizer.l", ["none nospace", "optimizer.lr="]),
        ("gradcli train device=", "", ["none space", "auto", "cpu", "cuda", "mps"]),
        ("gradcli train 'optimizer=rms", "optimizer=rms", ["none space", "optimizer=rmsprop"]),
        ("gradcli train --data-dir ", "", ["folders space"]),
        ("gradcli none ", "", ["none space"]),
    ],
)
def test_bash_gets_what_replaces_the_end_of_the_word(line, replaced, expected):
    assert bash(line, replaced) == expected


def test_bash_lists_what_words_mean_within_the_width(runs_dir):
    head, *lines = bash("gradcli train optimizer=ad", "ad", why="63")
    assert head == "none space"
    assert lines[0] == "adadelta   Adadelta (Zeiler 2012, arXiv 1212.5701)"
    assert all(len(line) < 60 for line in lines)
    assert any(line.endswith("...") for line in lines)
    assert bash("gradcli train optimizer=rms", "rms", why="63")[1:] == ["rmsprop"]


def test_zsh_gets_words_and_meanings_behind_the_key():
    assert list(for_zsh(COMMAND, ["gradcli", "train", "optimizer=rms"])) == [
        "none behind-key",
        ".rmsprop:RMSprop (Tieleman and Hinton 2012, lecture 6.5)",
    ]
    head, line, *_ = for_zsh(COMMAND, ["gradcli", "train", "opt"])
    assert head == "none whole" and line.startswith("=optimizer=:adam")


def test_colons_of_a_word_do_not_begin_its_meaning_in_zsh(runs_dir):
    (runs_dir / "20260101T000000Z-a:b\\c-aaaa").mkdir(parents=True)
    (runs_dir / "20260101T000000Z-a:b\\c-aaaa" / "run.json").write_text("{}")
    (line,) = list(for_zsh(COMMAND, ["gradcli", "runs", "show", "2"]))[1:]
    assert line == ".20260101T000000Z-a\\:b\\\\c-aaaa:damaged"


def test_fish_gets_meanings_behind_a_tab():
    for typed in ("optimizer=rms", "'optimizer=rms", '"optimizer=rms'):
        assert list(for_fish(COMMAND, ["gradcli", "train", typed])) == [
            "none",
            "optimizer=rmsprop\tRMSprop (Tieleman and Hinton 2012, lecture 6.5)",
        ]


def test_the_program_answers_and_nothing_else_happens(capsysbinary, monkeypatch, runs_dir):
    from gradcli.__main__ import main

    (runs_dir / "20260101T000000Z-a-aaaa").mkdir(parents=True)
    (runs_dir / "20260101T000000Z-a-aaaa" / "run.json").write_text('{"status": "\\u001b[2J"}')
    monkeypatch.setenv("_GRADCLI_COMPLETION", "fish")
    monkeypatch.setattr(sys, "argv", ["gradcli", "gradcli", "runs", "show", "2"])
    main()
    assert capsysbinary.readouterr() == (b"none\n20260101T000000Z-a-aaaa\t\\x1b[2J\n", b"")


# The command -------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_or_installed(shell, gradcli, home):
    printed = gradcli("completion", shell)
    assert printed.code == 0 and f"_GRADCLI_COMPLETION={shell}" in printed.out
    assert not list(home.iterdir())
    installed = gradcli("completion", shell, "--install")
    place = place_of(shell)
    assert place.file.read_text() == printed.out
    assert f"wrote {place.file}" in installed.out
    assert gradcli("completion", shell, "--install").code == 0
    if place.startup is not None:
        assert place.startup.read_text() == f"source {place.file}\n"


@pytest.mark.skipif(os.name != "posix", reason="a home of its own is set by HOME")
def test_the_users_shell_is_taken(gradcli, home, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "__gradcli_completion" in gradcli("completion").out
    assert "__gradcli_completion" in gradcli("--show-completion").out
    assert gradcli("--install-completion").code == 0
    assert (home / ".config" / "fish" / "completions" / "gradcli.fish").exists()


@pytest.mark.parametrize(("words", "shell"), [(["csh"], "/bin/bash"), ([], "/bin/csh"), ([], "")])
def test_another_shell_is_refused(words, shell, gradcli, monkeypatch):
    monkeypatch.setenv("SHELL", shell)
    answer = gradcli("completion", *words)
    assert answer.code == 2
    assert "bash" in answer.err and "fish" in answer.err


def test_a_startup_file_keeps_what_it_has(tmp_path):
    file = tmp_path / "rc"
    file.write_bytes(b"alias a=b # \xff")
    assert add_line(file, "source x")
    assert not add_line(file, "source x")
    assert file.read_bytes() == b"alias a=b # \xff\nsource x\n"


def test_the_options_of_typer_are_not_in_the_help(gradcli):
    assert "--install-completion" not in gradcli("--help").out
