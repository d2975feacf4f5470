import numpy as np
import pytest
import torch
from torch import nn

from gradcli.gradients.set_up import has_identical_units
from gradcli.gradients.tensors import tensor_range

VALUES = {
    "few": torch.tensor([1.0, 2.0, 4.0]),
    "images": torch.rand(64, 28, 28),
    "far from 0": 1e4 + torch.rand(100_000),
    "equal": torch.full((300, 300), 0.1),
    "transposed": torch.rand(400, 300).T,
    "half": torch.rand(1000).half(),
    "whole": torch.arange(0, 256, dtype=torch.uint8),
    "their sum is out of range": torch.full((100_000,), 1e36).index_fill(0, torch.tensor([3]), -1),
    "their squares are out of range": 1e30 * torch.rand(1000),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_range_is_that_of_numpy_in_float64(name):
    values = VALUES[name]
    found = tensor_range(values)
    expected = values.numpy().astype(np.float64)
    assert found.shape == tuple(values.shape)
    assert (found.low, found.high) == (expected.min(), expected.max())
    # A float32 mean is right to a millionth of the values' size, and so is a deviation from it.
    exact = pytest.approx(expected.mean(), rel=1e-6)
    assert found.mean == exact
    assert found.std == pytest.approx(expected.std(), rel=1e-5, abs=2e-7 * abs(expected.mean()))


def test_values_that_are_not_finite_have_no_deviation():
    found = tensor_range(torch.tensor([1.0, float("inf")]))
    assert np.isnan(found.std)


def test_units_are_identical_only_if_all_are():
    layer = nn.Linear(5, 4)
    assert not has_identical_units(layer)
    with torch.no_grad():
        layer.weight[:3] = layer.weight[0].clone()
        assert not has_identical_units(layer)
        layer.weight[3] = layer.weight[0]
        assert has_identical_units(layer)
        layer.weight.zero_()
    assert not has_identical_units(layer)  # that is another fault
