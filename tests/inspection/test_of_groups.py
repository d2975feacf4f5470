"""Faults in one parameter group, in a recurrent layer, and between output and loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli
from gradcli.data import load_dataset

BATCH, STEPS = 40, 150


@pytest.fixture(scope="module")
def scaled():
    torch.set_num_threads(1)
    split = load_dataset("mnist5k").train
    order = torch.randperm(len(split.targets), generator=torch.Generator().manual_seed(0))
    return (split.inputs[order].float() / 255 - 0.1307) / 0.3081, split.targets[order]


@pytest.fixture
def first(tmp_path, inspect, scaled):
    """Return a function that trains a model and returns the first finding."""

    def train(model, optimizer, loss_of=F.cross_entropy):
        inputs, labels = scaled
        with gradcli.GradientMonitor(model, optimizer, runs_dir=tmp_path, every=10) as monitor:
            for step in range(STEPS):
                at = slice(step * BATCH % 4000, step * BATCH % 4000 + BATCH)
                optimizer.zero_grad()
                loss = loss_of(model(inputs[at]), labels[at])
                loss.backward()
                monitor.step(loss)
                optimizer.step()
        return inspect(target=monitor.run).findings[0]

    return train


def dense(*last):
    torch.manual_seed(0)
    hidden = [nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(32, 10), *last)


def groups(model, **of_the_second):
    """One group for each linear layer, the second with settings of its own."""
    layers = [module for module in model if isinstance(module, nn.Linear)]
    return [
        {"params": layer.parameters(), **(of_the_second if place == 1 else {})}
        for place, layer in enumerate(layers)
    ]


def test_equal_groups_are_healthy(first):
    model = dense()
    assert first(model, torch.optim.SGD(groups(model), lr=0.05)).code == "healthy"


@pytest.mark.parametrize("of_the_others", [0.0, 1e-4])
def test_the_decay_of_one_group_is_found_in_its_layer(first, of_the_others):
    model = dense()
    of_groups = groups(model, weight_decay=4.0)
    found = first(model, torch.optim.SGD(of_groups, lr=0.05, weight_decay=of_the_others))
    assert (found.code, found.layer) == ("weight-decay-too-strong", "3")
    assert found.evidence["weight_decay"] == 4.0


def test_the_rate_of_one_group_is_lowered_from_its_own_value(first):
    model = dense()
    found = first(model, torch.optim.SGD(groups(model, lr=30.0), lr=0.05))
    assert (found.code, found.layer) == ("lr-too-high", "3")
    assert "of the parameter group of 3 to" in found.mend
    proposed = float(found.mend.rstrip(".").split()[-1])
    assert 0.01 < proposed < 3  # of 30; a rate derived from the other groups' is below 0.005
    model = dense()
    assert first(model, torch.optim.SGD(groups(model, lr=proposed), lr=0.05)).code == "healthy"


class Recurrent(nn.Module):
    """Reads the rows of an image; a module, or a cell in a loop of its own."""

    def __init__(self, cell, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = cell(28, 32), nn.Linear(32, 10)
        with torch.no_grad():
            for parameter in self.cell.parameters():
                parameter.mul_(scale)

    def forward(self, images):
        rows = images.flatten(1).view(-1, 28, 28)
        if isinstance(self.cell, nn.RNNBase):
            outputs, _ = self.cell(rows.transpose(0, 1))
            return self.head(outputs[-1])
        state = None
        for row in rows.unbind(1):
            state = self.cell(row, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell])
def test_recurrent_weights_that_are_too_large_are_found_and_usual_ones_are_not(first, cell):
    model = Recurrent(cell, 25.0)
    found = first(model, torch.optim.Adam(model.parameters(), lr=3e-3))
    assert (found.code, found.layer) == ("initial-scale", "cell")
    model = Recurrent(cell)
    found = first(model, torch.optim.Adam(model.parameters(), lr=3e-3))
    assert found.code == "healthy"


def one_hot_loss(outputs, labels):
    return F.binary_cross_entropy(torch.sigmoid(outputs), F.one_hot(labels, 10).float())


@pytest.mark.parametrize(("last", "code"), [((nn.Sigmoid(),), "softmax-before-loss"), ((), "")])
def test_a_sigmoid_of_a_sigmoid_is_found(first, last, code):
    model = dense(*last)
    found = first(model, torch.optim.Adam(model.parameters(), lr=1e-3), one_hot_loss)
    assert (found.code == "softmax-before-loss") is bool(code)
    if code:
        assert "sigmoid twice" in found.message
