"""Streamed problems: what is trained on, what is measured, and what is said of them."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradcli as package
from gradcli.errors import UserError
from gradcli.runs import list_runs, load_checkpoint, load_run
from gradcli.views.train.train_view import QuietView

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(41, 3, generator=GENERATOR)
TARGETS = INPUTS @ torch.tensor([[1.0], [-2.0], [0.5]])
SMALL = ("epochs=2", "device=cpu", "threads=1", "schedule=constant", "clip=none")


def loader(batch_size, inputs=INPUTS, targets=TARGETS, **settings):
    return DataLoader(TensorDataset(inputs, targets), batch_size, **{"shuffle": True} | settings)


def make_model():
    return nn.Linear(3, 1)


def streamed(**changes):
    given = {"train": loader, "val": (INPUTS, TARGETS), "test": (INPUTS, TARGETS)}
    return package.Problem(**{"model": make_model, "loss": "mse"} | given | changes)


def by_hand(model, seed, epochs, batch_size):
    """Train by a plain loop over a plain loader; return losses and gradient norms."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    found = []
    for epoch in range(1, epochs + 1):
        word = int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])
        torch.manual_seed(word)
        for inputs, targets in loader(batch_size):
            loss = (model(inputs) - targets).square().mean()
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            norm = torch.cat([one.flatten().double() for one in gradients]).norm()
            found.append((loss.item(), norm.item()))
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    return np.array(found)


def test_losses_and_norms_are_those_of_a_plain_loop_over_the_loader(runs_dir):
    words = (*SMALL, "batch_size=8", "optimizer=sgd", "optimizer.lr=0.01", "seed=3")
    beginnings = []

    def remembered():
        model = make_model()
        beginnings.append({name: one.clone() for name, one in model.state_dict().items()})
        return model

    run = package.train(streamed(model=remembered), *words, runs_dir=runs_dir)
    model = make_model()
    model.load_state_dict(beginnings[-1])
    with torch.random.fork_rng():
        expected = by_hand(model, seed=3, epochs=2, batch_size=8)
    assert run.steps.epoch.tolist() == [1] * 6 + [2] * 6
    np.testing.assert_allclose(run.steps.loss, expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(run.steps.grad_norm_before_clip, expected[:, 1], rtol=1e-5)
    assert (run.info.batch_size, run.info.data.train) == (8, 41)
    # The mean over the examples: the last batch has one.
    sizes = np.array([8, 8, 8, 8, 8, 1])
    first = next(one for one in run.evals if one.split == "val")
    assert first.train_loss == pytest.approx((expected[:6, 0] * sizes).sum() / 41, rel=1e-5)


def test_an_evaluation_of_a_stream_is_that_of_the_same_tensors(runs_dir):
    in_order = partial(loader, shuffle=False)
    words = (*SMALL, "batch_size=8")
    one = package.train(streamed(), *words, runs_dir=runs_dir)
    other = package.train(streamed(val=in_order, test=in_order), *words, runs_dir=runs_dir)
    assert [(e.split, e.step) for e in one.evals] == [(e.split, e.step) for e in other.evals]
    for ours, theirs in zip(one.evals, other.evals, strict=True):
        assert (ours.loss, ours.score) == pytest.approx((theirs.loss, theirs.score), rel=1e-6)
    each = [run.evals[-1].scores_of_examples(41) for run in (one, other)]
    np.testing.assert_allclose(*each, rtol=1e-6)


def test_scores_of_fewer_examples_than_announced_are_not_taken_for_those_of_others(runs_dir):
    def uneven():
        yield from [(INPUTS[:8], TARGETS[:8]), (INPUTS[8:14], TARGETS[8:14])]

    problem = streamed(test=uneven, steps_per_epoch={"test": 2})
    run = package.train(problem, *SMALL, "batch_size=8", runs_dir=runs_dir)
    assert run.info.data.test == 16
    assert run.evals[-1].scores_of_examples(16) is None
    with torch.no_grad():
        model = make_model()
        model.load_state_dict(load_checkpoint(run.path)["model"])
        expected = (model(INPUTS[:14]) - TARGETS[:14]).square().mean().item()
    assert run.evals[-1].score == pytest.approx(expected, rel=1e-5)


def test_the_examples_of_a_run_are_counted_in_batches_of_its_size(runs_dir):
    class Drawn:
        def __init__(self, batch_size):
            self.size = batch_size

        def __len__(self):
            return 3

        def __iter__(self):
            return ((torch.rand(self.size, 3), torch.rand(self.size, 1)) for _ in range(3))

    run = package.train(streamed(train=Drawn), *SMALL, "batch_size=20", runs_dir=runs_dir)
    assert (run.info.data.train, run.info.total_steps) == (60, 6)


def test_a_loader_with_a_batch_size_of_its_own_decides(runs_dir):
    run = package.train(streamed(train=lambda: loader(10)), *SMALL, runs_dir=runs_dir)
    assert (run.info.batch_size, run.info.total_steps) == (10, 10)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file with a streamed problem; its text can be changed."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch, gradcli\n"
        "from torch import nn\n"
        "def stream():\n"
        "    for number in range(6):\n"
        "        x = torch.rand(4, 3)\n"
        "        yield x, x.sum(1, keepdim=True)\n"
        "problem = gradcli.Problem(\n"
        "    model=lambda: nn.Linear(3, 1), loss='mse',\n"
        "    train=stream, val=stream, test=stream,\n"
        "    steps_per_epoch={'train': 6, 'val': 6, 'test': 6},\n"
        ")\n"
    )
    monkeypatch.chdir(tmp_path)
    return path


def test_a_generator_function_is_a_stream_in_every_command(mine, gradcli, runs_dir):
    answer = gradcli("train", "problem=mine.py:problem", *SMALL, "--json")
    assert answer.code == 0, answer.err
    assert "makes batches of 4; batch_size=128 does not apply" in answer.message
    told = json.loads(answer.out)
    assert (told["steps"], told["data"]["train"]) == (12, 24)
    for words in (("problem=mine.py:problem", "--probe", "noise,descent"), ("latest",)):
        inspected = gradcli("inspect-gradients", *words)
        assert inspected.code == 0, inspected.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("range(6)", "range(5)", "The training stream ended after 5 of 6 batches"),
        ("yield x, x", "yield x[:, : 3 - number % 2], x", "inputs of batch 1 of the training"),
        ("        yield", "        1 / (4 - number)\n        yield", "Batch 4 of the training"),
        ("    for", "    return\n    for", "The training stream is empty"),
        (
            "val=stream, test=stream,\n    steps_per_epoch={'train': 6, 'val': 6, 'test': 6}",
            "steps_per_epoch=6",
            "no sixth can be held out",
        ),
        ("'train': 6,", "", "does not say how many batches it has"),
        ("nn.Linear(3, 1)", "nn.Linear(2, 1)", "cannot take inputs of shape (2, 3)"),
    ],
)
def test_what_fails_is_told_in_one_panel(mine, gradcli, runs_dir, old, new, said):
    assert old in mine.read_text()
    mine.write_text(mine.read_text().replace(old, new))
    answer = gradcli("train", "problem=mine.py:problem", *SMALL)
    assert answer.code == 2, answer.err
    assert said in answer.message
    assert "Traceback" not in answer.err


def test_a_batch_of_one_example_is_refused_before_training(runs_dir):
    def make():
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    with pytest.raises(UserError, match="and the training stream has one"):
        package.train(streamed(model=make), *SMALL, "batch_size=8", runs_dir=runs_dir)
    kept = partial(loader, drop_last=True)
    run = package.train(streamed(model=make, train=kept), *SMALL, "batch_size=8", runs_dir=runs_dir)
    assert (run.status, run.info.total_steps) == ("finished", 10)
    with pytest.raises(UserError, match="whose loader decides on its last batch"):
        package.train(streamed(), *SMALL, "data.drop_last=true", runs_dir=runs_dir)


def test_the_batch_of_a_fault_is_saved_though_its_examples_have_no_numbers(runs_dir):
    inputs = INPUTS.clone()
    inputs[17] = torch.inf
    broken = partial(loader, inputs=inputs, shuffle=False)
    package.train(streamed(train=broken), *SMALL, "batch_size=8", runs_dir=runs_dir)
    (run,) = list_runs(runs_dir)
    fault = load_run(run.path).fault
    assert (fault.step, fault.batch) == (3, ())
    saved = torch.load(run.path / "checkpoints" / "fault.pt", weights_only=True)
    assert torch.equal(saved["inputs"], inputs[16:24])
    assert torch.equal(saved["labels"], TARGETS[16:24])


def test_two_optimizers_of_a_seed_see_the_same_batches(runs_dir):
    seen = {}

    class Net(nn.Linear):
        def forward(self, inputs):
            if self.training:
                seen.setdefault(name, []).append(inputs.clone())
            return super().forward(inputs)

    for name in ("adam", "sgd"):
        package.train(
            streamed(model=lambda: Net(3, 1)), *SMALL, f"optimizer={name}", "batch_size=8",
            "monitor.every=0", runs_dir=runs_dir,
        )  # fmt: skip
    assert len(seen["adam"]) >= 12
    assert all(torch.equal(a, b) for a, b in zip(seen["adam"], seen["sgd"], strict=True))


def test_accumulated_batches_of_a_stream_are_those_of_one_large_batch(runs_dir):
    words = (*SMALL, "optimizer=sgd", "seed=3")
    whole = package.train(streamed(), *words, "batch_size=8", runs_dir=runs_dir)
    parts = package.train(streamed(), *words, "batch_size=4", "accumulate=2", runs_dir=runs_dir)
    for name in ("loss", "grad_norm_before_clip"):
        np.testing.assert_allclose(parts.columns()[name], whole.columns()[name], rtol=1e-5)
    assert parts.info.accumulate == 2


def test_accumulation_needs_a_batch_size_that_can_be_asked_for(runs_dir):
    with pytest.raises(UserError, match="has batches of its own") as caught:
        package.train(streamed(train=lambda: loader(8)), *SMALL, "accumulate=2", runs_dir=runs_dir)
    assert caught.value.where == "accumulate"


def drawn():
    """Examples that are drawn when they are asked for."""
    for _ in range(4):
        inputs = torch.randn(8, 3)
        yield inputs, inputs.sum(1, keepdim=True)


def test_validation_and_test_examples_that_are_drawn_are_others(runs_dir):
    problem = streamed(
        train=drawn, val=drawn, test=drawn, steps_per_epoch={"train": 4, "val": 4, "test": 4}
    )
    run = package.train(problem, *SMALL, "epochs=1", runs_dir=runs_dir)
    val, test = (next(one for one in run.evals if one.split == name) for name in ("val", "test"))
    assert val.step == test.step
    assert val.loss != test.loss


def test_a_stream_is_not_said_to_ignore_the_batch_size_if_several_batches_make_an_update(
    runs_dir, monkeypatch
):
    notes = []
    monkeypatch.setattr(QuietView, "note", lambda self, text: notes.append(text))
    package.train(streamed(), *SMALL, "batch_size=4", "accumulate=2", runs_dir=runs_dir)
    assert not any("does not apply" in note for note in notes)
    package.train(streamed(train=lambda: loader(8)), *SMALL, "batch_size=4", runs_dir=runs_dir)
    assert any("does not apply" in note for note in notes)
