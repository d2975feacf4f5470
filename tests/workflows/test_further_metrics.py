"""Further metrics from the problem to the run directory, the screens, JSON and exports."""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gradcli as package
from gradcli.runs import load_checkpoint, load_run
from gradcli.system.source_files import module_from_file

MINE = """
import torch
from torch import nn

import gradcli

generator = torch.Generator().manual_seed(0)
x = torch.randn(240, 3, generator=generator)
y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1 * torch.randn(240, 1, generator=generator)


def within(outputs, targets):
    return ((outputs - targets).abs() < 0.5).all(dim=1)


def always(outputs, targets):
    return torch.tensor(torch.nan)


MORE = ["mae", "r2", ("within 0.5", within, "maximize"), ("unknown", always, "minimize")]


def Net():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def asked(**further):
    return gradcli.Problem(model=Net, train=(x, y), loss="mse", metric="rmse", **further)


plain = asked()
problem = asked(metrics=MORE)
"""
SMALL = ("epochs=2", "batch_size=16", "device=cpu", "threads=1", "optimizer.lr=0.02")
DIRECTIONS = {
    "mae": "minimize",
    "r2": "maximize",
    "within 0.5": "maximize",
    "unknown": "minimize",
}


@pytest.fixture
def mine(tmp_path, monkeypatch, runs_dir):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield module_from_file(path)
    sys.modules.pop("mine", None)


def by_hand(mine, run):
    """The scores of a run's last weights on both splits, in float64 and NumPy."""
    dataset, model = mine.problem.dataset("mine"), mine.Net()
    model.load_state_dict(load_checkpoint(run)["model"])
    found = {}
    for name, split in (("val", dataset.val), ("test", dataset.test)):
        with torch.no_grad():
            outputs = model(split.inputs).double().numpy()
        y = split.targets.double().numpy()
        error = outputs - y
        found[name] = {
            "rmse": math.sqrt((error**2).mean()),
            "mae": abs(error).mean(),
            "r2": 1 - (error**2).sum() / ((y - y.mean()) ** 2).sum(),
            "within 0.5": (abs(error) < 0.5).mean(),
        }
    return found


def test_they_are_those_of_the_model_in_every_place(gradcli, mine):
    answer = gradcli("train", "problem=mine.py:problem", *SMALL, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["metric"] == {"name": "rmse", "direction": "minimize"}
    assert {name: one["direction"] for name, one in told["metrics"].items()} == DIRECTIONS
    expected = by_hand(mine, Path(told["run"]))
    for split, scores in expected.items():
        assert told[split] == pytest.approx(scores.pop("rmse"), rel=1e-5)
        found = {name: told["metrics"][name][split] for name in scores}
        assert found == pytest.approx(scores, rel=1e-5)
        assert told["metrics"]["unknown"][split] == "nan"
    evaluations = load_run(told["run"]).evals
    assert [list(one.further_scores) for one in evaluations] == [list(DIRECTIONS)] * 3
    test = expected["test"]
    shown = " ".join(gradcli("runs", "show", told["run"]).out.split())
    assert f"further mae test {test['mae']:.4f}, validation {expected['val']['mae']:.4f}" in shown
    assert "unknown test -, validation -" in shown
    again = json.loads(gradcli("runs", "show", told["run"], "--json").out)
    assert again["metrics"] == told["metrics"]


def test_they_decide_and_change_nothing(mine):
    plain, more = (package.train(one, *SMALL) for one in (mine.plain, mine.problem))
    assert np.array_equal(plain.steps.loss, more.steps.loss)
    assert [one.score for one in plain.evals] == [one.score for one in more.evals]
    assert all(not one.further_scores for one in plain.evals)


def test_what_an_earlier_reader_reads_of_a_run_has_no_new_key(mine):
    """`info` and the log of evaluations are as they were; the rest is where unknown is skipped."""
    plain, more = (package.train(one, *SMALL).path for one in (mine.plain, mine.problem))
    states = [json.loads((path / "run.json").read_text()) for path in (plain, more)]
    assert states[0]["info"].keys() == states[1]["info"].keys()
    assert states[0].keys() ^ states[1].keys() == {"further_metrics"}
    for line in (more / "evals.jsonl").read_text().splitlines():
        assert "further_scores" not in json.loads(line)
    lines = (more / "probes.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("scores") == 3
    assert "scores" not in (plain / "probes.jsonl").read_text()


def test_a_resumed_run_goes_on_with_those_of_the_problem(gradcli, mine):
    begun = package.train(mine.problem, *SMALL)
    longer = package.train(mine.problem, "epochs=3", resume=begun.path)
    scores = [one.further_scores for one in longer.evals if one.split == "val"]
    assert [one.keys() for one in scores] == [DIRECTIONS.keys()] * 3
    Path("mine.py").write_text(MINE.replace("metrics=MORE", ""))
    del sys.modules["mine"]
    resume = ("--resume", str(begun.path), "--allow-import", "mine.py")
    without = gradcli("train", *resume, "epochs=4", "--json")
    assert without.code == 0, without.err
    assert json.loads(without.out)["metrics"] == {}


def test_runs_diff_has_those_that_both_have(gradcli, mine):
    a, b = (package.train(mine.problem, *SMALL, f"seed={seed}").path for seed in (1, 2))
    shown = gradcli("runs", "diff", str(a), str(b)).out
    mae = [load_run(one).evals[-1].further_scores["mae"] for one in (a, b)]
    (line,) = (line.split() for line in shown.splitlines() if line.startswith("test mae"))
    assert line[2:4] == [f"{value:.4f}" for value in mae]
    assert "unknown" not in shown  # neither has a number
    other = package.train(mine.plain, *SMALL).path
    assert "mae" not in gradcli("runs", "diff", str(a), str(other)).out


@pytest.fixture
def compared(mine, gradcli):
    words = ("--optimizers", "adam,sgd", "--seeds", "2", "protocol.tune=false", *SMALL[:-1])
    answer = gradcli(
        "compare-optimizers", "problem=mine.py:problem", *words, "--jobs", "2", "--json"
    )
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_two_jobs_and_python_score_the_same(mine, compared):
    options = {"optimizers": ["adam", "sgd"], "seeds": 2}
    words = ("protocol.tune=false", *SMALL[:-1])
    called = package.compare(mine.problem, *words, **options, jobs=1)
    told = {(one["arm"], one["seed"]): one["metrics"] for one in compared["trials"]}
    assert len(told) == 4
    for trial in called.summary.trials:
        metrics = told[trial.arm, trial.seed]
        for one in trial.further:
            known = (one.val, one.test) if one.metric.name != "unknown" else ("nan", "nan")
            assert (metrics[one.metric.name]["val"], metrics[one.metric.name]["test"]) == known


def test_an_arm_has_their_mean_over_the_seeds(compared):
    for arm in compared["ranking"]:
        trials = [one["metrics"] for one in compared["trials"] if one["arm"] == arm["arm"]]
        for name in ("mae", "r2", "within 0.5"):
            tests = [one[name]["test"] for one in trials]
            assert arm["metrics"][name]["direction"] == DIRECTIONS[name]
            assert arm["metrics"][name]["test"]["mean"] == pytest.approx(np.mean(tests))
            assert arm["metrics"][name]["test"]["std"] == pytest.approx(np.std(tests, ddof=1))
            vals = [one[name]["val"] for one in trials]
            assert arm["metrics"][name]["val"] == pytest.approx(np.mean(vals))


def test_a_comparison_shows_and_exports_them(gradcli, compared):
    shown = gradcli("runs", "show", compared["comparison"])
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    first = next(at for at, line in enumerate(lines) if "test mae" in line)
    for row, arm in enumerate(compared["ranking"], start=first + 2):
        assert arm["arm"] in lines[row]
        assert f"{arm['metrics']['r2']['test']['mean']:.4f}" in lines[row]
    exported = gradcli("runs", "export", compared["comparison"], "--what", "trials")
    assert exported.code == 0, exported.err
    rows = list(csv.DictReader(exported.out.splitlines()))
    assert len(rows) == len(compared["trials"])
    for row, trial in zip(rows, compared["trials"], strict=True):
        assert float(row["test_mae"]) == trial["metrics"]["mae"]["test"]
        assert float(row["val_r2"]) == trial["metrics"]["r2"]["val"]


def test_a_metric_that_cannot_be_computed_is_named_before_training(gradcli, mine, tmp_path):
    broken = MINE + "problem = asked(metrics=[('broken', lambda o, t: o @ t, 'minimize')])\n"
    (tmp_path / "broken.py").write_text(broken)
    answer = gradcli("train", "problem=broken.py:problem", *SMALL)
    assert answer.code == 2
    assert "The metric broken cannot be computed" in answer.message
