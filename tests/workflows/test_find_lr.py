"""`gradcli find-lr` on real digits: what it proposes trains, and it leaves nothing behind."""

from __future__ import annotations

import json
import math
import shlex
from importlib.resources import files

import jsonschema
import pytest
import torch

import gradcli
from gradcli.runs import load_run

SMALL = ("data=mnist5k", "threads=1", "device=cpu")
QUICK = (*SMALL, "model.hidden=[16]", "max_steps=40")


def val_loss(tmp_path, *words):
    """The validation loss that a training ends with; infinite if it diverges."""
    run = gradcli.train(*SMALL, *words, runs_dir=tmp_path)
    losses = [one.loss for one in run.evals if one.split == "val"]
    return losses[-1] if run.status == "finished" else math.inf


@pytest.mark.parametrize(
    ("model", "optimizer"), [("logreg", "adam"), ("mlp", "sgd"), ("mlp", "rmsprop")]
)
def test_the_proposal_trains_better_than_rates_far_from_it(model, optimizer, tmp_path):
    cell = {"model": model, "optimizer": optimizer}
    found = gradcli.find_lr(*SMALL, **cell)
    assert found.proposed.is_found
    low, high = found.interval
    assert low < found.learning_rate < high
    words = [f"{key}={value}" for key, value in cell.items()]
    reached = {
        factor: val_loss(tmp_path, *words, f"optimizer.lr={found.learning_rate * factor}")
        for factor in (0.01, 1, 30)
    }
    assert reached[1] < 0.8 * min(reached[0.01], reached[30])


def test_the_start_of_the_search_does_not_decide(tmp_path):
    words = (*SMALL, "model=logreg", "optimizer=sgd")
    usual, far = gradcli.find_lr(*words), gradcli.find_lr(*words, lr=5e-4)
    assert usual.search.centre == 1000 * far.search.centre
    assert far.interval[0] <= usual.learning_rate <= far.interval[1]


def test_a_loss_is_that_of_a_whole_training_of_that_length(tmp_path):
    """The rehearsals are `gradcli train` with `max_steps`, at every rate and seed."""
    words = (*QUICK, "data.val=200")  # all of which are used
    found = gradcli.find_lr(*words, steps=8, seeds=3, seed=5)
    rates = found.proposed.rehearsed
    for one in rates[:2]:
        for seed, loss in zip(found.search.seeds, one.losses, strict=False):
            more = ["max_steps=8", f"optimizer.lr={one.rate}"]
            run = gradcli.train(*words, *more, seed=seed, runs_dir=tmp_path)
            (at_the_end,) = [evaluated.loss for evaluated in run.evals if evaluated.split == "val"]
            assert loss == pytest.approx(at_the_end, rel=1e-5)


def test_it_is_the_same_each_time_and_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    words = (*QUICK, "model.dropout=0.2")
    first, again = (gradcli.find_lr(*words, steps=8, seeds=3) for _ in range(2))
    assert first.proposed == again.proposed
    assert gradcli.find_lr(*words, steps=8, seeds=3, seed=1).proposed != first.proposed
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert list(tmp_path.iterdir()) == []


def test_groups_keep_their_proportion(tmp_path):
    """The shipped Muon has a group with AdamW and a rate of its own."""
    words = (*SMALL, "model.hidden=[16,16]", "max_steps=40")
    found = gradcli.find_lr(*words, optimizer="muon", steps=12, seeds=3)
    run = gradcli.train(*words, optimizer="muon", runs_dir=tmp_path)
    again = gradcli.train(*words, *found.overrides, optimizer="muon", runs_dir=tmp_path)
    before, after = (
        {one.name: one.learning_rate for one in each.info.groups} for each in (run, again)
    )
    assert len(set(before.values())) == 2
    factor = found.learning_rate / found.search.centre
    assert after == pytest.approx({name: rate * factor for name, rate in before.items()})


# What it says, and how it ends


def test_the_command_and_python_say_the_same(gradcli, runs_dir):
    from gradcli import find_lr
    from gradcli.views.json_output import dumps, found_rate_json

    answer = gradcli(
        "find-lr", *QUICK, "--steps", "8", "--seeds", "3", "--optimizer", "sgd", "--json"
    )
    assert answer.code == 0
    printed = json.loads(answer.out)
    schema = json.loads((files("gradcli") / "schemas" / "find-lr.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(printed)
    found = find_lr(*QUICK, steps=8, seeds=3, optimizer="sgd", runs_dir=runs_dir)
    same = json.loads(dumps(found_rate_json(found)))
    assert {**same, "seconds": 0} == {**printed, "seconds": 0}
    assert printed["learning_rate"] == found.learning_rate
    assert printed["data"]["val"] == 500


def test_the_next_command_can_be_pasted(gradcli, tmp_path):
    folder = tmp_path / "a folder"
    words = [*QUICK, "name=it's", "optimizer.lr=0.5", "--runs-dir", str(folder)]
    answer = gradcli("find-lr", *words, "--steps", "8", "--seeds", "3", "--quiet")
    assert answer.err == ""
    (line,) = [line for line in answer.out.splitlines() if line.startswith("next ")]
    command = shlex.split(line.removeprefix("next"))
    assert [word for word in command if word.startswith("optimizer.lr=")] != ["optimizer.lr=0.5"]
    assert command[-1].startswith("optimizer.lr=")
    assert gradcli(*command[1:], "--quiet").code == 0
    (run,) = folder.iterdir()
    assert load_run(run).info.learning_rate == float(command[-1].partition("=")[2])


def test_the_screen_and_the_progress(gradcli):
    answer = gradcli("find-lr", *QUICK, "--steps", "8", "--seeds", "3")
    assert answer.code == 0
    assert answer.out.startswith("lr 0.")
    assert "(95%, 3 seeds)" in answer.out
    lines = answer.err.splitlines()
    (estimate,) = [line for line in lines if line.startswith("about ")]
    assert "3 seeds x 3 learning rates x 8 steps" in estimate
    assert sum(line.startswith("lr ") for line in lines) == len(lines) - 1


def test_on_a_terminal_it_says_how_long_it_takes(on_terminal):
    code, shown = on_terminal("find-lr", *QUICK, "--steps", "8", "--seeds", "3", TERM="xterm")
    assert code == 0
    assert b"about " in shown
    assert b"(95%, 3 seeds)" in shown


def test_a_picture_only_if_asked_for(gradcli, tmp_path):
    words = [*QUICK, "--steps", "8", "--seeds", "3", "--quiet", "--runs-dir", str(tmp_path / "r")]
    assert gradcli("find-lr", *words).code == 0
    assert not (tmp_path / "r").exists()
    answer = gradcli("find-lr", *words, "--plot")
    (picture,) = (tmp_path / "r" / "plots").glob("*/learning_rate.png")
    assert str(picture) in answer.err
    assert picture.read_bytes().startswith(b"\x89PNG")


OWN = """
import torch
from torch import nn
import gradcli

x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
y = x @ torch.tensor([1.0, -2.0, 0.5, 3.0]).unsqueeze(1)


def make(loss):
    return gradcli.Problem(
        model=lambda: nn.Linear(4, 1), train=(x, y), loss=loss, metric="mse"
    )


line = make("mse")
constant = make(lambda outputs, targets: (outputs * 0).sum() + 1)
infinite = make(lambda outputs, targets: (outputs - targets).square().mean() * float("inf"))

"""


@pytest.fixture
def own(tmp_path):
    """A file with problems of a user's own."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return lambda name: f"problem={file}:{name}"


def test_a_problem_whose_metric_is_minimised(own, tmp_path):
    found = gradcli.find_lr(own("line"), "device=cpu", "epochs=20", optimizer="sgd", lr=1e-4)
    # The loss is a parabola with a largest curvature of about 2: larger rates than 1 diverge.
    assert 0.02 < found.learning_rate < 1.5


@pytest.mark.parametrize(
    ("name", "code", "reason", "next_word"),
    [("infinite", 4, "diverged", "find-lr"), ("constant", 3, "flat", "inspect-gradients")],
)
def test_where_nothing_can_be_said(own, gradcli, name, code, reason, next_word):
    words = ("find-lr", own(name), "device=cpu", "--seeds", "3")
    answer = gradcli(*words, "--json")
    assert answer.code == code, answer.err
    printed = json.loads(answer.out)
    assert (printed["status"], printed["reason"]) == ("cannot-say", reason)
    assert math.isnan(float(printed["learning_rate"]))
    assert shlex.split(printed["next"][0])[1] == next_word
    answer = gradcli(*words, "--quiet")
    assert answer.code == code
    assert answer.out.startswith("cannot say")


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["optimizer.lr=0"], "no learning rate above 0", "optimizer.lr="),
        (["--steps", "41"], "40 steps", "--steps 40"),
        (["optimizer=adm"], "adm", "adam"),
    ],
)
def test_mistakes_are_answered(gradcli, words, says, hint):
    answer = gradcli("find-lr", *QUICK, *words)
    assert answer.code == 2
    assert answer.out == ""
    assert says in answer.err
    assert hint in answer.err


def test_an_optimizer_that_estimates_its_step_size_has_no_rate_to_find(gradcli):
    pytest.importorskip("pytorch_optimizer")
    answer = gradcli("find-lr", *QUICK, "optimizer=prodigy")
    assert answer.code == 2
    assert "there is no learning rate to find" in " ".join(answer.err.split())
    assert "gradcli train optimizer=prodigy" in answer.err
