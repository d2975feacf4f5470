"""Runs with two threads: those of one thread to rounding, and resumed with the same bits."""

from __future__ import annotations

import copy

import pytest
import torch

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.records import StepRecords
from gradcli.workflows.building import build_trainer


@pytest.fixture
def dataset():
    return load_dataset("mnist5k")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trainer_of(dataset, *overrides):
    words = ["data=mnist5k", "max_steps=12", "epochs=1", "monitor.every=4", "clip.max_norm=0.5"]
    return build_trainer(compose_train([*words, *overrides]), dataset)


def weights(trainer):
    return [parameter.detach() for parameter in trainer.model.parameters()]


def norms(records):
    return torch.cat(
        [
            torch.from_numpy(record.parameter_grad_norm_before_clip)
            for record in records
            if isinstance(record, StepRecords)
        ]
    )


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rmsprop", "adagrad"])
def test_training_is_that_of_one_thread_to_rounding(dataset, threads, optimizer):
    threads(1)
    plain = trainer_of(dataset, f"optimizer={optimizer}")
    plain_norms = norms(plain.run())
    threads(2)
    ours = trainer_of(dataset, f"optimizer={optimizer}")
    our_norms = norms(ours.run())
    assert all(weight.is_contiguous() for weight in weights(ours))
    torch.testing.assert_close(our_norms, plain_norms, rtol=1e-3, atol=1e-6)
    for one, other in zip(weights(ours), weights(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rmsprop", "adagrad"])
def test_a_run_with_two_threads_is_resumed_with_the_same_bits(dataset, threads, optimizer):
    threads(2)
    whole = trainer_of(dataset, f"optimizer={optimizer}")
    list(whole.run())
    first = trainer_of(dataset, f"optimizer={optimizer}")
    list(first.run(until=5))
    second = trainer_of(dataset, f"optimizer={optimizer}")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    list(second.run())
    for one, other in zip(weights(whole), weights(second), strict=True):
        assert torch.equal(one, other)
