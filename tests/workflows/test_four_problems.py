"""Four problems of a folder through the three commands, equal to the bit wherever they run.

A table, a text, colour images, and a stream with a metric of its own: `tests/fixtures/problems`.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gradcli as package
from gradcli.records import Metric
from gradcli.runs import list_runs, load_checkpoint, load_run
from gradcli.system.source_files import module_from_file

PROBLEMS = Path(__file__).parents[1] / "fixtures" / "problems"
METRICS = {
    "table": Metric("mse", "minimize"),
    "text": Metric("cross_entropy", "minimize"),
    "pictures": Metric("accuracy", "maximize"),
    "streamed": Metric("close enough", "maximize"),
}
SMALL = ("batch_size=6", "device=cpu", "threads=1")
TRAINED = (*SMALL, "epochs=2", "monitor.every=2", "optimizer.lr=0.02")
COMPARED = (*SMALL, "epochs=1", "protocol.tune=false")

# Trains each problem until the second step of its second epoch, and is killed there: a checkpoint
# after every step.
KILLED = """
import os, signal, sys
import gradcli
import gradcli.training.trainer as trainer
from gradcli.records import Recorder, StepRecords
from gradcli.system.source_files import module_from_file
from pathlib import Path

trainer._SECONDS_BETWEEN_FLUSHES = {"cpu": 0.0}
folder, runs, *words = sys.argv[1:]


class Killed(Recorder):
    def record(self, record):
        if isinstance(record, StepRecords):
            self.made += int(record.epoch[-1] == 2)
            if self.made == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    made = 0


for name in ("table", "text", "pictures", "streamed"):
    if not (child := os.fork()):
        problem = module_from_file(Path(folder) / f"{name}.py").problem
        gradcli.train(problem, *words, runs_dir=Path(runs) / name, recorders=[Killed()])
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
"""

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"  # of the stream's worker
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The problems, where nothing that Python or gradcli leaves is in anybody's way."""
    folder = tmp_path_factory.mktemp("problems") / "mine"
    shutil.copytree(PROBLEMS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def killed(folder):
    """The folder with a killed run of each problem."""
    runs = folder.parent / "killed"
    command = [sys.executable, "-c", KILLED, str(folder), str(runs), *TRAINED]
    done = subprocess.run(
        [*command, "checkpoint.seconds=0"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return runs


@pytest.fixture(params=METRICS)
def name(request):
    return request.param


@pytest.fixture
def file(folder, name, runs_dir):
    return folder / f"{name}.py"


@pytest.fixture
def problem(file):
    return module_from_file(file).problem


def weights(run):
    return load_checkpoint(run.path)["model"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_training_is_the_same_by_command_by_call_and_after_a_kill(
    gradcli, name, file, problem, killed, runs_dir
):
    answer = gradcli("train", f"problem={file}:problem", *TRAINED, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["metric"] == {"name": METRICS[name].name, "direction": METRICS[name].direction}
    by_command = load_run(told["run"])
    by_call = package.train(problem, *TRAINED, runs_dir=runs_dir)
    (lost,) = list_runs(killed / name)
    begun = load_checkpoint(lost.path)["position"]
    assert (lost.status, begun["epochs_done"], begun["batches_done"]) == ("lost", 1, 2)
    again = gradcli("train", "--resume", str(lost.path), "--allow-import", str(file))
    assert again.code == 0, again.err
    for run in (by_call, load_run(lost.path)):
        assert same(weights(run), weights(by_command))
        for column in ("step", "loss", "grad_norm_before_clip", "parameter_grad_norm_after_clip"):
            ours, theirs = (getattr(one.steps, column) for one in (run, by_command))
            assert np.array_equal(ours, theirs), column
        scores = [[(one.split, one.loss, one.score) for one in r.evals] for r in (run, by_command)]
        assert scores[0] == scores[1]
        assert len(scores[0]) == 3


def test_a_comparison_is_the_same_by_call_and_by_command_in_two_processes(
    gradcli, name, file, problem, runs_dir
):
    here = package.compare(
        problem,
        *COMPARED,
        optimizers=["adam", "sgd"],
        seeds=2,
        engine="serial",
        runs_dir=runs_dir.parent / "here",
    ).summary
    asked = ("--optimizers", "adam,sgd", "--seeds", "2", "--jobs", "2", "--json")
    answer = gradcli("compare-optimizers", f"problem={file}:problem", *COMPARED, *asked)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (here.info.engine, len(here.trials)) == ("serial", 4)
    trials = {trial["id"]: (trial["val"], trial["test"]) for trial in told["trials"]}
    assert trials == {one.id: (one.val_score, one.test_score) for one in here.trials}
    assert [pair["verdict"] for pair in told["pairs"]] == [pair.verdict for pair in here.pairs]
    assert here.pairs[0].verdict in ("a", "b", "tie")
    assert told["metric"]["name"] == METRICS[name].name


def test_an_inspection_is_the_same_by_command_and_by_call(gradcli, file, problem, runs_dir):
    answer = gradcli("inspect-gradients", f"problem={file}:problem", *SMALL, "--check", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["probes"]["check"]["wrong"] == []
    found = package.inspect(problem, *SMALL, check=True)
    norms = {layer.name: layer.weight_grad_norm for layer in found.layers}
    assert {layer["name"]: layer["weight_grad_norm"] for layer in told["layers"]} == norms
    assert all(norm > 0 for norm in norms.values())
