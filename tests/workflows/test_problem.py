"""A problem of the user's own through the three commands, from Python and the command line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradcli as package
from gradcli.errors import UserError
from gradcli.records import Recorder, StepRecords
from gradcli.runs import ComparisonDirectory, load_checkpoint, load_run
from gradcli.system.paths import Paths
from gradcli.views.json_output import comparison_json
from gradcli.workflows.compare import read_comparison

MINE = '''
import torch
from torch import nn

import gradcli

generator = torch.Generator().manual_seed(0)
x = torch.randn(240, 3, generator=generator)
y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1 * torch.randn(240, 1, generator=generator)


class Net(nn.Module):
    """A network with dropout, which draws at every step."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 8)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(8, 1)

    def forward(self, inputs):
        return self.out(self.dropout(torch.tanh(self.hidden(inputs))))


problem = gradcli.Problem(model=Net, train=(x, y), loss="mse")
'''
SMALL = ("epochs=2", "batch_size=16", "device=cpu", "threads=1", "optimizer.lr=0.02")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield path
    sys.modules.pop("mine", None)


@pytest.fixture
def imported(mine):
    from gradcli.system.source_files import module_from_file

    return module_from_file(mine).problem


class TerminateAt(Recorder):
    """Sends this process SIGTERM after a step."""

    def __init__(self, step):
        self.step = step

    def record(self, record):
        if isinstance(record, StepRecords) and record.step[-1] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def weights(run):
    return load_checkpoint(run)["model"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_the_command_line_and_python_train_the_same_network(gradcli, mine, imported, runs_dir):
    answer = gradcli("train", "problem=mine.py:problem", *SMALL, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["metric"] == {"name": "mse", "direction": "minimize"}
    assert "test_accuracy" not in told
    assert (told["model"]["name"], told["data"]["name"]) == ("Net", "mine")
    by_command = load_run(told["run"])
    by_call = package.train(imported, *SMALL, runs_dir=runs_dir)
    assert same(weights(by_command.path), weights(by_call.path))
    assert np.array_equal(by_command.steps.loss, by_call.steps.loss)


def test_the_scores_on_record_are_those_of_the_model(mine, imported, runs_dir):
    run = package.train(imported, *SMALL, runs_dir=runs_dir)
    dataset = imported.dataset("mine")
    model = imported.model()
    model.load_state_dict(weights(run.path))
    model.eval()
    with torch.no_grad():
        errors = (model(dataset.test.inputs).double() - dataset.test.targets.double()).square()
    test = next(one for one in run.evals if one.split == "test")
    assert [test.score, test.loss] == pytest.approx([float(errors.mean())] * 2, rel=1e-5)
    each = test.scores_of_examples(len(dataset.test))
    np.testing.assert_allclose(each, errors[:, 0].numpy(), rtol=1e-4)


def test_a_run_that_was_stopped_resumes_to_the_bit_if_its_file_is_allowed(
    gradcli, mine, imported, runs_dir, monkeypatch
):
    whole = package.train(imported, *SMALL, "epochs=3", runs_dir=runs_dir)
    monkeypatch.setattr("gradcli.training.trainer._SECONDS_BETWEEN_FLUSHES", {"cpu": 0.0})
    recorders = [TerminateAt(17)]
    begun = package.train(imported, *SMALL, "epochs=3", runs_dir=runs_dir, recorders=recorders)
    assert (begun.status, begun.steps.step[-1]) == ("interrupted", 17)
    shown = "".join(gradcli("runs", "show", str(begun.path)).out.split())
    assert f"--allow-import{mine}--resume" in shown  # the next command carries it
    refused = gradcli("train", "--resume", str(begun.path))
    assert refused.code == 2
    assert "is code, which runs only if you allow it" in refused.message
    assert f"--allow-import {mine}" in refused.message
    resumed = gradcli("train", "--resume", str(begun.path), "--allow-import", "mine.py")
    assert resumed.code == 0, resumed.err
    assert same(weights(begun.path), weights(whole.path))


def test_a_file_that_has_changed_since_is_said(gradcli, mine, imported, runs_dir):
    run = package.train(imported, *SMALL, runs_dir=runs_dir)
    mine.write_text(MINE + "# another line\n")
    command = ["train", "--resume", str(run.path), "--allow-import", "mine.py", "epochs=3"]
    answer = gradcli(*command)
    assert answer.code == 0
    assert "mine.py has changed since the run began" in " ".join(answer.message.split())


def test_a_run_directory_from_a_stranger_runs_no_file(gradcli, mine, imported, runs_dir, tmp_path):
    run = package.train(imported, *SMALL, runs_dir=runs_dir)
    trap = tmp_path / "trap.py"
    trap.write_text("open('sprung', 'w').close()\n")
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace(str(mine), str(trap)))
    for command in (
        ("train", "--resume", str(run.path), "epochs=3"),
        ("inspect-gradients", str(run.path), "--probe", "histograms"),
        ("runs", "show", str(run.path)),
        ("train", "data=problem", f"data.file='{trap}'", *SMALL),
    ):
        gradcli(*command, "--allow-import", "mine.py" if command[0] != "runs" else "json")
    assert not (tmp_path / "sprung").exists()


def test_a_fresh_model_is_inspected(gradcli, mine):
    answer = gradcli("inspect-gradients", "problem=mine.py:problem", "--check", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert [layer["name"] for layer in told["layers"]] == ["hidden", "out"]
    assert told["probes"]["check"]["wrong"] == []


def test_comparisons_are_equal_to_the_bit_wherever_they_run(gradcli, mine, imported, runs_dir):
    words = ["epochs=1", "batch_size=16", "device=cpu"]
    asked = ["--optimizers", "adam,sgd", "--lrs", "0.01,0.1", "--seeds", "2", "--json"]
    answer = gradcli("compare-optimizers", "problem=mine.py:problem", *words, *asked, "--jobs", "2")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["metric"]["name"] == "mse"
    assert told["target"] > 0  # set by the tuning
    assert told["target_ranking"]["origin"] == "tuning"
    tests = {trial["id"]: trial["test"] for trial in told["trials"]}
    means = [arm["test"]["mean"] for arm in told["ranking"]]
    assert means == sorted(means)  # the smallest error first
    here = package.compare(
        imported,
        *words,
        optimizers=["adam", "sgd"],
        lrs=[0.01, 0.1],
        seeds=2,
        engine="serial",
        runs_dir=runs_dir.parent / "elsewhere",
    ).summary
    assert {trial.id: trial.test_score for trial in here.trials} == pytest.approx(
        {key: float(value) for key, value in tests.items()}, nan_ok=True, abs=0
    )


def test_a_problem_that_no_file_has_runs_in_this_process(runs_dir):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 2, generator=generator)
    local = package.Problem(
        model=lambda: nn.Linear(2, 2), train=(inputs, (inputs[:, 0] > 0).long())
    )
    words = ("epochs=1", "batch_size=10", "device=cpu", "protocol.tune=false")
    found = package.compare(
        local, *words, optimizers=["sgd", "adam"], seeds=2, jobs=4, runs_dir=runs_dir
    ).summary
    assert found.status == "finished"
    assert (found.info.engine, found.info.jobs) == ("serial", 1)
    (note,) = found.notes
    assert "(engine=serial): no file has the problem by name" in note
    assert "jobs=4 does not apply" in note
    kept = read_comparison(ComparisonDirectory(Path(found.info.path)), Paths())
    assert kept.notes == found.notes
    assert comparison_json(kept)["notes"] == [note]


@pytest.mark.parametrize("chosen", [{"engine": "local"}, {}])
def test_another_engine_for_a_problem_that_no_file_has_is_refused(runs_dir, chosen):
    local = package.Problem(
        model=lambda: nn.Linear(2, 2), train=(torch.eye(20, 2), torch.eye(20, 2))
    )
    words = [] if chosen else ["engine=local"]
    with pytest.raises(UserError, match="no other process can make it") as caught:
        package.compare(local, *words, optimizers=["sgd"], jobs=2, runs_dir=runs_dir, **chosen)
    assert 'engine="serial", without jobs' in caught.value.hint


def test_two_problems_of_one_process_are_not_mistaken_for_each_other(runs_dir):
    def made(shift):
        inputs = torch.arange(40.0).reshape(20, 2) + shift
        return package.Problem(model=lambda: nn.Linear(2, 1), train=(inputs, inputs), loss="l1")

    def trained(shift):
        problem = package.Problem(
            model=lambda: nn.Linear(2, 2), train=made(shift)._splits["train"], loss="l1"
        )
        return package.train(problem, "epochs=1", "device=cpu", runs_dir=runs_dir)

    assert trained(0).info.data.sha256 != trained(1).info.data.sha256


def test_a_file_may_compare_its_own_problem_without_a_guard(mine, runs_dir):
    mine.write_text(
        MINE
        + "found = gradcli.compare(problem, 'epochs=1', 'protocol.tune=false', jobs=2,\n"
        + f"    optimizers=['sgd', 'adam'], seeds=2, runs_dir={str(runs_dir)!r})\n"
        + "print(found.summary.status, len(found.summary.trials), found.summary.info.engine)\n"
    )
    done = subprocess.run([sys.executable, str(mine)], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["finished", "4", "local"], done.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("problem=mine", "does not name a problem"),
        ("problem=mne.py:problem", "nearest: mine.py"),
        ("problem=mine.py:problm", "nearest: problem"),
        ("problem=mine.py:x", "'x' is a Tensor"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(gradcli, mine, word, said):
    answer = gradcli("train", word, *SMALL)
    assert answer.code == 2
    assert said in " ".join(answer.message.split())


@pytest.mark.parametrize("word", ["model=cnn", "model.hidden=[4]", "init=xavier", "data=mnist5k"])
def test_what_a_problem_brings_is_not_chosen_beside_it(gradcli, mine, word):
    answer = gradcli("train", "problem=mine.py:problem", word)
    assert answer.code == 2
    assert "chooses what the problem brings itself" in " ".join(answer.message.split())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nn.Linear(3, 8)", "nn.Linear(4, 8)", "cannot take inputs of shape (2, 3), float32"),
        ("self.out = nn.Linear(8, 1)", "self.out = nn.Linear(8, 2)", "an output for each target"),
        ('loss="mse"', "loss=lambda a, b: (a - b) ** 2", "must be a single number"),
        ('loss="mse"', "loss=lambda a, b: 1 / 0", "division by zero"),
        ("model=Net", "model=lambda: 3", "returned a int, not a torch.nn.Module"),
        ('loss="mse"', 'loss="mse", metric=("m", lambda a, b: a[:, :1], "minimize")', "(2, 1)"),
        (
            'loss="mse"',
            'loss="mse", metric=("m", lambda a, b: 1 / 0, "minimize")',
            "metric m cannot",
        ),
        (
            'loss="mse"',
            'loss="mse", metric=("m", lambda a, b: a.sub_(b).abs().mean(1), "minimize")',
            "metric m changes the outputs or the targets in place",
        ),
        (
            'loss="mse"',
            'loss="mse", metric=("m", lambda a, b: (a - b).mean(1) * 1j, "minimize")',
            "complex",
        ),
        ('loss="mse"', "loss=lambda a, b: ((a - b) ** 2).mean().detach()", "has no gradient"),
        ("import torch\n", "import torch, no_such_module\n", "no_such_module"),
        ("problem = ", "other = problem_of_mine = ", "'problem' is not there"),
    ],
)
def test_what_fails_is_told_in_one_panel(gradcli, mine, old, new, said):
    assert old in MINE
    mine.write_text(MINE.replace(old, new, 1))
    answer = gradcli("train", "problem=mine.py:problem", *SMALL)
    assert answer.code == 2, answer.err
    assert said in " ".join(answer.message.split())
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("name", ["it's.py", "ü mine.py", "a,b=c.py"])
def test_any_path_is_taken_by_every_command(gradcli, mine, name):
    mine.rename(mine.with_name(name))
    for command in ("train", "inspect-gradients", "compare-optimizers"):
        answer = gradcli(command, f"problem={name}:problem", "data.drop_last=false", "epochs=0")
        assert "epochs" in answer.message, answer.err  # everything before it was read
