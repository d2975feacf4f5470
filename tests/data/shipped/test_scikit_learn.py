"""scikit-learn's data sets, where it is installed; and what is said where it is not."""

import sys

import pytest
import torch

from gradcli.data import load_dataset
from gradcli.errors import UserError

NAMES = ("digits", "breast_cancer")


@pytest.mark.parametrize("name", NAMES)
def test_without_scikit_learn_the_line_that_installs_it_is_given(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="This data set needs scikit-learn") as caught:
        load_dataset(name)
    assert caught.value.hint == "pip install 'gradcli[sklearn]'"


@pytest.fixture
def datasets():
    return pytest.importorskip("sklearn.datasets")


def rows(*splits):
    return sorted(tuple(row) for one in splits for row in one.inputs.flatten(1).tolist())


def test_the_digits_are_all_there_in_shades_of_a_byte(datasets):
    data, found = load_dataset("digits"), datasets.load_digits()
    assert (data.info.train, data.info.val, data.info.test) == (1249, 249, 299)
    assert (data.info.shape, data.info.classes) == ((1, 8, 8), 10)
    expected = sorted(tuple((row * 255 / 16).round().tolist()) for row in found.data)
    assert rows(data.train, data.val, data.test) == expected
    shares = [torch.bincount(one.targets) / len(one) for one in (data.train, data.val, data.test)]
    assert max(float((one - shares[0]).abs().max()) for one in shares) < 0.01


@pytest.mark.parametrize(("val", "sizes"), [(None, (396, 79, 94)), (0, (475, 0, 94))])
def test_the_measurements_are_standard_in_the_training_examples(datasets, val, sizes):
    data, found = load_dataset("breast_cancer", val=val), datasets.load_breast_cancer()
    assert (data.info.train, data.info.val, data.info.test) == sizes
    assert (data.info.shape, data.info.classes) == ((30,), 2)
    inputs = data.train.inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(30), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(30))
    # Undone by any two examples of a column, the order of all values is that of the original.
    whole = torch.cat([one.inputs for one in (data.train, data.val, data.test)])
    original = torch.from_numpy(found.data)
    slopes = (whole.amax(0) - whole.amin(0)) / (original.amax(0) - original.amin(0))
    undone = (whole - whole.amin(0)) / slopes + original.amin(0)
    torch.testing.assert_close(
        undone.sort(0).values, original.sort(0).values, rtol=1e-4, atol=1e-4, check_dtype=False
    )
