"""How many threads a model is trained with, and that a run uses that many."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcli
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.models import MLP
from gradcli.runs import load_checkpoint
from gradcli.training import worthwhile_threads
from gradcli.workflows.building import build_network


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "words, threads",
    [
        (["model=deep_mlp"], 1),
        (["model=deep_mlp", "model.norm=batch"], 1),
        (["model=deep_mlp", "batch_size=1024"], 4),
        (["model=mlp"], 4),
        (["model=mlp", "batch_size=1"], 4),  # its update is worth it
        (["model=mlp", "model.hidden=[32,32,32]", "batch_size=32"], 1),
        (["model=logreg"], 4),
        (["model=cnn", "batch_size=1"], 4),  # positions count, which weights do not show
        (["model=rnn", "batch_size=1"], 4),
    ],
)
def test_small_layers_are_worth_one_thread(words, threads):
    composed = compose_train(["data=mnist5k", *words])
    model = build_network(composed, load_dataset("mnist5k"))
    assert worthwhile_threads(model, composed.config.batch_size, 4) == threads


def test_the_limit_is_the_mean_work_of_a_layer():
    model = MLP(input_shape=(1, 10, 10), classes=20, activation=nn.ReLU, hidden=[30])
    weights = 100 * 30 + 30 * 20
    enough = -(-2 * 600_000 // weights) - 12
    assert worthwhile_threads(model, enough, 2) == 2
    assert worthwhile_threads(model, enough - 1, 2) == 1


def test_models_of_others_keep_all_threads():
    assert worthwhile_threads(nn.Sequential(nn.Linear(4, 4)), 1, 2) == 2


def test_a_run_has_the_threads_that_it_is_worth_and_gives_the_others_back(two_threads, runs_dir):
    words = ("model=deep_mlp", "max_steps=5", "device=cpu")
    ours = gradcli.train("data=mnist5k", *words, runs_dir=runs_dir)
    assert torch.get_num_threads() == 2
    asked = gradcli.train("data=mnist5k", *words, "threads=1", runs_dir=runs_dir)
    given = gradcli.train("data=mnist5k", *words, "threads=2", runs_dir=runs_dir)
    large = gradcli.train("data=mnist5k", *words[1:], runs_dir=runs_dir)
    assert [run.info.threads for run in (ours, asked, given, large)] == [1, 1, 2, 2]
    weights, same = (load_checkpoint(run.path)["model"] for run in (ours, asked))
    for name, weight in weights.items():
        assert torch.equal(weight, same[name])
