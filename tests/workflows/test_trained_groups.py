"""Trainings with parameter groups: what is on record, shown, resumed, diffed and compared."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.inspection.run_difference import difference
from gradcli.runs import list_runs, load_checkpoint, load_run

OPTION = """
_target_: torch.optim.SGD
lr: 0.1
momentum: 0.9
groups:
  matrices: {where: {dimensions: 2, names: "hidden*"}}
  rest: {_target_: torch.optim.AdamW, lr: 0.002}
"""
SMALL = ("data=mnist5k", "model.hidden=[8,6]", "device=cpu", "threads=1")
HIDDEN = ("hidden1.weight", "hidden2.weight")
REST = ("hidden1.bias", "hidden2.bias", "output.weight", "output.bias")


@pytest.fixture
def my(tmp_path):
    """A config folder with an optimizer that has two groups."""
    folder = tmp_path / "my" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "grouped.yaml").write_text(OPTION)
    return str(tmp_path / "my")


@pytest.fixture
def train(my, runs_dir, gradcli):
    """Train a small model by that option with more overrides; return the answer and the run."""

    def run(*overrides):
        words = ("train", "optimizer=grouped", *SMALL, "max_steps=9", *overrides)
        answer = gradcli(*words, "--config-dir", my, "--no-live")
        assert answer.code == 0, answer.err
        # By name, runs of one second are in no order.
        return answer, next(one for one in list_runs(runs_dir) if one.name in answer.out)

    return run


def test_headings_give_the_rates_of_all_groups(train, gradcli):
    """Not that of the first group alone, as if it were the run's."""
    answer, run = train()
    rates = "grouped 2 rates 0.002 to 0.1"
    said = (
        answer.err,
        gradcli("runs", "show", run.name).out,
        gradcli("inspect-gradients", run.name).out,
    )
    assert [rates in text for text in said] == [True] * 3
    alike, _ = train("optimizer.groups.rest.lr=0.1")
    assert ", grouped 0.1 cosine," in alike.err


def test_the_routing_is_printed_recorded_and_shown(train, gradcli):
    answer, run = train()
    assert "matrices: SGD 0.1, 2 parameters: hidden1.weight, hidden2.weight\n" in answer.err
    assert "rest: AdamW 0.002, 4 parameters: hidden1.bias, " in answer.err
    stored = json.loads((run.path / "run.json").read_text())
    assert stored["parameter_groups"] == [
        {
            "name": "matrices",
            "optimizer": "torch.optim.SGD",
            "keywords": {"lr": 0.1, "momentum": 0.9},
            "learning_rate": 0.1,
            "parameters": list(HIDDEN),
        },
        {
            "name": "rest",
            "optimizer": "torch.optim.AdamW",
            "keywords": {"lr": 0.002},
            "learning_rate": 0.002,
            "parameters": list(REST),
        },
    ]
    assert "groups" not in stored["info"]  # whose keys an earlier gradcli knows
    shown = gradcli("runs", "show", str(run.path)).out
    assert [line.split()[:2] for line in shown.splitlines() if "AdamW" in line] == [
        ["rest", "AdamW"]
    ]


def test_json_has_each_groups_rate_and_norm(train, gradcli):
    _, run = train()
    result = json.loads(gradcli("runs", "show", str(run.path), "--json").out)
    columns, groups = run.columns(), result["parameter_groups"]
    assert [group["parameters"] for group in groups] == [list(HIDDEN), list(REST)]
    for group, base in zip(groups, (0.1, 0.002), strict=True):
        norms = [columns[f"grad_norm_before_clip/{name}"] for name in group["parameters"]]
        norm = np.linalg.norm(np.stack(norms).astype(np.float64), axis=0)
        expected = {"first": norm[0], "last": norm[-1], "mean": norm.mean(), "max": norm.max()}
        assert group["grad_norm_before_clip"] == pytest.approx(expected, rel=1e-12)
        assert group["lr"]["first"] == base
        falls_to = run.steps.learning_rate[-1] / run.steps.learning_rate[0]
        assert group["lr"]["last"] == pytest.approx(base * falls_to, rel=1e-12)
    # The set-up that was observed at the third step has the rate of every group then.
    third = run.setups[2].groups
    assert third[0].learning_rate == run.steps.learning_rate[2]
    assert third[1].learning_rate == pytest.approx(run.steps.learning_rate[2] / 50, rel=1e-12)


def test_rates_that_do_not_keep_their_proportion_are_those_that_were_observed(my, train, gradcli):
    """torch's one-cycle policy gives every group the same largest rate."""
    (Path(my) / "schedule").mkdir()
    (Path(my) / "schedule" / "policy.yaml").write_text(
        "_target_: torch.optim.lr_scheduler.OneCycleLR\nmax_lr: 0.1\ncycle_momentum: false\n"
    )
    _, run = train("schedule=policy")
    result = json.loads(gradcli("runs", "show", str(run.path), "--json").out)
    observed = [setup.groups[1].learning_rate for setup in run.setups]
    assert result["parameter_groups"][1]["lr"] == {"first": observed[0], "last": observed[-1]}
    assert observed[0] == run.steps.learning_rate[0]  # although the config has 0.002


def test_two_routings_are_diffed(train, gradcli):
    _, one = train()
    _, other = train("optimizer.groups.matrices.where.names=hidden1*")
    found = difference(one, other)
    assert [(one.key, one.a, one.b) for one in found.routing] == [
        ("hidden2.weight", "matrices", "rest")
    ]
    answer = gradcli("runs", "diff", str(one.path), str(other.path))
    rows = [line.split() for line in answer.out.splitlines()]
    assert ["hidden2.weight", "matrices", "rest"] in rows
    assert ["optimizer.groups.matrices.where.names", "hidden*", "hidden1*"] in rows
    printed = json.loads(gradcli("runs", "diff", str(one.path), str(other.path), "--json").out)
    assert printed["routing"] == [{"key": "hidden2.weight", "a": "matrices", "b": "rest"}]
    assert difference(one, one).routing == ()


def test_a_parameter_that_no_group_takes_is_an_error_before_there_is_a_run(my, runs_dir, gradcli):
    words = ("train", "optimizer=grouped", *SMALL, "~optimizer.groups.rest", "--config-dir", my)
    answer = gradcli(*words)
    assert answer.code == 2
    assert "No group takes the parameter hidden1.bias and 3 more." in answer.message
    assert list_runs(runs_dir) == []


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bits(my, runs_dir, tmp_path, gradcli):
    config = ("optimizer=grouped", *SMALL, "epochs=12", "checkpoint.seconds=0.05")
    options = ("--config-dir", my, "--no-live")
    assert gradcli("train", *config, *options).code == 0
    (undisturbed,) = list_runs(runs_dir)
    killed_in = tmp_path / "killed"
    command = [sys.executable, "-m", "gradcli", "train", *config, *options]
    process = subprocess.Popen([*command, "--runs-dir", str(killed_in)], stderr=subprocess.DEVNULL)
    while not list(killed_in.glob("*/checkpoints/last.pt")) and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = list_runs(killed_in)
    assert run.status == "lost"
    assert gradcli("train", "--resume", str(run.path), *options).code == 0
    resumed = load_run(run.path)
    for name, value in load_checkpoint(undisturbed.path)["model"].items():
        assert torch.equal(value, load_checkpoint(run.path)["model"][name])
    for log in ("steps.bin", "probes.jsonl"):
        assert (resumed.path / log).read_bytes() == (undisturbed.path / log).read_bytes()
    assert resumed.info.groups == undisturbed.info.groups


def test_a_comparison_scales_all_groups_and_its_winner_can_be_repeated(
    my, runs_dir, gradcli, trials_in_this_process
):
    words = ("compare-optimizers", "--optimizers", "grouped", "--lrs", "0.05,0.2", "--seeds", "1")
    answer = gradcli(*words, *SMALL, "max_steps=9", "--config-dir", my, "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    for trial in result["trials"]:
        groups = load_run(trial["run"]).info.groups
        rates = [group.learning_rate for group in groups]
        assert rates == pytest.approx([trial["lr"], trial["lr"] / 50], rel=1e-12)
    command = result["winner_command"]
    assert "optimizer.groups.rest.lr=" in command
    (measured,) = [one for one in result["trials"] if one["stage"] == "measuring"]
    assert gradcli(*shlex.split(command)[1:], "--no-live").code == 0
    repeated, trial = list_runs(runs_dir)[0], load_run(measured["run"])
    assert np.array_equal(repeated.steps.loss, trial.steps.loss)
    assert repeated.info.groups == trial.info.groups
