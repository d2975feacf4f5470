import numpy as np
import pytest
import torch
from torch import nn

from gradcli.gradients.set_up import has_identical_units
from gradcli.gradients.tensors import tensor_range, tensors_in

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
    "few, and their sum is out of range": torch.tensor([3e38, 3e38, 1e38]),
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


@pytest.mark.parametrize(
    ("kind", "whole"), [(torch.int64, True), (torch.bool, True), (torch.bfloat16, False)]
)
def test_whole_are_the_types_that_have_no_fractions(kind, whole):
    found = tensor_range(torch.tensor([0, 1, 1, 1], dtype=kind))
    assert found.whole is whole
    assert (found.low, found.high, found.mean) == (0.0, 1.0, 0.75)
    assert found.std == pytest.approx(np.sqrt(3) / 4)


def test_large_whole_numbers_are_exact():
    found = tensor_range(torch.tensor([2**40, 2**40 + 1]))
    assert (found.low, found.high, found.mean, found.std) == (2**40, 2**40 + 1, 2**40 + 0.5, 0.5)


@pytest.mark.parametrize(
    "values",
    [
        None,
        torch.ones(0, 3),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, 2).to_sparse(),
        torch.ones(2, device="meta"),
    ],
)
def test_what_has_no_range_is_described_by_none(values):
    assert tensor_range(values) is None


def test_the_range_of_a_single_number_in_a_graph():
    found = tensor_range(torch.tensor(3.0, requires_grad=True))
    assert (found.shape, found.mean, found.std, found.low, found.high) == ((), 3.0, 0.0, 3.0, 3.0)


def test_tensors_are_found_in_order_however_nested():
    a, b, c, d = torch.arange(4.0)
    values = [a, {"x": (b, None), "y": 3}, "text", {1}, ([[c]], {"z": {"z": d}})]
    assert [float(one) for one in tensors_in(values)] == [0.0, 1.0, 2.0, 3.0]
    assert [float(one) for one in tensors_in(a)] == [0.0]
    assert list(tensors_in(None)) == []
