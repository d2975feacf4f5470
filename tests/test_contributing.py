"""The recipes of CONTRIBUTING.md: each is short, works as written, and is used."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import gradcli as package
from gradcli.cli.app import app  # noqa: F401  (imported before the folder changes)
from gradcli.comparison import columns
from gradcli.diagnosis import limits
from gradcli.diagnosis.rules import RULES, Rule
from gradcli.probes import registry
from gradcli.runs import ComparisonDirectory, load_run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### Add an? (.+)\n((?:(?!^### ).*\n)*)", TEXT, re.MULTILINE))
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
SMALL = ("model.hidden=[4]", "max_steps=3", "device=cpu", "threads=1")
COMPARED = ("protocol.tune=false", "data=mnist5k", "--seeds", "1", "--no-live")


def test_there_is_a_recipe_for_each_seam():
    assert list(RECIPES) == [
        "optimizer",
        "model",
        "activation, a schedule or an initialisation",
        "clip method",
        "data set",
        "augmentation",
        "probe",
        "engine",
        "recorder",
        "tracker",
        "column of the comparison",
        "finding rule",
        "shipped option",
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_less_than_ten_lines(name):
    lines = [one for one in RECIPES[name].splitlines() if one and not one.startswith("```")]
    assert len(lines) < 10, lines


@pytest.fixture
def follow(tmp_path, monkeypatch, runs_dir, trials_in_this_process, gradcli):
    """Write the files of a recipe, type its command with more words, and return the answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_added", {})
    kept, loaded = columns.COLUMNS[:], set(sys.modules)

    def typed(name, *more):
        command = None
        for language, file, content in FENCE.findall(RECIPES[name]):
            if language == "bash":
                command = shlex.split(content)[1:]
                continue
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(content)
        return gradcli(*command, *more)

    yield typed
    columns.COLUMNS[:] = kept
    for module in set(sys.modules) - loaded:
        if module.startswith("my_"):
            del sys.modules[module]


def trained(follow, runs_dir, name, *more):
    """Train as a recipe says, and return the run."""
    words = (*(one for one in SMALL if name != "model" or "hidden" not in one), *more)
    if name != "data set":
        words = (*words, "data=mnist5k")
    answer = follow(name, *words, "--no-live")
    assert answer.code == 0, answer.err
    return load_run(next(runs_dir.iterdir()))


def weights(run):
    """The weights at the end of a run, and those of its start."""
    import torch

    return torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)["model"]


def test_optimizer(follow, runs_dir):
    run = trained(
        follow, runs_dir, "optimizer", "optimizer.lr=0.5", "schedule=constant", "init=normal"
    )
    assert run.info.optimizer == "sign"
    # From biases of zero, three steps of 0.5 end at a multiple of it, whatever clipping does.
    moved = weights(run)["output.bias"]
    assert set(moved.abs().tolist()) <= {0.5, 1.5} and run.steps.clip_coefficient.min() < 1


def test_model(follow, runs_dir):
    run = trained(follow, runs_dir, "model")
    assert run.info.model == "narrow"
    assert run.info.model_size == 784 * 8 + 8 + 8 * 10 + 10
    assert run.info.activation == ""


def test_clip_method(follow, runs_dir):
    run = trained(follow, runs_dir, "clip method", "init=normal", "init.std=0.5")
    assert run.info.clip == "by_depth"
    before, coefficient = run.steps.grad_norm_before_clip, run.steps.clip_coefficient
    expected = [min(1.0, 2**0.5 / norm) for norm in before.tolist()]
    assert coefficient.tolist() == pytest.approx(expected)
    assert coefficient.min() < 1


def test_data_set(follow, runs_dir):
    data = trained(follow, runs_dir, "data set").info.data
    assert (data.name, data.train, data.val, data.test) == ("brightness", 250, 50, 60)
    assert (data.shape, data.classes) == ((1, 4, 4), 3)


def test_augmentation(follow, runs_dir, tmp_path):
    run = trained(follow, runs_dir, "augmentation")
    assert run.info.augment == "negative"
    plain = package.train(*SMALL, "data=mnist5k", runs_dir=tmp_path / "plain")
    assert run.steps.loss[0] != plain.steps.loss[0]


def test_probe(follow):
    answer = follow("probe", "model.hidden=[4]", "data=mnist5k", "init=normal", "--json")
    result = json.loads(answer.out)["probes"]["peak"]["result"]
    assert 3 * 0.05 < result < 7 * 0.05  # the largest of 3,000 normal numbers


def compared(follow, runs_dir, name, *more):
    answer = follow(name, *SMALL, *COMPARED, *more)
    assert answer.code == 0, answer.err
    return answer, ComparisonDirectory(next(runs_dir.iterdir()))


def test_engine(follow, runs_dir):
    _, comparison = compared(follow, runs_dir, "engine", "--optimizers", "sgd", "--json")
    ran = {path.name for path in (comparison.path / "trials").iterdir()}
    assert len(ran) == 1
    assert set(Path("jobs.txt").read_text().split()) == ran


def test_tracker(follow, runs_dir, gradcli):
    run = trained(follow, runs_dir, "tracker")
    lines = [line.split() for line in Path("losses.txt").read_text().splitlines()]
    losses = {int(step): float(loss) for step, loss in lines if loss != "None"}
    assert losses == dict(zip([1, 2, 3], run.columns()["loss"].tolist(), strict=True))
    Path("losses.txt").unlink()
    words = ["--format", "losses", "-o", "exported", "--config-dir", "my"]
    answer = gradcli("runs", "export", str(run.path), *words, "--allow-import", "my_tracker")
    assert answer.code == 0, answer.err
    assert [line.split() for line in Path("losses.txt").read_text().splitlines()] == lines


def test_recorder(follow, runs_dir):
    trained(follow, runs_dir, "recorder")
    assert Path("ended.txt").read_text().startswith("finished ")


def test_column_of_the_comparison(follow, runs_dir, gradcli):
    answer, comparison = compared(follow, runs_dir, "column of the comparison", "--json")
    for trial in json.loads(answer.out)["trials"]:
        losses = load_run(comparison.path / "trials" / trial["id"]).steps.loss
        assert trial["largest_loss"] == pytest.approx(float(losses.max()))
    shown = gradcli("runs", "show", "latest", "--allow-import", "my_column")
    assert re.search(r"largest", shown.out)


def test_finding_rule():
    ((_, _, code),) = FENCE.findall(RECIPES["finding rule"])
    space: dict[str, object] = {}
    exec(code, space)  # our own document
    (entry,) = re.findall(r"`(Rule\(.*?needs\.steps\))`", RECIPES["finding rule"])
    from gradcli.diagnosis.rules import table_of_rules

    rule = eval(entry, {**vars(table_of_rules), **space})
    assert isinstance(rule, Rule) and all(isinstance(one, Rule) for one in RULES)
    assert isinstance(limits.DEAD_UNITS, limits.Limit)

    space["loss_kept"] = float  # the evidence is the share itself
    (finding,) = rule.find(0.95)
    assert (finding.code in rule.codes, finding.evidence) == (True, {"loss_kept": 0.95})
    assert list(rule.find(0.5)) == []


def test_what_it_names_exists():
    """Links, folders of groups, targets of make, and dotted names."""
    import importlib

    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"`((?:tests|tools|gradcli|benchmarks)/[\w/]+(?:\.py|/))`", TEXT):
        assert (ROOT / path).exists(), path
    for dotted in re.findall(r"`(gradcli\.[\w.]+)`", TEXT):
        module, _, name = dotted.rpartition(".")
        try:
            importlib.import_module(dotted)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), name), dotted
