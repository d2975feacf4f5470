"""How much longer first updates are, against the closed forms of the optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gradcli.optim import longer_at_first


def mean_ratio(lengths, steps):
    """Of the updates' lengths: the first ones' mean over the mean of all."""
    return np.mean(lengths[:steps]) / np.mean(lengths)


def lengths(name, total):
    """The length of each update under a constant gradient, times a constant."""
    t = np.arange(1, total + 1)
    return {
        "sgd": np.ones(total),
        "momentum": 1 - 0.9**t,
        "adam": np.ones(total),
        "rmsprop": 1 / np.sqrt(1 - 0.99**t),
        "adagrad": 1 / np.sqrt(t),
        "adafactor": np.ones(total),
    }[name]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.01, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.99),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, 0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("steps", "total"), [(1, 200), (12, 300), (59, 250), (298, 299), (20, 20)])
def test_the_ratio_is_that_of_the_closed_form(name, steps, total):
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    ratio = longer_at_first(OPTIMIZERS[name](model.parameters()), steps, total)
    # Adafactor's updates grow with the weights, which move (6.5% at most in 100 seeds).
    rel = 0.1 if name == "adafactor" else 0.01
    assert ratio == pytest.approx(mean_ratio(lengths(name, total), steps), rel=rel)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "rmsprop"])
def test_a_long_training_goes_on_as_its_last_update(name):
    model = nn.Linear(7, 5)
    ratio = longer_at_first(OPTIMIZERS[name](model.parameters()), 12, 100_000)
    assert ratio == pytest.approx(mean_ratio(lengths(name, 100_000), 12), rel=0.03)


def test_where_there_are_no_biases_the_matrices_count():
    model = nn.Linear(7, 5, bias=False)
    ratio = longer_at_first(OPTIMIZERS["rmsprop"](model.parameters()), 12, 300)
    assert ratio == pytest.approx(mean_ratio(lengths("rmsprop", 300), 12), rel=0.01)


def test_weights_that_do_not_move_change_nothing():
    model = nn.Linear(3, 2)
    assert longer_at_first(torch.optim.SGD(model.parameters(), 0.0), 5, 50) == 1


def test_an_overflow_changes_nothing():
    class Exploding(torch.optim.SGD):
        def step(self):
            for parameter in self.param_groups[0]["params"]:
                parameter.data.add_(1).mul_(1e30)

    assert longer_at_first(Exploding(nn.Linear(3, 2).parameters(), 0.1), 5, 50) == 1


def test_gradients_lie_in_memory_as_the_parameters_do():
    """A fused kernel goes through both side by side."""
    model = nn.Linear(6, 4)
    model.weight.data = model.weight.data.T.contiguous().T
    ratio = longer_at_first(torch.optim.Adam(model.parameters(), 0.01, fused=True), 10, 100)
    assert ratio == pytest.approx(1, rel=0.01)
