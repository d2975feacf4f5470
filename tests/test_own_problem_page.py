"""docs/your-own-problem.md: its file, its snippets and its commands work as written."""

import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gradcli
from gradcli.objectives import NAMED_METRICS, SHIPPED
from gradcli.records import Metric

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-own-problem.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of the page, in the working directory."""
    ((name, text),) = ((name, text) for language, name, text in FENCE.findall(PAGE) if name)
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / name
    sys.modules.pop("mine", None)


def test_each_command_works(file, gradcli, runs_dir):
    commands = [
        shlex.split(line)[1:]
        for language, _, text in FENCE.findall(PAGE)
        if language == "console"
        for line in text.splitlines()
    ]
    assert len(commands) == 4
    train, *_, resume = commands
    for words in (*commands[:-1], train, resume):  # the latest is a run again
        answer = gradcli(*words, *(["--no-live"] if words[0] != "inspect-gradients" else []))
        assert answer.code == 0, answer.err


def test_the_file_compares_its_problem(file, runs_dir):
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() in ("adam", "sgd"), done.stderr


def names_of_the_page():
    """Run all Python of the page, from top to bottom, and return what it defines."""
    names = {"__name__": "page"}
    for language, _, text in FENCE.findall(PAGE):
        if language == "python":
            exec(text, names)
    return names


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_streamed_problem_is_trained(runs_dir):
    problem = names_of_the_page()["streamed"]
    words = ("epochs=1", "batch_size=100", "device=cpu", "threads=1")
    run = gradcli.train(problem, *words, runs_dir=runs_dir)
    assert (run.status, run.info.total_steps, run.info.data.train) == ("finished", 6, 600)


def test_a_metric_of_ones_own_is_as_the_page_has_it(file, runs_dir):
    names = names_of_the_page()
    assert names["problem"].objective.metric == Metric("within one", "maximize")
    scores = names["problem"].objective.score(names["targets"] + 2, names["targets"])
    assert scores.shape == names["targets"].shape[:1]
    assert list(names["run"].evals[-1].further_scores) == ["mae", "r2", "within one"]
    assert math.isfinite(names["run"].evals[-1].further_scores["r2"])


def test_the_table_lists_every_metric_that_has_a_name():
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (higher|lower) \|$", PAGE, re.MULTILINE)
    directions = {"higher": "maximize", "lower": "minimize"}
    assert {name: Metric(name, directions[better]) for name, better in rows} == {
        name: one.metric for name, one in NAMED_METRICS.items()
    }


def test_the_table_lists_every_loss_with_its_metric():
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| `(\w+)`, (higher|lower) is better \|$", PAGE, re.MULTILINE
    )
    directions = {"higher": "maximize", "lower": "minimize"}
    found = {loss: Metric(metric, directions[better]) for loss, metric, better in rows}
    assert found == {name: objective.metric for name, objective in SHIPPED.items()}


def test_the_readme_leads_to_it():
    assert "docs/your-own-problem.md" in (ROOT / "README.md").read_text(encoding="utf-8")
