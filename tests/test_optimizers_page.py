"""docs/optimizers.md: its commands work as written, and its table is of what is shipped."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from gradcli.config.targets import SHIPPED_CLASSES
from gradcli.runs import list_runs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^(gradcli train .*)$", PAGE, re.MULTILINE)
#: The rows of its table: option, parameters, source, class, licence.
ROWS = [
    [cell.strip(" `") for cell in line.split("|")[1:-1]]
    for line in PAGE.splitlines()
    if re.match(r"\| `\w+` \| .* \| .* \| `", line)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works(command, tmp_path, monkeypatch, runs_dir, gradcli):
    for library in ("pytorch_optimizer", "schedulefree"):
        pytest.importorskip(library, reason="it is in the extra `optimizers`")
    if "muon" in command and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch 2.9 has it")
    monkeypatch.chdir(tmp_path)
    for _, file, content in FENCE.findall(PAGE):
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(content)
    answer = gradcli(*shlex.split(command)[1:], "max_steps=2", "--no-live")
    assert answer.code == 0, answer.err
    (run,) = list_runs(runs_dir)
    assert run.status == "finished"


def test_the_page_has_commands_and_every_option_of_the_extra():
    assert len(COMMANDS) == 4
    targets = {
        path.stem: yaml.safe_load(path.read_text())["_target_"]
        for path in (ROOT / "configs" / "optimizer").glob("*.yaml")
    }
    listed = {row[0]: re.match(r"[\w.]+", row[3])[0] for row in ROWS}
    assert listed == {option: targets[option] for option in listed}
    assert {*listed.values()} >= SHIPPED_CLASSES.keys()


def test_each_option_has_two_sentences_and_its_measured_accuracy():
    assert len(ROWS) == 8
    for option, *_ in ROWS:
        (text,) = re.findall(rf"^\*\*.*`{option}`\*\*.*?(?=\n\n)", PAGE, re.MULTILINE | re.DOTALL)
        assert len(re.findall(r"\.(?=\s|$)", text)) >= 2, option
        measured = float(re.search(rf"^\| {option} \| (\d\.\d+)", PAGE, re.MULTILINE)[1])
        assert 0.93 <= measured < 1


def test_the_readme_leads_to_it():
    assert "docs/optimizers.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_it_names_exists():
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
