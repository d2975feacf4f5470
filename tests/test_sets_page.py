"""docs/sets-of-runs.md: its commands work as written, in their order."""

import re
import shlex
from pathlib import Path

import gradcli as package

PAGE = (Path(__file__).parents[1] / "docs" / "sets-of-runs.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for text in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in text.splitlines()
]
SMALL = ("data=mnist5k", "model.hidden=[4]", "max_steps=4")


def test_the_commands_of_the_page_work(runs_dir, gradcli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (2, 3):
        package.train(
            *SMALL, f"seed={seed}", name=f"sgd-{seed}", optimizer="sgd", runs_dir=runs_dir
        )
    for seed in (1, 2, 3):
        package.train(*SMALL, seed=seed, name=f"adam-{seed}", optimizer="adam", runs_dir=runs_dir)
    assert len(COMMANDS) == 6
    for command in COMMANDS:
        small = SMALL if command.startswith("gradcli train") else ()
        answer = gradcli(*shlex.split(command)[1:], *small)
        assert answer.code == 0, answer.err
    assert (tmp_path / "sets.png").is_file()
    assert len(list(runs_dir.glob("plots/diff-*.png"))) == 1
    listed = gradcli("runs", "list", "--where", "tag=kept note=as*").out
    assert "sgd-1" in listed
