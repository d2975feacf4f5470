"""The trainer against a plain loop written here, and what it promises about its records."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.config import compose_train
from gradcli.data import Batches, Dataset, epoch_order, load_dataset
from gradcli.objectives import CROSS_ENTROPY
from gradcli.records import EvalRecord, FaultRecord, LayerRecord, StepRecords, norm_by_layer
from gradcli.training.evaluation import evaluate
from gradcli.workflows.building import build_trainer

MODELS = ["mlp", "cnn", "cnn_2c2d", "rnn"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A quarter of the bundled sample, so that an epoch has a short last batch."""
    whole = load_dataset("mnist5k")
    return Dataset(
        whole.info, whole.train[:1000], whole.val[:200], whole.test[:200], whole.mean, whole.std
    )


def trained(dataset, *overrides):
    trainer = build_trainer(compose_train(["data=mnist5k", *overrides]), dataset)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        records = list(trainer.run())
    return trainer, records


def weights(trainer) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in trainer.model.parameters()])


def columns(records, name) -> np.ndarray:
    return np.concatenate([getattr(r, name) for r in records if isinstance(r, StepRecords)])


@pytest.mark.parametrize("model", MODELS)
def test_recorded_norms_and_clipped_gradients_equal_those_of_plain_autograd(dataset, model):
    steps = 3 if model == "cnn_2c2d" else 10
    config = [f"model={model}", "clip.max_norm=0.5", f"max_steps={steps}", "epochs=2"]
    trainer = build_trainer(compose_train(["data=mnist5k", *config]), dataset)
    twin = build_trainer(compose_train(["data=mnist5k", *config]), dataset).model
    weights, clipped = [], []

    def note(*_):
        """Note the weights before a step and the gradients that the last update has seen."""
        if trainer.model.training:
            parameters = list(trainer.model.parameters())
            weights.append([p.detach().clone() for p in parameters])
            clipped.append([None if p.grad is None else p.grad.clone() for p in parameters])

    trainer.model.register_forward_pre_hook(note)
    records = list(trainer.run())
    note()
    at_each_update = [
        list(zip(*both, strict=True)) for both in zip(weights[:-1], clipped[1:], strict=True)
    ]

    scale = 255 * dataset.std
    # One rounding, as in `Batches`: another last bit can decide which pixel a pooling takes.
    shift = torch.tensor(-dataset.mean / dataset.std)
    images = torch.add(shift, dataset.train.inputs.float(), alpha=1 / scale)
    batches = [b for epoch in (1, 2) for b in epoch_order(1000, 0, epoch).split(128)]
    large = [p.numel() > 1e6 for p in twin.parameters()]
    losses, norms = [], []
    for indices, state in zip(batches, at_each_update, strict=False):
        for parameter, (weights_then, _) in zip(twin.parameters(), state, strict=True):
            parameter.data.copy_(weights_then)
        loss = F.cross_entropy(twin(images[indices]), dataset.train.targets[indices])
        twin.zero_grad()
        loss.backward()
        losses.append(loss.item())
        norms.append([p.grad.double().norm().item() for p in twin.parameters()])
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        for parameter, (_, clipped) in zip(twin.parameters(), state, strict=True):
            largest = parameter.grad.abs().max().item()
            # torch's own float32 norm of 3.2 million elements is off by 1.1e-4.
            rtol = 2e-4 if any(large) else 1e-5
            torch.testing.assert_close(clipped, parameter.grad, rtol=rtol, atol=1e-6 * largest)

    names = [p.name for layer in trainer.layers for p in layer.parameters]
    order = [names.index(name) for name, _ in twin.named_parameters()]
    recorded = columns(records, "parameter_grad_norm_before_clip")[:, order]
    assert len(recorded) == len(norms) == steps
    np.testing.assert_allclose(columns(records, "loss"), losses, rtol=1e-5)
    assert (np.abs(recorded / norms - 1) < np.where(large, 1e-4, 1e-5)).all()
    overall = 1e-4 if any(large) else 1e-5
    total = np.sqrt(np.square(norms).sum(axis=1))
    np.testing.assert_allclose(columns(records, "grad_norm_before_clip"), total, rtol=overall)
    expected = np.minimum(1, 0.5 / total)
    np.testing.assert_allclose(columns(records, "clip_coefficient"), expected, rtol=overall)
    after = columns(records, "parameter_grad_norm_after_clip")[:, order]
    np.testing.assert_allclose(after, norms * expected[:, None], rtol=1e-4)


@pytest.mark.parametrize("model", ["mlp", "cnn", "rnn", "mlp model.norm=batch model.dropout=0.2"])
@pytest.mark.parametrize("clip", ["none", "norm"])
def test_measuring_does_not_change_training(dataset, model, clip):
    overrides = [*f"model={model}".split(), f"clip={clip}", "max_steps=9", "epochs=2"]
    off, _ = trained(dataset, *overrides, "monitor.every_step=0", "monitor.every=0")
    on, records = trained(dataset, *overrides, "monitor.every_step=1", "monitor.every=1")
    assert torch.equal(weights(off), weights(on))
    assert sum(isinstance(record, LayerRecord) for record in records) == 9


def test_weights_without_clipping_are_those_of_a_plain_loop_to_the_bit(dataset):
    overrides = ["clip=none", "schedule=constant", "max_steps=12", "epochs=2"]
    trainer, _ = trained(dataset, *overrides)
    twin = build_trainer(compose_train(["data=mnist5k", *overrides]), dataset)
    optimizer = torch.optim.Adam(twin.model.parameters(), lr=2e-3, fused=True)
    batches = Batches(dataset.train, 128, normalize="mean_std", mean=dataset.mean, std=dataset.std)
    for epoch, count in ((1, 8), (2, 4)):
        for indices in epoch_order(1000, 0, epoch).split(128)[:count]:
            inputs, labels = batches.gather(indices)
            optimizer.zero_grad()
            F.cross_entropy(twin.model(inputs), labels).backward()
            optimizer.step()
    assert torch.equal(weights(trainer), weights(twin))


def test_same_seed_same_bits_and_another_seed_others(dataset):
    first, second, other = (trained(dataset, "max_steps=5", f"seed={seed}") for seed in (3, 3, 4))
    assert torch.equal(weights(first[0]), weights(second[0]))
    assert not torch.equal(weights(first[0]), weights(other[0]))
    for name in ("loss", "parameter_grad_norm_after_clip"):
        assert columns(first[1], name).tobytes() == columns(second[1], name).tobytes()


def test_optimizers_of_one_seed_see_the_same_weights_and_batches(dataset):
    runs = [trained(dataset, f"optimizer={name}", "max_steps=3") for name in ("sgd", "adam")]
    losses = [columns(records, "loss") for _, records in runs]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_steps_epochs_and_evaluations_are_complete(dataset):
    trainer, records = trained(dataset, "epochs=2")
    assert columns(records, "step").tolist() == list(range(1, 17))
    assert columns(records, "epoch").tolist() == [1] * 8 + [2] * 8
    evaluations = [record for record in records if isinstance(record, EvalRecord)]
    assert [(e.split, e.epoch, e.step) for e in evaluations] == [
        ("val", 1, 8),
        ("val", 2, 16),
        ("test", 2, 16),
    ]
    assert trainer.finished
    sizes = [128] * 7 + [104]
    losses = columns(records, "loss")
    for epoch in (0, 1):
        expected = np.average(losses[8 * epoch : 8 * epoch + 8], weights=sizes)
        assert evaluations[epoch].train_loss == pytest.approx(expected, rel=1e-6)


def test_evaluation_equals_a_float64_computation(dataset):
    trainer, records = trained(dataset, "epochs=1")
    model = trainer.model.double().eval()
    pixels = dataset.test.inputs.double() / 255
    logits = model((pixels - dataset.mean) / dataset.std)
    test = next(r for r in records if isinstance(r, EvalRecord) and r.split == "test")
    loss = F.cross_entropy(logits, dataset.test.targets).item()
    assert test.loss == pytest.approx(loss, rel=1e-5)
    right = (logits.argmax(1) == dataset.test.targets).sum().item()
    assert test.score == right / len(dataset.test)


def test_max_steps_ends_a_run_early_and_still_evaluates(dataset):
    trainer, records = trained(dataset, "max_steps=3")
    assert trainer.step == trainer.total_steps == 3
    splits = [r.split for r in records if isinstance(r, EvalRecord)]
    assert splits == ["val", "test"]
    assert trainer.epochs_done == 0


def test_every_step_thins_the_log_and_nothing_else(dataset):
    thick, all_records = trained(dataset, "max_steps=8")
    thin, some_records = trained(dataset, "max_steps=8", "monitor.every_step=3")
    assert columns(some_records, "step").tolist() == [1, 4, 7]
    assert columns(some_records, "loss").tolist() == columns(all_records, "loss")[::3].tolist()
    assert torch.equal(weights(thick), weights(thin))


def test_layer_records_equal_an_independent_computation(dataset):
    overrides = ["optimizer=sgd", "optimizer.lr=0.1", "schedule=constant", "clip=none"]
    _, records = trained(dataset, *overrides, "max_steps=2", "monitor.every=1")
    first, second = (record for record in records if isinstance(record, LayerRecord))
    twin = build_trainer(compose_train(["data=mnist5k", *overrides]), dataset)
    layers = [twin.model.get_submodule(layer.name) for layer in twin.layers]
    inputs, labels = twin.splits["train"].gather(epoch_order(1000, 0, 1)[:128])
    inputs = inputs.clone().requires_grad_()
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    loss = F.cross_entropy(twin.model(inputs), labels)
    gradients = torch.autograd.grad(loss, seen, retain_graph=True)
    assert first.input_grad_norm == pytest.approx([g.double().norm().item() for g in gradients])
    loss.backward()
    for index, layer in enumerate(layers):
        parameters = list(layer.parameters())
        norm = math.sqrt(sum(p.detach().double().square().sum().item() for p in parameters))
        change = 0.1 * math.sqrt(sum(p.grad.double().square().sum().item() for p in parameters))
        assert first.weight_norm[index] == pytest.approx(norm)
        assert first.update_ratio[index] == pytest.approx(change / norm, rel=1e-4)
    assert second.step == 2


def test_a_bias_that_begins_at_zero_is_left_out_of_the_update_ratio(dataset):
    overrides = ["init=kaiming", "optimizer=sgd", "optimizer.lr=0.1", "clip=none", "max_steps=1"]
    _, records = trained(dataset, *overrides, "schedule=constant")
    record = next(record for record in records if isinstance(record, LayerRecord))
    steps = next(record for record in records if isinstance(record, StepRecords))
    weight_gradients = steps.parameter_grad_norm_before_clip[0, ::2]
    expected = 0.1 * weight_gradients / np.array(record.weight_norm)
    assert record.update_ratio == pytest.approx(expected, rel=1e-5)


class _Poisoned(nn.Module):
    """Acts as `inner` until a number of calls; then its output or its derivative is NaN."""

    def __init__(self, inner: nn.Module, *, backward: bool, healthy_calls: int) -> None:
        super().__init__()
        self.inner, self.backward, self.healthy_calls = inner, backward, healthy_calls

    def forward(self, inputs):
        self.healthy_calls -= 1
        outputs = self.inner(inputs)
        if self.healthy_calls >= 0:
            return outputs
        if self.backward:
            # The branch that is not taken has an infinite derivative, and 0 * inf is NaN.
            return torch.where(outputs < 1e30, outputs, torch.sqrt(outputs - outputs))
        return outputs * math.nan


@pytest.mark.parametrize("backward", [False, True])
def test_the_first_non_finite_value_stops_training_before_the_update(dataset, backward):
    trainer = build_trainer(compose_train(["data=mnist5k", "epochs=2"]), dataset)
    trainer.model.hidden2 = _Poisoned(trainer.model.hidden2, backward=backward, healthy_calls=3)
    healthy, _ = trained(dataset, "epochs=2", "max_steps=3", "schedule=constant")
    trainer.learning_rate.set = lambda step: None  # so that both have one learning rate
    records = list(trainer.run())
    fault = records[-1]
    assert isinstance(fault, FaultRecord)
    assert (fault.step, fault.epoch, trainer.step) == (4, 1, 3)
    assert fault.phase == ("backward" if backward else "forward")
    assert fault.layer == "hidden2"
    assert fault.operation == ("SqrtBackward0" if backward else "mul")
    assert list(fault.batch) == epoch_order(1000, 0, 1)[3 * 128 : 4 * 128].tolist()
    assert torch.equal(weights(trainer), weights(healthy)), "the weights are those of step 3"
    norms = columns(records, "grad_norm_before_clip")
    assert np.isfinite(norms).tolist() == [True, True, True, False]


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rmsprop", "adagrad", "nadam"])
@pytest.mark.parametrize("backward", [False, True])
def test_a_fault_that_the_device_finds_leaves_the_same_behind(dataset, optimizer, backward):
    """What an accelerator does, on the CPU: the host learns of the fault only at the flush."""

    def run(deferred):
        words = ["data=mnist5k", "epochs=2", f"optimizer={optimizer}"]
        trainer = build_trainer(compose_train(words), dataset)
        poisoned = _Poisoned(trainer.model.hidden2, backward=backward, healthy_calls=3)
        trainer.model.hidden2 = poisoned
        if deferred:
            trainer._training_step.defer()
        return trainer, list(trainer.run())

    (seen, records), (found, later) = run(deferred=False), run(deferred=True)
    assert repr(later[-1]) == repr(records[-1])
    assert later[-1].phase == ("backward" if backward else "forward")
    assert (found.step, found.fault.step) == (seen.step, seen.fault.step) == (3, 4)
    assert torch.equal(weights(found), weights(seen))
    assert columns(later, "step").tolist() == columns(records, "step").tolist() == [1, 2, 3, 4]


def test_stopping_ends_between_two_steps(dataset):
    trainer = build_trainer(compose_train(["data=mnist5k"]), dataset)
    records = []
    for record in trainer.run():
        records.append(record)
        trainer.stop()
    assert not trainer.finished
    assert columns(records, "step").tolist() == list(range(1, trainer.step + 1))


def test_bfloat16_trains(dataset):
    _, records = trained(dataset, "precision=bfloat16", "epochs=3", "model.hidden=[64]")
    losses = columns(records, "loss")
    assert losses[-4:].mean() < 0.5 * losses[:4].mean()
    exact = columns(trained(dataset, "epochs=3", "model.hidden=[64]")[1], "loss")
    assert not np.array_equal(exact, losses)
    np.testing.assert_allclose(losses[0], exact[0], rtol=0.02)


def test_layer_norms_derive_from_parameter_norms(dataset):
    trainer, records = trained(dataset, "max_steps=4")
    norms = columns(records, "parameter_grad_norm_before_clip")
    np.testing.assert_allclose(
        np.sqrt(np.square(norm_by_layer(norms, trainer.layers)).sum(axis=1)),
        columns(records, "grad_norm_before_clip"),
        rtol=1e-6,
    )


def test_what_is_not_a_number_is_no_answer(dataset):
    split = Batches(dataset.test, 64, normalize="none", mean=dataset.mean, std=dataset.std)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    assert 0 < evaluate(model, CROSS_ENTROPY, split).score < 1
    with torch.no_grad():
        model[1].weight[3] = math.nan
    scored = evaluate(model, CROSS_ENTROPY, split)
    assert math.isnan(scored.loss)
    assert scored.score == 0
