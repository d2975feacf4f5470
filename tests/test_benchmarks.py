"""`make bench` runs every benchmark, goes on after a failure, and writes down what each said."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = {
    "broken": "raise OSError('no room')",
    "good": '"""How good it is.\n\nMuch more."""\nimport sys\nprint("1.05", sys.argv[1:])',
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "partial": "import sys\nprint('skipped: no rival')\nprint('noise', file=sys.stderr)",
    "slow": "print('1.20, at most 1.10')\nraise SystemExit(1)",
}


def make_bench(folder, scripts):
    """Run `run_all.py` next to the scripts; return its exit code, its output and RESULTS.md."""
    beside = folder / "benchmarks"
    beside.mkdir()
    shutil.copy(BENCHMARKS / "run_all.py", beside)
    for name in scripts:
        (beside / f"{name}.py").write_text(SCRIPTS[name])
    command = [sys.executable, str(beside / "run_all.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout, (beside / "RESULTS.md").read_text()


def sections(results):
    """The text of each section by its heading."""
    return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", results, re.M | re.S))


def test_failures_are_distinguished_and_stop_nothing(tmp_path):
    code, printed, results = make_bench(tmp_path, SCRIPTS)
    verdicts = {
        "broken": "broken, exit code 1",
        "good": "passed",
        "killed": "broken, exit code -9",
        "partial": "passed, a part skipped",
        "slow": "a limit exceeded",
    }
    assert code == 1
    assert list(sections(results)) == [f"{name}: {said}" for name, said in verdicts.items()]
    for name, said in verdicts.items():
        assert re.search(rf"^{name} +{said}, \d+ s$", printed, re.M)
        assert re.search(rf"^\| {name} \| {said} \| \d+ \|$", results, re.M)


def test_a_section_holds_the_command_and_what_it_said(tmp_path):
    _, _, results = make_bench(tmp_path, SCRIPTS)
    found = {heading.partition(":")[0]: text for heading, text in sections(results).items()}
    said = "\nHow good it is.\n\n```text\n$ python benchmarks/good.py\n1.05 []\n```\n"
    assert found["good"].rstrip() == said.rstrip()
    assert "OSError: no room" in found["broken"]
    assert "noise" not in found["partial"]


@pytest.mark.parametrize("scripts", [["good"], ["good", "partial"]])
def test_it_exits_with_0_if_all_pass(tmp_path, scripts):
    assert make_bench(tmp_path, scripts)[0] == 0


def test_the_machine_and_the_versions_are_named(tmp_path):
    import torch

    _, _, results = make_bench(tmp_path, ["good"])
    for fact in ("date", "machine", "load", "gradcli", "Python", "torch", "lightning"):
        assert re.search(rf"^\| {fact} \| .+ \|$", results, re.M)
    assert f"| torch | {torch.__version__} |" in results
    assert "GiB of memory" in results


def test_every_script_says_what_it_measures_and_how_to_run_it():
    for path in BENCHMARKS.glob("*.py"):
        assert f"    python benchmarks/{path.name}" in path.read_text().split('"""')[1]
