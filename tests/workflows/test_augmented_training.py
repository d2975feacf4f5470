"""Trainings on augmented images: what they see, resumed and compared, and what is refused."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

import gradcli as package
from gradcli.config import annotated_yaml, compose_train, load_config
from gradcli.data import Batches, load_dataset
from gradcli.errors import UserError
from gradcli.records import Recorder, StepRecords
from gradcli.runs import load_checkpoint, load_run
from gradcli.workflows.building import build_trainer

SMALL = (
    *("data=mnist5k", "device=cpu", "threads=1", "batch_size=256", "epochs=2"),
    *("model.hidden=[16]", "model.dropout=0.1", "augment=shift"),
)


class TerminateAt(Recorder):
    """Sends this process SIGTERM after a step."""

    def __init__(self, step):
        self.step = step

    def record(self, record):
        if isinstance(record, StepRecords) and record.step[-1] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def weights(run):
    return load_checkpoint(run.path)["model"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_that_was_stopped_within_an_epoch_resumes_to_the_bit(runs_dir, monkeypatch):
    whole = package.train(*SMALL)
    monkeypatch.setattr("gradcli.training.trainer._SECONDS_BETWEEN_FLUSHES", {"cpu": 0.0})
    begun = package.train(*SMALL, recorders=[TerminateAt(19)])
    assert (begun.status, begun.steps.step[-1]) == ("interrupted", 19)
    resumed = package.train(resume=begun.path)
    assert same(weights(resumed), weights(whole))
    assert np.array_equal(resumed.steps.loss, whole.steps.loss)
    plain = package.train(*SMALL, "augment=none")
    assert not np.array_equal(plain.steps.loss, whole.steps.loss)


def test_two_optimizers_of_a_seed_see_the_same_images():
    dataset = load_dataset("mnist5k")
    seen = []
    for optimizer in ("adam", "sgd"):
        trainer = build_trainer(compose_train([*SMALL, f"optimizer={optimizer}"]), dataset)
        seen.append(trainer.splits["train"].again(0, 2, 3))
    assert all(map(torch.equal, *seen))


def test_the_run_says_how_its_images_were_changed(gradcli, runs_dir):
    answer = gradcli("train", *SMALL, "max_steps=2", "--no-live")
    assert answer.code == 0, answer.err
    run = load_run(next(runs_dir.iterdir()))
    assert run.info.augment == "shift"
    assert "RandomAffine" in run.config
    assert load_config(run.config, where="config.yaml").config.augment.option == "shift"
    shown = gradcli("runs", "show", str(run.path)).out
    assert "augment shift" in shown


def test_without_an_augmentation_a_run_is_what_it_was_before_there_was_one(runs_dir):
    composed = compose_train(["data=mnist5k"])
    assert "augment" not in composed.yaml()
    assert "augment:  # configs/augment/none.yaml" in annotated_yaml(composed)
    assert load_config(composed.yaml(), where="it").config.augment == composed.config.augment
    trainer = build_trainer(composed, load_dataset("mnist5k"))
    assert type(trainer.splits["train"]) is Batches
    run = package.train("data=mnist5k", "device=cpu", "threads=1", "max_steps=1")
    assert "augment" not in json.loads((run.path / "run.json").read_text())


def test_it_can_be_varied_in_a_comparison(gradcli, runs_dir):
    words = ("--optimizers", "adam", "--vary", "augment=none,shift", "--seeds", "2")
    small = ("protocol.tune=false", *SMALL[:-1], "max_steps=3")
    answer = gradcli("compare-optimizers", *words, *small, "--jobs", "1", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert {one["arm"] for one in told["ranking"]} == {"adam augment=none", "adam augment=shift"}
    runs = {one["arm"]: load_run(one["run"]) for one in told["trials"]}
    assert {arm: run.info.augment for arm, run in runs.items()} == {
        "adam augment=none": "",
        "adam augment=shift": "shift",
    }
    for run in runs.values():  # a trial is trained again by itself
        again = load_config(run.config, where="config.yaml")
        assert again.config.augment.option == (run.info.augment or "none")


def test_the_batch_of_a_fault_is_saved_as_it_was_met(runs_dir):
    words = ("optimizer=sgd", "optimizer.lr=1e30", "clip=none", "activation=identity")
    run = package.train(*SMALL, *words)
    assert run.status == "diverged"
    saved = torch.load(run.path / "checkpoints" / "fault.pt", weights_only=True)
    dataset = load_dataset("mnist5k")
    train = build_trainer(compose_train(SMALL), dataset).splits["train"]
    batch = train.again(0, run.fault.epoch, run.fault.step - 1)
    assert tuple(batch.examples.tolist()) == run.fault.batch
    pixels = (batch.inputs.double() * dataset.std + dataset.mean) * 255
    assert torch.allclose(saved["inputs"].double(), pixels, atol=1e-3)
    assert not torch.equal(saved["inputs"], dataset.train.inputs[batch.examples])


def test_a_problem_of_ones_own_may_have_images(runs_dir):
    images, classes = torch.randn(60, 3, 6, 6), torch.arange(60) % 2

    def make():
        return nn.Sequential(nn.Flatten(), nn.Linear(108, 2))

    problem = package.Problem(model=make, train=(images, classes))
    words = ("device=cpu", "threads=1", "epochs=1", "batch_size=10")
    plain, mirrored = (package.train(problem, *words, f"augment={one}") for one in NAMES)
    assert not np.array_equal(plain.steps.loss, mirrored.steps.loss)
    numbers = package.Problem(model=lambda: nn.Linear(2, 2), train=(images[:, 0, 0, :2], classes))
    with pytest.raises(UserError, match=r"these examples have the shape \(2,\)"):
        package.train(numbers, *words, "augment=shift")


NAMES = ("none", "crop_flip")


@pytest.mark.parametrize("command", ["train", "compare-optimizers"])
def test_a_table_is_refused_before_training(command, gradcli, runs_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{at},{'ab'[at % 2]}" for at in range(36)]
    (tmp_path / "mine.csv").write_text("\n".join(("size,town", *rows)))
    words = ("data=table", "data.path=mine.csv", "data.target=town", "augment=shift")
    answer = gradcli(command, *words)
    assert answer.code == 2
    assert "An augmentation changes images" in answer.message
    assert "augment=none" in answer.message


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("augment=shfit", "augment has no option 'shfit'"),
        ("augment.padding=3", "augment=none takes no 'padding'"),
        ("augment.transforms=[{_target_: os.system}]", "is not a transform"),
    ],
)
def test_mistakes_are_answered(gradcli, word, said, runs_dir):
    chosen = "augment=shift" if "transforms" in word else "augment=none"
    words = [word] if word.startswith("augment=") else [chosen, word]
    answer = gradcli("train", "data=mnist5k", *words)
    assert answer.code == 2
    assert said in answer.message
