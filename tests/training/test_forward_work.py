"""The multiplications of a forward pass, against those counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradcli.training import multiplications


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (nn.Linear(20, 5), (8, 20), 8 * 20 * 5),
        (nn.Sequential(nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 3)), (4, 20), 4 * (140 + 21)),
        (nn.Conv2d(3, 6, 5), (2, 3, 12, 10), 2 * (8 * 6) * 6 * 3 * 25),
        (nn.Conv2d(4, 8, 3, groups=2, stride=2), (1, 4, 9, 9), 16 * 8 * 2 * 9),
        (nn.RNN(6, 10, batch_first=True), (3, 7, 6), 3 * 7 * (6 * 10 + 10 * 10)),
        (nn.ReLU(), (3, 7), 0),
    ],
)
def test_each_weight_counts_once_per_position(model, shape, expected):
    assert multiplications(model, torch.randn(shape)) == expected


def test_an_embedding_multiplies_nothing():
    assert multiplications(nn.Embedding(50, 8), torch.zeros(2, 3, dtype=torch.long)) == 0


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    multiplications(model, torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(not module._forward_hooks for module in model.modules())
