"""Validation within the epochs of a trial: often, cheap, and without a trace in the training."""

import copy
import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradcli.config import compose_train
from gradcli.data import Batches, load_dataset
from gradcli.optim.learning_rate import LearningRate
from gradcli.runs import load_checkpoint, load_run
from gradcli.workflows.building import built_trainer
from gradcli.workflows.train import run_trial
from gradcli.workflows.validations import (
    MOST_EXAMPLES,
    MOST_VALIDATIONS,
    SHARE,
    Validations,
    validation_steps,
)

SMALL = ("data=mnist5k", "threads=1", "device=cpu", "batch_size=250", "epochs=2", "monitor.every=5")
FACTS = {"started": "2026-01-01T00:00:00+00:00"}


# When


def counted(**changes):
    return {
        "steps_per_epoch": 32,
        "total_steps": 320,
        "train_examples": 4000,
        "scored_examples": 500,
        "scores_at_epoch_ends": True,
    } | changes


def test_the_bundled_sample_is_validated_once_more_in_each_epoch():
    steps = sorted(validation_steps(**counted()))
    assert steps[:5] == [16, 48, 80, 112, 144]
    assert len(steps) == 10
    assert not any(step % 32 == 0 for step in steps)


def test_a_sample_of_mnist_is_scored_at_the_ends_of_epochs_too():
    many = counted(
        steps_per_epoch=391, total_steps=782, train_examples=50_000, scored_examples=1000,
        scores_at_epoch_ends=False,
    )  # fmt: skip
    steps = sorted(validation_steps(**many))
    assert len(steps) == 12
    assert {391, 782} <= set(steps)
    assert max(np.diff([0, *steps])) <= 66


@pytest.mark.parametrize("seed", range(30))
def test_they_are_spread_evenly_and_cost_no_more_than_their_share(seed):
    rng = np.random.default_rng(seed)
    at_ends = bool(rng.integers(2))
    per_epoch, epochs = int(rng.integers(1, 500)), int(rng.integers(1, 150))
    examples = per_epoch * int(rng.integers(1, 200))
    total = min(int(rng.integers(1, per_epoch * epochs + 1)), per_epoch * epochs)
    scored = int(rng.integers(1, 1000))
    steps = validation_steps(
        steps_per_epoch=per_epoch, total_steps=total, train_examples=examples,
        scored_examples=scored, scores_at_epoch_ends=at_ends,
    )  # fmt: skip
    assert all(1 <= step <= total for step in steps)
    assert len(steps) <= MOST_VALIDATIONS
    # The last step is one more, if the trial ends within an epoch.
    trained = math.ceil(total / per_epoch) * examples
    assert max(len(steps) - 1, 0) * scored <= SHARE * trained
    if at_ends:
        assert not any(step % per_epoch == 0 or step == total for step in steps)


def test_without_validation_examples_there_is_nothing_to_do():
    assert validation_steps(**counted(scored_examples=0)) == frozenset()
    assert validation_steps(**counted(steps_per_epoch=1, total_steps=10)) == frozenset()


# Without a trace


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist5k")


@pytest.fixture(scope="module")
def trial(tmp_path_factory, dataset):
    """Train by overrides, in a directory that was begun or a new one, and return the run."""
    home = tmp_path_factory.mktemp("validated")

    def train(*words, directory=None, load=lambda config: dataset, **arguments):
        directory = directory or home / f"run{len(list(home.iterdir()))}"
        config = compose_train([*SMALL, *words]).yaml()
        run_trial(directory, config, load, facts=FACTS, **arguments)
        return load_run(directory)

    return train


def assert_same(one, other, where=""):
    """Compare two checkpoints bit by bit, their times and the lengths of logs left out."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"seconds", "phase_seconds", "log_bytes"}:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        for place, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{place}]")
    else:
        assert one == other, where


def evaluations(run):
    """All numbers of a run's evaluations but for times; NaN as text, which equals itself."""
    return [(one.step, one.split, one.loss, one.score, str(one.train_loss)) for one in run.evals]


def assert_same_runs(one, other):
    assert_same(load_checkpoint(one.path), load_checkpoint(other.path))
    assert evaluations(one) == evaluations(other)
    for name in ("loss", "grad_norm_before_clip", "clip_coefficient"):
        assert np.array_equal(getattr(one.steps, name), getattr(other.steps, name))
    assert one.layer_records == other.layer_records


MODELS = {
    "batch norm and dropout": ("model.hidden=[12]", "model.norm=batch", "model.dropout=0.3"),
    "an average of the weights": ("model.hidden=[12]", "optimizer=schedule_free_sgd"),
    "another average": ("model.hidden=[12]", "optimizer=schedule_free_adamw", "schedule=constant"),
    "a memory of norms": ("model.hidden=[12]", "clip=autoclip", "optimizer=rmsprop"),
    "convolutions": ("model=cnn", "model.channels=[2,2]", "max_steps=9"),
}


@pytest.mark.parametrize("words", MODELS.values(), ids=MODELS)
def test_the_training_is_the_same_to_the_bit(trial, words):
    if any("schedule_free" in word for word in words):
        pytest.importorskip("schedulefree")
    plain, validated = trial(*words), trial(*words, validates=True)
    assert plain.validations == ()
    expected = {8} if "max_steps=9" in words else {8, 24}
    assert {one.step for one in validated.validations} == expected
    assert_same_runs(plain, validated)


def test_what_they_score_is_what_the_model_scores_then(trial, dataset):
    words = (*SMALL, "model.hidden=[12]", "model.dropout=0.3")
    run = trial(*words, validates=True)
    images = (dataset.val.inputs.double() / 255 - dataset.mean) / dataset.std
    with built_trainer(compose_train(words), dataset) as trainer:
        expected = {}
        for _ in trainer.run(flush_at=[one.step for one in run.validations]):
            twin = copy.deepcopy(trainer.model).double().eval()
            with torch.no_grad():
                right = (twin(images).argmax(1) == dataset.val.targets).double().mean()
            expected.setdefault(trainer.step, float(right))
    for record in run.validations:
        # One example may be on the edge.
        assert record.score == pytest.approx(expected[record.step], abs=0.0021)
        assert record.examples == 500


def test_the_clock_stands_still_and_runs_on_in_order(trial):
    run = trial("model.hidden=[12]", validates=True)
    times = [(one.step, one.seconds_train) for one in (*run.validations, *run.evals)]
    seconds = [time for _, time in sorted(times)]
    assert seconds == sorted(seconds)
    assert all(second > 0 for second in seconds)


class Killed(BaseException):
    pass


def test_a_trial_that_was_cut_off_is_validated_as_one_that_was_not(trial, monkeypatch):
    """It dies within a validation, long after its last checkpoint."""
    words = ("model.hidden=[12]", "model.dropout=0.3", "optimizer=adam")
    whole = trial(*words, validates=True)
    make = Validations.make

    def dies(self, keep):
        if self._trainer.step == 24:
            raise Killed
        make(self, keep)

    directory = whole.path.parent / "cut"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Validations, "make", dies)
        trial(*words, "checkpoint.seconds=0", directory=directory, validates=True)
    assert [one.step for one in load_run(directory).validations] == [8]
    resumed = trial(*words, "checkpoint.seconds=0", directory=directory, validates=True)
    assert [one.step for one in resumed.validations] == [8, 24]
    assert [one.score for one in resumed.validations] == [one.score for one in whole.validations]
    assert_same(load_checkpoint(resumed.path)["model"], load_checkpoint(whole.path)["model"])


@pytest.mark.parametrize("at", [8, 13])
def test_a_trial_that_a_signal_ends_goes_on_without_a_gap(trial, at, monkeypatch):
    words = ("model.hidden=[12]", "model.dropout=0.3")
    whole = trial(*words, validates=True)
    original = LearningRate.set

    def interrupted(self, step):
        if step == at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, step)

    directory = whole.path.parent / f"signalled{at}"
    with monkeypatch.context() as patch:
        patch.setattr(LearningRate, "set", interrupted)
        cut = trial(*words, directory=directory, validates=True)
    assert cut.status == "interrupted"
    resumed = trial(*words, directory=directory, validates=True)
    assert [(one.step, one.score) for one in resumed.validations] == [
        (one.step, one.score) for one in whole.validations
    ]
    assert_same_runs(resumed, whole)


def test_of_a_large_split_the_same_sample_is_always_scored(dataset):
    many = replace(
        dataset,
        train=type(dataset.train)(
            torch.cat([dataset.train.inputs] * 2), torch.cat([dataset.train.targets] * 2)
        ),
        val=type(dataset.val)(dataset.train.inputs[:3000], dataset.train.targets[:3000]),
    )
    with built_trainer(compose_train([*SMALL, "model.hidden=[4]"]), many) as trainer:
        found = Validations(trainer, True, ())
        made = []
        for _ in trainer.run(flush_at=found.steps):
            found.make(made.append)
        assert [(one.step, one.examples) for one in made] == [(32, 1000), (64, 1000)]
        assert made[0].examples == MOST_EXAMPLES
        val = trainer.splits["val"]
        assert isinstance(val, Batches)
        targets = torch.cat([targets.clone() for _, targets in val.sample(1000).in_order()])
        assert torch.equal(
            targets, torch.cat([targets.clone() for _, targets in val.sample(1000).in_order()])
        )
        # The classes of the split are in order, and all are there, about as often as in it.
        counts = torch.bincount(targets).double() / 1000
        shares = torch.bincount(many.val.targets).double() / 3000
        assert float((counts - shares[: len(counts)]).abs().max()) < 0.05


def test_a_line_of_the_log_has_a_kind_that_older_readers_pass_over(trial):
    run = trial("model.hidden=[12]", validates=True)
    lines = (run.path / "probes.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("validation") == len(run.validations) == 2
    assert [one.step for one in run.evals if one.split == "val"] == [16, 32]
