"""docs/precision-and-memory.md: its commands work as written."""

import re
import shlex
from pathlib import Path

import torch

from gradcli.runs import list_runs
from gradcli.views.heading import describe_batch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "precision-and-memory.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^gradcli (.*)$", PAGE, re.MULTILINE)


def test_each_command_trains(monkeypatch, runs_dir, gradcli):
    monkeypatch.chdir(ROOT)
    # Without generating code, which needs a C++ compiler.
    monkeypatch.setattr(torch, "compile", lambda model: model)
    for command in COMMANDS:
        answer = gradcli(*shlex.split(command), "max_steps=4", "--no-live")
        assert answer.code == 0, answer.err
    runs = {run.overrides[-1]: run for run in list_runs(runs_dir)}
    assert len(list_runs(runs_dir)) == len(COMMANDS) == 6
    assert all(run.status == "finished" for run in runs.values())
    accumulated = next(run for run in list_runs(runs_dir) if run.info.accumulate == 4)
    assert accumulated.info.batch_size == 128
    assert describe_batch(accumulated.info) == "batch 128 in 4 passes"


def test_the_readme_leads_to_it():
    assert "docs/precision-and-memory.md" in (ROOT / "README.md").read_text(encoding="utf-8")
