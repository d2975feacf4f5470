"""Mutation testing of a package with one function that is tested and one that is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="needs the extra `mutants`")
pytest.importorskip("coverage", reason="needs the extra `mutants`")

MUTANTS = Path(__file__).parents[1] / "tools" / "mutants"
CODE = '''"""Two functions."""


def doubled(number: int | None) -> int:
    return number * 2


def halved(number: float) -> float:
    return number / 2
'''
TEST = """from gradcli.room import numbers


def test_doubled():
    assert numbers.doubled(3) == 6


def test_halved_runs():
    numbers.halved(3.0)
"""


def test_the_tested_are_killed_and_the_untested_survive(tmp_path):
    room = tmp_path / "gradcli" / "room"
    room.mkdir(parents=True)
    for package in (room, room.parent):
        (package / "__init__.py").touch()
    (room / "numbers.py").write_text(CODE)
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_numbers.py").write_text(TEST)
    command = [sys.executable, MUTANTS, "--root", tmp_path, "--rooms", "gradcli/room", "--shared"]

    first = subprocess.run([*command, "--limit", "2"], capture_output=True, text=True)
    results = tmp_path / ".mutants" / "results.jsonl"
    begun = results.read_text()
    assert len(begun.splitlines()) == 2, first.stdout + first.stderr
    second = subprocess.run(command, capture_output=True, text=True)

    assert results.read_text().startswith(begun)
    found = [json.loads(line) for line in results.read_text().splitlines()]
    outcomes = {(result["line"], result["outcome"]) for result in found}
    assert outcomes == {(5, "killed"), (9, "survived")}
    assert len({result["mutant"] for result in found}) == len(found) == 4
    assert "killed 2 of 4: 50.0%, 95% interval 15.0% to 85.0%" in second.stdout
    assert second.returncode == 1
    assert (room / "numbers.py").read_text() == CODE
