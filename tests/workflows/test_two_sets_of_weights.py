"""Runs with an optimizer that trains one set of weights and wants another one evaluated."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import gradcli
from gradcli.config import compose_train
from gradcli.data import epoch_order, load_dataset
from gradcli.inspection.probing import measure
from gradcli.probes.probe import silently
from gradcli.runs import load_checkpoint, load_run
from gradcli.workflows.building import build_trainer, built_trainer
from gradcli.workflows.probe_target import probe_target_of
from gradcli.workflows.train import run_trial

OPTIMIZER = Path(__file__).parents[1] / "optim" / "schedule_free.py"
WORDS = ("data=mnist5k", "model.hidden=[16]", "batch_size=500", "epochs=2", "threads=1")
WORDS = (*WORDS, "clip=none", "optimizer=schedule_free", "device=cpu")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Where the optimizer is: what compose_train and the Python calls take."""
    home = tmp_path_factory.mktemp("own")
    shutil.copy(OPTIMIZER, home)
    (home / "configs" / "optimizer").mkdir(parents=True)
    text = "_target_: schedule_free.ScheduleFreeSGD\n"
    (home / "configs" / "optimizer" / "schedule_free.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(home))
        yield {"config_dir": home / "configs", "allow_import": ("schedule_free",)}


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist5k")


@pytest.fixture(scope="module")
def run(own, tmp_path_factory):
    return gradcli.train(*WORDS, runs_dir=tmp_path_factory.mktemp("runs"), **own)


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def scored(model, dataset, split):
    """Evaluate a model independently: accuracy and mean loss, in float64."""
    images = (split.inputs.double() / 255 - dataset.mean) / dataset.std
    with torch.no_grad():
        outputs = model.double().eval()(images)
    right = outputs.argmax(1) == split.targets
    return float(right.double().mean()), float(F.cross_entropy(outputs, split.targets))


def averaged_by_hand(composed, dataset, steps):
    """Train by the equations of the paper in float64, x, y and z apart; return models of x and y.

    z_{t+1} = z_t - lr grad f(y_t),  x_{t+1} = (1 - 1/(t+1)) x_t + z_{t+1} / (t+1),
    y_t = (1 - beta) z_t + beta x_t.
    """
    model = build_trainer(composed, dataset).model.double()
    lr, beta = 0.5, 0.9
    x = [p.detach().clone() for p in model.parameters()]
    y = [p.clone() for p in x]
    z = [p.clone() for p in x]
    images = (dataset.train.inputs.double() / 255 - dataset.mean) / dataset.std
    order = torch.cat([epoch_order(len(images), 0, epoch) for epoch in (1, 2)])
    for step, indices in enumerate(order.split(500)[:steps]):
        put(model, y)
        loss = F.cross_entropy(model(images[indices]), dataset.train.targets[indices])
        for i, gradient in enumerate(torch.autograd.grad(loss, list(model.parameters()))):
            z[i] = z[i] - lr * gradient
            x[i] = (1 - 1 / (step + 1)) * x[i] + z[i] / (step + 1)
            y[i] = (1 - beta) * z[i] + beta * x[i]
    return x, y, model


def put(model, values):
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(value)


def test_recorded_scores_are_those_of_the_averaged_weights(run, own, dataset):
    composed = compose_train(WORDS, **own)
    first, second = (one for one in run.evals if one.split == "val")
    test = next(one for one in run.evals if one.split == "test")
    for record, steps, split in (
        (first, 8, dataset.val),
        (second, 16, dataset.val),
        (test, 16, dataset.test),
    ):
        x, y, model = averaged_by_hand(composed, dataset, steps)
        put(model, x)
        score, loss = scored(model, dataset, split)
        assert record.loss == pytest.approx(loss, rel=1e-5)
        assert record.score == pytest.approx(score, abs=0.0021)  # one example may be on the edge
        put(model, y)
        assert abs(scored(model, dataset, split)[1] / loss - 1) > 1e-3  # y is another point


def test_the_steps_are_made_at_the_training_weights(run, own, dataset):
    composed = compose_train(WORDS, **own)
    _, y, _ = averaged_by_hand(composed, dataset, 16)
    expected = torch.cat([one.reshape(-1) for one in y])
    made = [value.double() for value in load_checkpoint(run.path)["model"].values()]
    made = torch.cat([one.reshape(-1) for one in made])
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at", [3, 8, 11])
def test_a_run_that_pauses_ends_with_the_bits_of_one_that_does_not(at, own, dataset, tmp_path):
    def train(name, until=None):
        config = compose_train([*WORDS, "model.dropout=0.2"], **own).yaml()
        facts = {"started": "2026-01-01T00:00:00+00:00"}
        allowed = own["allow_import"]
        run_trial(
            tmp_path / name, config, lambda _: dataset, facts=facts, allow_import=allowed,
            until=until,
        )  # fmt: skip
        return load_run(tmp_path / name)

    paused = train("paused", until=at)
    kept = load_checkpoint(paused.path)
    with built_trainer(compose_train([*WORDS, "model.dropout=0.2"], **own), dataset) as trainer:
        trainer.model.load_state_dict(kept["evaluated_model"])
        score, _ = scored(trainer.model, dataset, dataset.val)
    assert paused.state["rungs"][str(at)] == pytest.approx(score, abs=0.0021)

    resumed, whole = train("paused"), train("whole")
    assert np.array_equal(resumed.steps.loss, whole.steps.loss)
    assert np.array_equal(resumed.steps.grad_norm_before_clip, whole.steps.grad_norm_before_clip)
    for one, other in zip(resumed.evals, whole.evals, strict=True):
        assert (one.loss, one.score) == (other.loss, other.score)
    ours, theirs = load_checkpoint(resumed.path), load_checkpoint(whole.path)
    for part in ("model", "evaluated_model"):
        for name, value in ours[part].items():
            assert torch.equal(value, theirs[part][name])
    for number, state in ours["optimizer"]["state"].items():
        assert torch.equal(state["z"], theirs["optimizer"]["state"][number]["z"])


def test_evaluating_and_saving_at_every_step_does_not_disturb_the_training(own, dataset):
    def final(look):
        with built_trainer(compose_train(WORDS, **own), dataset) as trainer:
            for _ in trainer.run(flush_at=range(20)):
                if look:
                    trainer.evaluate("val")
                    trainer.state_dict()
            return weights(trainer.model)

    assert torch.equal(final(look=False), final(look=True))


def test_the_best_checkpoint_holds_the_weights_that_scored_and_those_to_continue_from(
    run, own, dataset
):
    best = load_checkpoint(run.path, "best")
    records = [one for one in run.evals if one.split == "val"]
    record = max(records, key=lambda one: one.score)
    assert best["position"]["step"] == record.step
    model = build_trainer(compose_train(WORDS, **own), dataset).model
    model.load_state_dict(best["evaluated_model"])
    assert scored(model, dataset, dataset.val)[1] == pytest.approx(record.loss, rel=1e-5)
    model.load_state_dict(best["model"])
    assert scored(model, dataset, dataset.val)[1] != pytest.approx(record.loss, rel=1e-3)


def test_an_inspection_looks_at_the_weights_to_evaluate(run, own, dataset):
    composed = compose_train(WORDS, **own)
    kept = load_checkpoint(run.path)
    with built_trainer(composed, dataset, kept) as trainer:
        target = probe_target_of(trainer, composed.config, examples=512)
        measures = measure(target, (), silently)
    for layer, norm in zip(measures.layers, measures.weight_norm, strict=True):
        values = [kept["evaluated_model"][f"{layer.name}.{one}"] for one in ("weight", "bias")]
        expected = math.sqrt(sum(float(value.double().square().sum()) for value in values))
        assert norm == pytest.approx(expected, rel=1e-6)
    # The mean loss of the probe set, which is the first examples that the run was trained on.
    model = build_trainer(composed, dataset).model
    model.load_state_dict(kept["evaluated_model"])
    split = dataset.train[epoch_order(4000, 0, 1)[:512]]
    assert measures.loss == pytest.approx(scored(model, dataset, split)[1], rel=1e-5)


def test_steps_of_a_probe_continue_from_the_weights_to_train(own, dataset):
    composed = compose_train(WORDS, **own)
    with built_trainer(composed, dataset) as trainer:
        for _ in trainer.run(until=5):
            pass
        state = trainer.state_dict()
    with built_trainer(composed, dataset, copy.deepcopy(state)) as probed:
        target = probe_target_of(probed, composed.config, examples=512)
        measure(target, (), silently)
        target.step()
    with built_trainer(composed, dataset, copy.deepcopy(state)) as trained:
        for _ in trained.run(until=6):
            pass
    assert torch.equal(weights(probed.model), weights(trained.model))


def test_a_schedule_that_nobody_asked_for_is_constant_and_said_so(own, gradcli, runs_dir):
    places = ["--config-dir", str(own["config_dir"]), "--allow-import", "schedule_free"]
    answer = gradcli("train", *places, *WORDS, "max_steps=2", "--no-live")
    assert answer.code == 0
    assert (
        "ScheduleFreeSGD averages weights, which stands in for a schedule. So schedule=constant; "
        "type schedule=cosine to have both."
    ) in answer.message
    (directory,) = runs_dir.iterdir()
    trained = load_run(directory)
    assert trained.info.schedule == "constant"
    assert trained.steps.learning_rate.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("word", ["schedule=cosine", "schedule.final=0.1"])
def test_a_schedule_that_was_asked_for_is_kept_with_a_remark(own, word):
    composed = compose_train([*WORDS, word], **own)
    assert composed.config.schedule.option == "cosine"
    (remark,) = composed.remarks
    assert "schedule=cosine lowers its learning rate as well" in remark


@pytest.mark.parametrize("words", [("schedule=constant",), ("optimizer=adam",)])
def test_there_is_no_remark_if_nothing_is_changed(own, words):
    composed = compose_train([*WORDS, *words], **own)
    assert composed.remarks == ()
    assert composed.config.schedule.option == ("constant" if "=c" in words[0] else "cosine")


def test_in_a_comparison_the_rule_holds_for_the_arm_that_it_concerns(own, dataset):
    from gradcli.config import compose_comparison

    composed = compose_comparison(["optimizers=[adam,schedule_free]"], **own)
    adam, averaging = composed.arms(dataset.info)
    assert adam.composed.config.schedule.option == "cosine"
    assert averaging.composed.config.schedule.option == "constant"
    assert adam.composed.remarks == ()
    assert len(averaging.composed.remarks) == 1


def test_a_group_with_such_a_class_counts(own):
    matrices = "{where:{dimensions:2},_target_:schedule_free.ScheduleFreeSGD}"
    words = ["data=mnist5k", f"optimizer.groups={{matrices:{matrices},rest:{{}}}}"]
    composed = compose_train(words, **own)
    assert composed.config.schedule.option == "constant"
    assert composed.remarks[0].startswith("ScheduleFreeSGD averages weights")
