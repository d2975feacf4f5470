"""docs/searching.md: its commands work as written, and its YAML is what a search reads."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import gradcli
from gradcli.comparison.search import Range
from gradcli.config.config_files import shipped_configs
from gradcli.runs import list_comparisons

PAGE = (Path(__file__).parents[1] / "docs" / "searching.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for kind, text in FENCES
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("gradcli ")
]
SMALL = "data=mnist5k model.hidden=[4] max_steps=4 protocol.search_settings=4 --seeds 2 -q"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works(command, runs_dir, request):
    for library, word in (("pytorch_optimizer", "lion"), ("optuna", "tpe")):
        if word in command:
            pytest.importorskip(library)
    run = request.getfixturevalue("gradcli")
    answer = run(*shlex.split(command)[1:], *shlex.split(SMALL))
    assert answer.code == 0, answer.err
    (comparison,) = list_comparisons(runs_dir)
    assert comparison.status == "finished"


def test_the_page_has_commands_for_ranges_and_methods():
    assert len(COMMANDS) == 3


def test_its_python_prints_the_setting_and_the_budgets(tmp_path, capsys, monkeypatch):
    """The code as written, of a smaller comparison."""
    (code,) = (text for kind, text in FENCES if kind == "python")
    compare = gradcli.compare
    small = ("model.hidden=[4]", "max_steps=4", "protocol.search_settings=4")
    monkeypatch.setattr(
        gradcli, "compare", lambda *words, **given: compare(*words, *small, **given)
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/searching.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "('weight_decay'," in printed
    assert "BudgetResult(settings=4" in printed


def test_the_ranges_that_it_shows_are_such_sections():
    shown = [yaml.safe_load(text) for kind, text in FENCES if kind == "yaml"]
    for key, one in shown[0]["search"].items():
        Range(key, **one)
    momentum = yaml.safe_load((shipped_configs() / "optimizer" / "momentum.yaml").read_text())
    assert shown[0]["search"]["momentum"] == momentum["search"]["momentum"]


def test_every_range_holds_the_default_learning_rate():
    for path in sorted((shipped_configs() / "optimizer").glob("*.yaml")):
        option = yaml.safe_load(path.read_text())
        rates = option.get("search", {}).get("lr")
        if rates and option.get("lr"):
            assert rates["low"] < option["lr"] < rates["high"], path.name
