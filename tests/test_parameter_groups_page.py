"""docs/parameter-groups.md: its option and its commands work as written."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from gradcli.config.parameter_groups import RULES
from gradcli.runs import list_runs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "parameter-groups.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 has it")
def test_the_option_trains_and_each_command_works(tmp_path, monkeypatch, runs_dir, gradcli):
    monkeypatch.chdir(tmp_path)
    commands = []
    for language, file, content in FENCE.findall(PAGE):
        if language == "yaml":
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(content)
        else:
            commands += [shlex.split(line)[1:] for line in content.splitlines()]
    runs = {}  # in the order of the commands: within a second, the list has another
    for words in commands:
        answer = gradcli(*words, "model.hidden=[8,8]", "max_steps=3", "--no-live")
        assert answer.code == 0, answer.err
        runs |= {run.name: run for run in list_runs(runs_dir) if run.name not in runs}
    assert len(commands) == 3
    first, changed, biases = runs.values()
    routed = {group.name: group.parameters for group in first.info.groups}
    assert routed["matrices"] == ("hidden1.weight", "hidden2.weight")
    assert "output.weight" in routed["rest"]
    assert [group.learning_rate for group in changed.info.groups] == [0.02, 0.001]
    assert [group.name for group in biases.info.groups] == ["biases", "rest"]


def test_the_page_lists_every_line_of_a_rule():
    assert {word for word in RULES if f"`{word}" in PAGE} == set(RULES)


def test_the_readme_leads_to_it():
    assert "docs/parameter-groups.md" in (ROOT / "README.md").read_text(encoding="utf-8")
