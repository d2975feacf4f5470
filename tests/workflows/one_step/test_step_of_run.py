"""`inspect-gradients RUN --step N`: the examples that made a step's gradient, and what is said."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli as package
from gradcli.config import load_config
from gradcli.data import load_dataset
from gradcli.data.problem_source import given
from gradcli.errors import UserError
from gradcli.workflows.building import build_network

SMALL = ("device=cpu", "threads=1", "data=mnist5k", "model.hidden=[8]", "data.val=4100")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The runs directory of this module."""
    return tmp_path_factory.mktemp("steps") / "runs"


@pytest.fixture(scope="module")
def run(home):
    """A run of 30 steps that learns."""
    return package.train(*SMALL, "batch_size=32", "max_steps=30", runs_dir=home)


@pytest.fixture(scope="module")
def planted(home):
    """A first epoch, in whose last batch three examples are bad: the run, that step, their rows.

    What the model gets right has no gradient, however huge it is: it is one that it gets wrong.
    """
    whole = load_dataset("mnist5k", val=0)
    x = whole.train.inputs.numpy().astype(np.float32) / 255
    y = whole.train.targets.numpy().copy()
    path = home.parent / "planted.npz"
    few = {"x_test": x[:50], "y_test": y[:50], "x_val": x[50:100], "y_val": y[50:100]}
    words = ("data=npz", f"data.path={path}", "device=cpu", "threads=1", "batch_size=100")
    words += ("model.hidden=[64]", "optimizer.lr=0.003", "epochs=1", "schedule=constant")
    step = len(y) // 100
    np.savez(path, x_train=x, y_train=y, **few)
    sound = package.inspect_step(package.train(*words, runs_dir=home).path, step)
    huge = sound.examples[0].row
    saturated, mislabelled = (one.row for one in sound.examples[-2:])
    x[huge] *= 50
    x[saturated] = 1
    y[mislabelled] = (y[mislabelled] + 4) % 10
    rows = {"huge": huge, "saturated": saturated, "mislabelled": mislabelled}
    np.savez(path, x_train=x, y_train=y, **few)
    return package.train(*words, runs_dir=home), step, rows


def test_three_planted_examples_are_among_the_first_five(planted):
    run, step, rows = planted
    found = package.inspect_step(run.path, step)
    assert found.replay.is_exact
    first = {one.row: one.suspicion.kind for one in found.examples[:5]}
    assert {kind: first.get(row) for kind, row in rows.items()} == {kind: kind for kind in rows}


def test_the_verdict_on_planted_examples_is_true_of_its_numbers(planted, gradcli_command):
    run, step, rows = planted
    found = package.inspect_step(run.path, step)
    norms = [one.grad_norm for one in found.examples]
    assert norms == sorted(norms, reverse=True)
    assert sum(one.share for one in found.examples) == pytest.approx(1, abs=1e-5)
    leading = found.leading
    assert leading.share == pytest.approx(sum(one.share for one in found.examples[: leading.count]))
    screen = gradcli_command(str(run.path), step)
    of_all = f"{leading.count} of 100 example"
    assert of_all in screen
    assert "huge input" in screen
    assert str(rows["huge"]) in screen.replace(",", "")


def test_numbers_are_those_of_plain_autograd_for_each_example(run):
    """Of the model and the batch of the first step, in float64."""
    found = package.inspect_step(run.path, 1)
    composed = load_config(run.config, where="config.yaml")
    dataset = load_dataset("mnist5k", val=4100)
    model = build_network(composed, dataset).double()
    pixels = dataset.train.inputs.double() / 255
    inputs = (pixels - dataset.mean) / dataset.std
    gradients = {}
    for one in found.examples:
        here = slice(one.index, one.index + 1)
        logits, target = model(inputs[here]), dataset.train.targets[here]
        loss = F.cross_entropy(logits, target)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        gradients[one.index] = torch.cat([part.flatten() for part in parts])
        assert one.loss == pytest.approx(loss.item(), rel=1e-5)
        assert one.grad_norm == pytest.approx(float(gradients[one.index].norm()), rel=1e-4)
        assert one.label == str(int(target))
        assert one.prediction == str(int(logits.argmax()))
        assert one.probability == pytest.approx(float(logits.detach().softmax(1).max()), rel=1e-4)
    mean = torch.stack(list(gradients.values())).mean(0)
    assert found.grad_norm == pytest.approx(float(mean.norm()), rel=1e-4)
    assert found.grad_norm == pytest.approx(run.steps.grad_norm_before_clip[0], rel=1e-5)
    for one in found.examples:
        share = float(gradients[one.index] @ mean) / float(mean @ mean) / len(found.examples)
        assert one.share == pytest.approx(share, abs=1e-5)


def test_neighbours_are_those_of_the_log(run):
    found = package.inspect_step(run.path, 25).neighbours
    assert found.steps == 24
    assert found.median_norm == pytest.approx(np.median(run.steps.grad_norm_before_clip[:24]))
    assert found.median_loss == pytest.approx(np.median(run.steps.loss[:24]))
    assert found.loss == run.steps.loss[24]
    assert found.standing in ("usual", "high")
    assert package.inspect_step(run.path, 5).neighbours.standing == "unknown"


def test_the_step_of_a_fault_shows_the_examples_that_are_not_finite_first(home):
    """A file cannot hold NaN, and the numbers of a problem can."""
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    x[17, 2] = math.inf
    y = torch.randint(0, 2, (60,), generator=torch.Generator().manual_seed(1))
    problem = package.Problem(
        model=lambda: nn.Linear(4, 2), loss="cross_entropy", train=(x, y), val=(x, y), test=(x, y)
    )
    run = package.train(problem, "device=cpu", "threads=1", "batch_size=60", runs_dir=home)
    assert run.status == "diverged"
    with given(problem):
        found = package.inspect_step(run.path, 1)
    bad, *others = found.examples
    assert (bad.index, bad.suspicion.kind, bad.is_finite) == (17, "not-finite", False)
    assert all(one.is_finite for one in others)
    assert found.leading.count == 1
    assert math.isfinite(found.leading.norm_without)


@pytest.fixture
def gradcli_command(gradcli, capsys):
    """Run `gradcli inspect-gradients RUN --step N`, and return what it prints on one line."""

    def command(run, step, *words):
        answer = gradcli("inspect-gradients", run, "--step", str(step), *words)
        assert answer.code == 0, answer.err
        return " ".join(answer.out.split())

    return command


def test_the_json_is_what_its_schema_says(run, gradcli):
    answer = gradcli("inspect-gradients", str(run.path), "--step", "20", "--json")
    printed = json.loads(answer.out)
    schema = json.loads((files("gradcli") / "schemas" / "inspect-gradients-step.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(printed)
    assert (printed["kind"], printed["step"]) == ("step", 20)
    assert len(printed["examples"]) == 32


def test_a_picture_of_images_and_one_of_rows(run, home, gradcli, tmp_path):
    answer = gradcli("inspect-gradients", str(run.path), "--step", "3", "--plot")
    picture = run.path / "plots" / "step-3.png"
    assert str(picture) in answer.err
    assert picture.stat().st_size > 10_000
    table = tmp_path / "some.csv"
    rows = np.random.default_rng(0).normal(size=(60, 4))
    table.write_text("a,b,c,d\n" + "\n".join(",".join(map(str, row)) for row in rows))
    words = ("data=table", f"data.path={table}", "data.target=d", "model.hidden=[4]")
    other = package.train(*words, "device=cpu", "threads=1", "max_steps=3", runs_dir=home)
    answer = gradcli("inspect-gradients", str(other.path), "--step", "2", "--plot")
    assert (other.path / "plots" / "step-2.png").stat().st_size > 10_000
    assert "furthest from the batch" in answer.out


def test_texts_are_shown_as_texts(home):
    words = ("data=austen", "model=charlm", "model.layers=1", "model.width=16", "model.heads=2")
    short = ("data.length=16", "device=cpu", "threads=1", "max_steps=2", "batch_size=8")
    run = package.train(*words, *short, runs_dir=home)
    found = package.inspect_step(run.path, 2)
    text = (Path(package.__file__).parent / "data" / "austen").glob("*.txt")
    whole = next(text).read_bytes().decode("latin-1")
    for one in found.examples:
        assert whole[one.index * 4 :].startswith(one.content)
        assert len(one.content) == 16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("latest", "--step", "99"), "has no step 99"),
        (("latest", "--step", "0"), "has no step 0"),
        (("latest", "--step", "-2"), "has no step -2"),
        (("--step", "3"), "name a run"),
        (("latest", "--step", "3", "optimizer.lr=1"), "does not go with --step"),
        (("latest", "--step", "3", "--try"), "does not go with --step"),
        (("nothing", "--step", "3"), "nothing"),
    ],
)
def test_what_cannot_be_is_refused_in_words(words, said, gradcli, runs_dir):
    package.train(*SMALL, "max_steps=4", runs_dir=runs_dir)
    answer = gradcli("inspect-gradients", *words)
    assert answer.code == 2
    assert said in answer.message
    assert not answer.out


def test_a_run_of_a_loop_of_ones_own_cannot_be_made_again(tmp_path):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with package.GradientMonitor(model, optimizer, runs_dir=tmp_path) as monitor:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 3)).square().mean()
            loss.backward()
            monitor.step(loss)
            optimizer.step()
    with pytest.raises(UserError, match="loop of your own"):
        package.inspect_step("latest", 2, runs_dir=tmp_path)
