"""Which of the trainer's steps are observed, and what their records say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli
from gradcli.config import compose_train
from gradcli.data import Dataset, epoch_order, load_dataset
from gradcli.gradients.layers import find_layers
from gradcli.gradients.observation import Observation
from gradcli.records import LayerRecord, SetupRecord, layers_in_call_order
from gradcli.workflows.building import build_trainer

#: Those of images, without the library that the `test` extra lacks.
MODELS = sorted(
    {"torchvision": "torchvision.resnet18"}.get(path.stem, path.stem)
    for path in (Path(gradcli.__file__).parents[1] / "configs" / "model").glob("*.yaml")
    if path.stem not in ("charlm", "timm")
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    whole = load_dataset("mnist5k")
    return Dataset(
        whole.info, whole.train[:256], whole.val[:50], whole.test[:50], whole.mean, whole.std
    )


def trainer_of(dataset, *overrides):
    words = ("data=mnist5k", "threads=1", "batch_size=16", "model.hidden=[12]", "epochs=1")
    if any(word.startswith("model=") for word in overrides):
        words = tuple(word for word in words if not word.startswith("model."))
    return build_trainer(compose_train([*words, *overrides]), dataset)


def observed(trainer, **until):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return [one for one in trainer.run(**until) if isinstance(one, SetupRecord | LayerRecord)]


def updates(records, kind):
    return [one.step + (kind is SetupRecord) for one in records if isinstance(one, kind)]


@pytest.mark.parametrize(
    ("every", "setups", "layers"),
    [
        (0, [1, 2, 3], []),
        (6, [1, 2, 3, 5, 7, 10, 13], [1, 2, 3, 5, 7, 10, 13]),
        (50, [1, 2, 3, 5, 10], [1, 2, 3, 5, 10]),
    ],
)
def test_the_first_steps_are_observed_and_then_every_nth(dataset, every, setups, layers):
    records = observed(trainer_of(dataset, f"monitor.every={every}"))
    assert updates(records, SetupRecord) == setups
    assert updates(records, LayerRecord) == layers


def test_the_set_up_is_that_of_the_config(dataset):
    words = (
        "optimizer=adamw",
        "optimizer.lr=0.01",
        "optimizer.weight_decay=0.3",
        "decay_biases_and_norms=false",
    )
    trainer = trainer_of(dataset, *words, "schedule=constant")
    first, *_, last = (one for one in observed(trainer) if isinstance(one, SetupRecord))
    decayed, spared = first.groups
    names = [one.name for layer in trainer.layers for one in layer.parameters]
    assert [names[index] for index in decayed.parameters] == ["hidden1.weight", "output.weight"]
    assert [names[index] for index in spared.parameters] == ["hidden1.bias", "output.bias"]
    assert (decayed.weight_decay, spared.weight_decay) == (0.3, 0.0)
    assert decayed.learning_rate == 0.01
    assert decayed.decoupled
    assert first.requires_grad == (True,) * 4
    assert (first.call_order, first.calls, first.single_path) == ((0, 1), (1, 1), True)
    assert first.loss_path == ("NllLoss", "LogSoftmax", "Addmm")
    assert first.eval_mode == first.unmade_statistics == ()
    assert (first.updates_watched, last.updates_watched, last.not_cleared) == (0, 4, 0)


def test_inputs_outputs_and_the_gradient_between_loss_and_model(dataset):
    trainer, twin = (trainer_of(dataset, "max_steps=1") for _ in range(2))
    inputs, labels = twin.splits["train"].gather(epoch_order(256, 0, 1)[:16])
    record = next(one for one in observed(trainer) if isinstance(one, SetupRecord))
    outputs = twin.model(inputs).detach().requires_grad_()
    F.cross_entropy(outputs, labels).backward()
    assert record.inputs.shape == tuple(inputs.shape)
    assert (record.inputs.mean, record.inputs.std) == pytest.approx(
        (inputs.mean().item(), inputs.std(correction=0).item()), abs=1e-6
    )
    assert (record.outputs.low, record.outputs.high) == pytest.approx(
        (outputs.min().item(), outputs.max().item())
    )
    expected = outputs.grad.norm().item() * math.sqrt(len(inputs))
    assert record.output_grad_norm == pytest.approx(expected)


@pytest.mark.parametrize("model", MODELS)
def test_layers_of_shipped_models_are_registered_as_they_are_called(dataset, model):
    trainer = trainer_of(dataset, f"model={model}", "max_steps=1")
    record = next(one for one in observed(trainer) if isinstance(one, SetupRecord))
    assert layers_in_call_order(trainer.layers, record) == tuple(range(len(trainer.layers)))


def test_a_resumed_run_observes_the_same(dataset):
    words = ("monitor.every=4", "model.dropout=0.2")
    whole = observed(trainer_of(dataset, *words))
    first, second = (trainer_of(dataset, *words) for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        begun = [one for one in first.run(until=6) if isinstance(one, SetupRecord | LayerRecord)]
        state = first.state_dict()
        second.load_state_dict(state)
        continued = [one for one in second.run() if isinstance(one, SetupRecord | LayerRecord)]
    assert repr(begun + continued) == repr(whole)


def test_a_checkpoint_of_an_earlier_version_can_be_loaded(dataset):
    first, second = (trainer_of(dataset) for _ in range(2))
    observed(first, until=6)
    state = first.state_dict()
    del state["observation"]
    second.load_state_dict(state)
    assert second.step == 6


def test_a_long_training_observes_its_set_up_less_often_than_its_layers():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def late_setups(every):
        observation = Observation(model, find_layers(model), optimizer, every=every)
        kinds = {}
        for update in range(1, 2001):
            if (due := observation.at(update)) is not None:
                with due:
                    due.hand_over(0.0)
                    due.before_update()
                kinds[update] = [type(one) for one in due.records(update)]
        return [update for update, kind in kinds.items() if SetupRecord in kind and update > 480]

    assert late_setups(1)[:22] == [*range(481, 501), 501, 751]
    assert late_setups(20) == [481, *range(521, 2000, 260)]
    assert late_setups(300) == [601, 901, 1201, 1501, 1801]
