"""MNIST-1D: its recipe against NumPy and SciPy, and what the paper says can be learnt of it."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d

from gradcli.data import load_dataset
from gradcli.data.shipped import mnist1d
from gradcli.data.shipped.mnist1d import Mnist1d
from gradcli.errors import UserError


def load(val=None, **options):
    return load_dataset("mnist1d", source=Mnist1d(**options), val=val)


def test_the_examples():
    data = load()
    assert (data.info.train, data.info.val, data.info.test) == (3334, 666, 1000)
    assert (data.info.shape, data.info.classes) == ((1, 40), 10)
    whole = load(val=0)
    inputs = torch.cat((whole.train.inputs, whole.test.inputs))
    assert inputs.dtype == torch.float32
    assert abs(inputs.mean()) < 1e-4
    assert inputs.std() == pytest.approx(1, abs=1e-3)
    labels = torch.cat((whole.train.targets, whole.test.targets))
    assert torch.bincount(labels).tolist() == [500] * 10


def test_they_are_the_same_on_every_machine():
    """Rounded to 4 decimals, because the last bits of a logarithm differ between C libraries."""
    signals, labels = mnist1d.generate(5000, 0)
    content = np.round(signals * 10_000.0).astype("<i4").tobytes() + labels.astype("u1").tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "8a717c80db5da146"
    assert np.array_equal(signals, (np.round(signals * 10_000.0) / 1e4).astype(np.float32))
    assert load().info.sha256 == load().info.sha256 != load(seed=1).info.sha256


def test_shuffling_moves_all_examples_alike():
    plain, _ = mnist1d.generate(50, 3)
    shuffled, _ = mnist1d.generate(50, 3, shuffled=True)
    order = [int(np.flatnonzero((column == plain.T).all(axis=1))[0]) for column in shuffled.T]
    assert sorted(order) == list(range(40)) != order


def test_templates_begin_at_zero_with_one_deviation():
    digits = mnist1d.templates()
    assert digits.shape == (10, 12)
    assert (digits[:, 0] == 0).all()
    np.testing.assert_allclose(digits.std(axis=1), 1 / 6)


def test_interpolation_is_that_of_numpy():
    rows = np.random.default_rng(0).normal(size=(5, 12))
    places = np.linspace(0, 11, 40)
    expected = [np.interp(places, np.arange(12), row) for row in rows]
    np.testing.assert_allclose(mnist1d.resampled(rows, places), expected, atol=1e-12)
    own = places * np.linspace(0.2, 1, 5)[:, None]
    expected = [np.interp(one, np.arange(12), row) for one, row in zip(own, rows, strict=True)]
    np.testing.assert_allclose(mnist1d.resampled(rows, own), expected, atol=1e-12)


def test_the_noise_is_smoothed_as_scipy_does():
    rows = np.random.default_rng(0).normal(size=(3, 72))
    np.testing.assert_allclose(mnist1d.smoothed(rows), gaussian_filter1d(rows, 2), atol=1e-12)


def possible_digits():
    """Each digit of any width at any place, without noise, made one by one: (n, 40) and labels."""
    found = []
    for label, digit in enumerate(mnist1d.templates()):
        for padding in range(36, 61, 4):
            padded = np.pad(digit, (0, padding))
            wide = np.interp(np.linspace(0, len(padded) - 1, 72), np.arange(len(padded)), padded)
            for shift in range(48):
                moved = np.roll(wide, shift)
                found.append((np.interp(np.linspace(0, 71, 40), np.arange(72), moved), label))
    signals, labels = zip(*found, strict=True)
    return np.array(signals), np.array(labels)


def test_an_example_is_one_of_its_digit_among_noise_on_a_slope():
    """Most are nearest to a digit of their own class, if only width and place are tried."""
    signals, labels = mnist1d.generate(1000, 0)
    digits, digit_labels = possible_digits()
    # What a slope and a level add is projected out; the length is divided out.
    basis, _ = np.linalg.qr(np.stack((np.ones(40), np.arange(40.0)), axis=1))
    examples, digits = (rows - rows @ basis @ basis.T for rows in (signals.astype(float), digits))
    digits /= np.linalg.norm(digits, axis=1, keepdims=True)
    guesses = digit_labels[(examples @ digits.T).argmax(axis=1)]
    assert (guesses == labels).mean() > 0.75


def accuracy_of_regression(data):
    """The test accuracy of logistic regression, fitted with L-BFGS."""
    weights = torch.zeros(41, 10, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=25, line_search_fn="strong_wolfe")

    def logits(split):
        return F.pad(split.inputs.flatten(1), (0, 1), value=1.0) @ weights

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(logits(data.train), data.train.targets)
        value.backward()
        return value

    optimizer.step(loss)
    return float((logits(data.test).argmax(1) == data.test.targets).double().mean())


def test_a_linear_model_gets_a_third_right_as_in_the_paper():
    """32% in table 1 of the paper, with 1.5 points of standard error for 1,000 test examples."""
    scores = [accuracy_of_regression(load(val=0, seed=seed)) for seed in range(3)]
    assert np.mean(scores) == pytest.approx(0.32, abs=0.03)


@pytest.mark.parametrize(
    ("options", "where"),
    [({"train": 0}, "data.train"), ({"test": -1}, "data.test"), ({"seed": -1}, "data.seed")],
)
def test_what_it_refuses(options, where):
    with pytest.raises(UserError) as caught:
        load(**options)
    assert caught.value.where == where
