"""docs/completion.md: its commands work, and its table is what Tab proposes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from gradcli.cli.app import app
from gradcli.cli.completing.proposing import propose
from gradcli.cli.completing.shells import split

PAGE = (Path(__file__).parents[1] / "docs" / "completion.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `gradcli (.*?)` \| (.*?) \|$", PAGE, re.MULTILINE)
INSTALLING, ASKING = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_table_is_long():
    assert len(ROWS) == 12


@pytest.mark.parametrize(("line", "proposed"), ROWS)
def test_the_table_is_what_is_proposed(line, proposed):
    *before, typed = (one.text for one in split(line))
    found = propose(get_command(app), before, typed)
    assert [one.word for one in found.proposals] == re.findall(r"`(.*?)`", proposed)


def test_the_commands_work(gradcli, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    for line in INSTALLING.splitlines():
        assert gradcli(*shlex.split(line)[1:]).code == 0
    assert (tmp_path / ".bashrc").exists() and (tmp_path / ".zshrc").exists()


def test_a_shell_can_be_stood_in_for():
    variable, *words = ASKING.split()
    name, _, shell = variable.partition("=")
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, name: shell},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "none\noptimizer.lr=\t0.5\noptimizer.weight_decay=\t0.0\n"
