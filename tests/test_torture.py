"""The short form of `make torture`: a few attempts to break each promise of safety."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[1] / "tools" / "torture"
ROWS = ("kills", "comparisons", "crashes", "damage", "inputs", "clocks", "names")


@pytest.mark.parametrize("row", ROWS)
def test_what_is_promised_survives(row):
    ended = subprocess.run(
        [sys.executable, TORTURE, row, "--short", "--jobs", "1"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = re.match(rf"{row} +(\d+) tried +(\d+) survived", ended.stdout)
    assert found and found[1] == found[2] != "0"


def test_the_page_has_every_row_and_nothing_that_did_not_survive():
    page = (TORTURE.parents[1] / "docs" / "reliability.md").read_text()
    table = re.findall(r"\| ([\d,]+) \| ([\d,]+) \| \d+ \| `python tools/torture (\w+)`", page)
    assert {row for _, _, row in table} == {*ROWS, "starts", "workers"}
    assert all(tried == survived for tried, survived, _ in table)


def test_a_row_fails_if_a_promise_is_broken(tmp_path):
    """A checkpoint that is not synced before it is renamed: a crash may lose it."""
    code = (
        "import os, runpy, sys\n"
        f"sys.argv = [{str(TORTURE)!r}, 'crashes', '--short', '--jobs', '1']\n"
        f"sys.path.insert(0, {str(TORTURE)!r})\n"
        "import gradcli.runs.files as files\n"
        "files.os = type('Os', (), {**vars(os), 'fsync': staticmethod(lambda file: None)})\n"
        f"runpy.run_path({str(TORTURE / '__main__.py')!r}, run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "python tools/torture crashes --seed 0:" in ended.stdout
