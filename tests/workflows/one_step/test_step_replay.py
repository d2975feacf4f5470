"""A step made again: its batch and its weights are those of the training, to the bit."""

from __future__ import annotations

import os
import signal
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradcli
from gradcli.data.load import SHIPPED
from gradcli.errors import UserError
from gradcli.runs import load_checkpoint
from gradcli.system.paths import Paths
from gradcli.training.step import TrainingStep
from gradcli.views.inspect.replay_progress import ReplayProgress
from gradcli.views.train.train_view import QuietView
from gradcli.workflows.one_step.step_replay import replayed

SMALL = ("device=cpu", "threads=1", "batch_size=16", "epochs=2", "seed=5")
FIVE = ("data=mnist5k", "model.hidden=[8]", "max_steps=5")
PROBLEMS = Path(__file__).parents[2] / "fixtures" / "problems"
MNIST = Path(__file__).parents[4] / "shared" / "data"
GENERATED = np.random.default_rng(3)


@pytest.fixture
def seen(monkeypatch):
    """What every training step is given, and the weights before it, in the order of the steps."""
    steps = []
    honest = TrainingStep.__call__

    def watched(self, inputs, targets, probe):
        weights = [one.detach().clone() for one in self.gradients_of_model]
        steps.append((inputs.detach().clone(), targets.clone(), weights))
        return honest(self, inputs, targets, probe)

    built = TrainingStep.__init__

    def begun(self, model, *given):
        built(self, model, *given)
        self.gradients_of_model = list(model.parameters())

    monkeypatch.setattr(TrainingStep, "__init__", begun)
    monkeypatch.setattr(TrainingStep, "__call__", watched)
    return steps


def idx_bytes(values):
    return struct.pack(f">I{values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def arrays_of_bytes(folder, ending):
    """Write 90 training and 20 test images of 6 x 6 pixels, with 3 classes, as IDX files."""
    folder.mkdir()
    for part, count in (("train", 90), ("t10k" if ending == "idx3" else "test", 20)):
        images = GENERATED.integers(0, 256, (count, 6, 6), dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        (folder / f"{part}-images-{ending}-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


def words_of(data, folder):
    """The overrides that train on a shipped data set, with small files where it reads some."""
    mlp = ("model.hidden=[8]",)
    match data:
        case "arrays" | "idx":
            return (f"data.folder={arrays_of_bytes(folder / data, 'idx3')}", *mlp)
        case "npz":
            path = folder / "some.npz"
            x, y = GENERATED.normal(size=(90, 7)).astype(np.float32), np.arange(90) % 3
            np.savez(path, x_train=x, y_train=y)
            return (f"data.path={path}", *mlp)
        case "images":
            pytest.importorskip("PIL")
            return (f"data.folder={PROBLEMS / 'pictures'}", *mlp)
        case "table":
            return (f"data.path={PROBLEMS / 'houses.csv'}", "data.target=price", *mlp)
        case "text":
            path = PROBLEMS / "verse.txt"
            chars = ("model=charlm", "model.layers=1", "model.width=16", "model.heads=2")
            return (f"data.path={path}", "data.length=8", "data.level=character", *chars)
        case "austen":
            chars = ("model=charlm", "model.layers=1", "model.width=16", "model.heads=2")
            return ("data.length=8", "data.stride=1600", *chars)
        case "problem":
            return (f"data.file={PROBLEMS / 'table.py'}", "data.variable=problem")
        case "mnist1d":
            return ("data.train=200", "data.test=20", *mlp)
        case "digits" | "breast_cancer":
            pytest.importorskip("sklearn")
            return mlp
        case "mnist" | "fashion_mnist":
            return (*mlp, "max_steps=20")
    return (*mlp, "max_steps=280")


def data_dir_of(data):
    if data not in ("mnist", "fashion_mnist"):
        return None
    if not (MNIST / data).is_dir():
        pytest.skip(f"{data} is not on this machine")
    return MNIST


def again(run, step):
    """The batch of a step and the weights before it, made again."""
    paths = Paths(allow_import=(str(PROBLEMS / "table.py"), str(PROBLEMS / "streamed.py")))
    if (recorded := run.paths.data_dir) is not None:
        paths = Paths(data_dir=recorded)
    with replayed(run, step, paths, QuietView(), ReplayProgress()) as made:
        weights = [one.detach().clone() for one in made.trainer.model.parameters()]
        return made.batch, weights, made


def check(run, step, training):
    """A step made again is that of the training, to the bit, and the log says so."""
    batch, weights, made = again(run, step)
    inputs, targets, before = training[step - 1]
    assert torch.equal(batch.inputs, inputs)
    assert batch.inputs.dtype == inputs.dtype
    assert torch.equal(batch.targets, targets)
    assert all(map(torch.equal, weights, before))
    assert made.replay.is_exact
    assert made.replay.compared == made.replay.steps
    return made


@pytest.mark.parametrize("data", sorted(SHIPPED))
def test_the_batch_is_that_of_the_training_for_every_shipped_data_set(data, seen, tmp_path):
    words = (f"data={data}", *words_of(data, tmp_path))
    run = gradcli.train(
        *SMALL,
        *words,
        runs_dir=tmp_path / "runs",
        data_dir=data_dir_of(data),
        allow_import=[str(PROBLEMS / "table.py")],
    )
    training, count = list(seen), len(run.steps)
    assert len(training) == count
    of_first_epoch = int((run.steps.epoch == 1).sum())
    late = of_first_epoch + 2 if count > of_first_epoch + 1 else count
    for step in sorted({1, min(3, of_first_epoch), late, count}):
        made = check(run, step, training)
        assert made.epoch == run.steps.epoch[step - 1]


def test_augmented_images_and_dropout_are_drawn_again(seen, tmp_path):
    words = ("data=mnist5k", "augment=shift", "model=cnn", "model.dropout=0.3", "max_steps=6")
    run = gradcli.train(*SMALL, *words, runs_dir=tmp_path)
    training = list(seen)
    for step in (1, 5, 6):
        check(run, step, training)


def test_a_step_of_a_resumed_run_is_made_from_its_checkpoint(seen, tmp_path):
    """The checkpoint of an interruption within an epoch, and that of the epoch before it."""

    class Interrupting(gradcli.Recorder):
        def record(self, record):
            if getattr(record, "step", None) is not None and np.max(record.step) >= 30:
                os.kill(os.getpid(), signal.SIGTERM)

    words = ("data=mnist5k", "data.val=4100", "model.hidden=[8]", "epochs=3")
    run = gradcli.train(*SMALL, *words, runs_dir=tmp_path, recorders=[Interrupting()])
    assert run.status == "interrupted"
    steps = len(run.steps)
    saved = [load_checkpoint(run.path, name) for name in ("last", "previous", "best")]
    latest = max(
        (one["position"]["step"] for one in saved if one["position"]["step"] < steps), default=0
    )
    assert check(run, steps, list(seen)).replay.started_from == latest
    del seen[steps:]  # those made again
    run = gradcli.train(resume=run.path, runs_dir=tmp_path)
    assert run.status == "finished"
    training = list(seen)
    assert len(training) == len(run.steps) == 75
    for step in (2, steps - 1, steps + 1, 75):
        check(run, step, training)


def test_the_steps_before_an_extension_had_another_schedule_and_that_is_said(tmp_path):
    words = ("data=mnist5k", "data.val=4100", "model.hidden=[8]")
    begun = gradcli.train(*SMALL, *words, "epochs=1", runs_dir=tmp_path)
    steps = len(begun.steps)
    run = gradcli.train("epochs=2", resume=begun.path, runs_dir=tmp_path)
    replay = gradcli.inspect_step(run.path, steps // 2).replay
    assert not replay.is_exact
    assert replay.differs_in == "learning rate"
    assert f"extended after step {steps}" in replay.possible_cause


def test_an_extension_changes_nothing_if_the_schedule_is_constant(tmp_path):
    words = ("data=mnist5k", "data.val=4100", "model.hidden=[8]", "schedule=constant")
    begun = gradcli.train(*SMALL, *words, "epochs=1", runs_dir=tmp_path)
    steps = len(begun.steps)
    run = gradcli.train("epochs=2", resume=begun.path, runs_dir=tmp_path)
    for step in (3, steps, steps + 2):
        assert gradcli.inspect_step(run.path, step).replay.is_exact


def stream(batch_size, inputs, targets):
    return DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=True)


def linear():
    return nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 1))


def test_the_batch_of_a_stream_is_read_again(seen, tmp_path):
    inputs = torch.randn(41, 3, generator=torch.Generator().manual_seed(0))
    pair = (inputs, inputs.sum(1, keepdim=True))
    problem = gradcli.Problem(
        model=linear,
        loss="mse",
        train=partial(stream, inputs=pair[0], targets=pair[1]),
        val=pair,
        test=pair,
    )
    from gradcli.data.problem_source import given

    run = gradcli.train(problem, *SMALL[:2], "batch_size=8", "epochs=2", runs_dir=tmp_path)
    training = list(seen)
    with given(problem):
        for step in (1, 6, 9):
            made = check(run, step, training)
            assert made.batch.examples.numel() == 0


@pytest.mark.parametrize("words", [("accumulate=3",), ("precision=bfloat16",), ("clip=agc",)])
def test_other_passes_and_clippings(words, seen, tmp_path):
    small = ("data=mnist5k", "data.val=4100", "model.hidden=[8]", "max_steps=12")
    run = gradcli.train(*SMALL, *small, *words, runs_dir=tmp_path)
    check(run, 10, list(seen))


def test_the_run_is_left_as_it_is(tmp_path):
    run = gradcli.train(*SMALL, *FIVE, runs_dir=tmp_path)
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    gradcli.inspect_step(run.path, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == files


def test_a_log_that_says_otherwise_is_noticed(tmp_path, monkeypatch):
    """A change of the code that nobody recorded: another initialisation."""
    run = gradcli.train(*SMALL, *FIVE, runs_dir=tmp_path)
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("seed: 5", "seed: 6"))
    found = gradcli.inspect_step(run.path, 4).replay
    assert not found.is_exact
    assert (found.first_difference, found.differs_in) == (1, "loss")
    assert found.largest_difference > 0


@pytest.mark.parametrize("step", [0, -3, 6])
def test_a_step_that_the_run_has_not_made_is_refused(step, tmp_path):
    run = gradcli.train(*SMALL, *FIVE, runs_dir=tmp_path)
    with pytest.raises(UserError, match="has no step") as caught:
        gradcli.inspect_step(run.path, step)
    assert caught.value.hint.endswith("--step 5" if step == 6 else "--step 1")
