"""What only the model shows, and no later step: weights, buffers and scores that overflow."""

from __future__ import annotations

import math

import pytest
import torch

from gradcli.config import compose_train
from gradcli.data import Dataset, epoch_order, load_dataset
from gradcli.notation.faults import fault_sentences
from gradcli.records import EvalRecord, FaultRecord, StepRecords
from gradcli.training import Trainer
from gradcli.workflows.building import build_trainer


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    whole = load_dataset("mnist5k")
    return Dataset(
        whole.info, whole.train[:512], whole.val[:200], whole.test[:200], whole.mean, whole.std
    )


def prepared(dataset, *overrides):
    words = ["data=mnist5k", "model.hidden=[16]", "schedule=constant", *overrides]
    return build_trainer(compose_train(words), dataset)


def spoilt_after(trainer, step, spoil):
    """Run the trainer, call `spoil` when `step` has been made, and return the records."""
    records = []
    for record in trainer.run(flush_at=(step,)):
        records.append(record)
        if isinstance(record, StepRecords) and trainer.step == step:
            with torch.no_grad():
                spoil()
    return records


@pytest.mark.parametrize("overrides", [["max_steps=1"], ["epochs=1", "batch_size=512"]])
@pytest.mark.parametrize("with_validation", [True, False])
def test_weights_that_the_last_update_spoilt_are_never_evaluated(
    dataset, overrides, with_validation
):
    data = dataset if with_validation else without_validation(dataset)
    trainer = prepared(data, "optimizer=sgd", "optimizer.lr=1e39", *overrides)
    *records, fault = trainer.run()
    assert isinstance(fault, FaultRecord)
    assert not any(isinstance(record, EvalRecord) for record in records)
    assert not trainer.finished
    assert (fault.step, fault.epoch, fault.phase) == (1, 1, "update")
    assert (fault.layer, fault.tensor) == ("hidden1", "hidden1.weight")
    size = 512 if "batch_size=512" in overrides else 128
    assert list(fault.batch) == epoch_order(512, 0, 1)[:size].tolist()
    assert "At step 1," in fault_sentences(fault)
    assert "`hidden1.weight` after the update" in fault_sentences(fault)
    assert "learning rate of 1e+39" in fault.cause


def test_they_are_looked_for_at_each_evaluation_and_when_training_stops(dataset):
    """Here the weights break between steps, after which the next step would show it."""
    for plan, step in [(["epochs=2"], 4), (["max_steps=3"], 3)]:
        trainer = prepared(dataset, *plan)
        last = spoilt_after(trainer, step, lambda t=trainer: t.model.output.bias[2].fill_(math.nan))
        assert isinstance(last[-1], FaultRecord)
        assert (last[-1].step, last[-1].tensor) == (step, "output.bias")
    trainer = prepared(dataset)

    def spoil_and_stop():
        trainer.model.output.bias[2] = math.inf
        trainer.stop()

    assert spoilt_after(trainer, 2, spoil_and_stop)[-1].tensor == "output.bias"


def test_a_buffer_that_a_forward_pass_spoilt(dataset):
    """A variance that overflows makes every later score a finite one, of nothing."""
    trainer = prepared(dataset, "model.norm=batch", "max_steps=2")
    name, buffer = next(
        pair for pair in trainer.model.named_buffers() if pair[0].endswith("running_var")
    )
    fault = spoilt_after(trainer, 2, lambda: buffer.fill_(math.inf))[-1]
    assert (fault.step, fault.tensor) == (2, name)
    assert name.startswith(f"{fault.layer}.")
    assert "a buffer, as the forward pass of that step left it" in fault_sentences(fault)


def test_what_the_optimizer_keeps_of_the_gradients(dataset):
    """Gradients of 1e25 are finite, and their squares are not: Adam never moves there again."""
    trainer = prepared(dataset, "optimizer=adam", "clip=none", "max_steps=2")
    trainer.model.output.weight.register_hook(lambda gradient: gradient * 1e25)
    fault = [*trainer.run()][-1]
    assert isinstance(fault, FaultRecord)
    assert (fault.step, fault.layer) == (2, "output")
    assert fault.tensor == "exp_avg_sq of output.weight"
    assert torch.isfinite(trainer.model.output.weight).all()


def test_a_mask_of_infinities_is_not_what_training_made(dataset):
    made = prepared(dataset, "max_steps=2")
    made.model.register_buffer("mask", torch.full((3,), -math.inf))
    trainer = Trainer(
        made.model,
        made.objective,
        made.splits,
        made.optimizer,
        made.learning_rate,
        made.clip,
        made.plan,
    )
    assert isinstance([*trainer.run()][-1], EvalRecord)
    assert trainer.finished
    assert trainer.is_finite()


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_score_that_is_not_finite_is_a_fault_of_its_evaluation(dataset, split):
    """The weights are finite, but the products of the forward pass are not."""
    words = ["optimizer=sgd", "optimizer.lr=1e30", "max_steps=1", "clip=none"]
    trainer = prepared(dataset if split == "val" else without_validation(dataset), *words)
    *records, fault = trainer.run()
    assert isinstance(fault, FaultRecord)
    assert not any(isinstance(record, EvalRecord) for record in records)
    assert not trainer.finished
    assert trainer.is_finite()
    assert (fault.step, fault.split, fault.batch) == (1, split, ())
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "output", "addmm")
    assert f"In the evaluation on the {split} split after step 1" in fault_sentences(fault)


def without_validation(dataset):
    return Dataset(
        dataset.info, dataset.train, dataset.val[:0], dataset.test, dataset.mean, dataset.std
    )


def test_a_run_that_stays_finite_has_no_fault(dataset):
    trainer = prepared(dataset, "epochs=2")
    assert not any(isinstance(record, FaultRecord) for record in trainer.run())
    assert trainer.finished
