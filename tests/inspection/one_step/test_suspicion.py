"""What an example looks like: bad ones planted in real digits, and digits that are only hard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradcli.data import load_dataset
from gradcli.inspection.one_step.known_examples import KnownExamples, far_out, roughness
from gradcli.inspection.one_step.suspicion import BatchValues, Suspicions

BATCH = 100
SPOILED = {
    "black": lambda image: 0 * image,
    "grey": lambda image: 0 * image + 0.5,
    "white": lambda image: 0 * image + 1,
    "negative": lambda image: 1 - image,
    "noise": lambda image: np.random.default_rng(int(image.sum())).random(
        image.shape, dtype=np.float32
    ),
    "shuffled": lambda image: np.random.default_rng(0).permutation(image),
    "scaled": lambda image: 50 * image,
    "shifted": lambda image: image + np.float32(0.5),
    "nan": lambda image: np.where(np.arange(len(image)) == 300, np.float32(np.nan), image),
}
EXPECTED = {
    "black": "constant",
    "grey": "constant",
    "white": "saturated",
    "negative": "inverted",
    "noise": "noise",
    "shuffled": "noise",
    "scaled": "huge",
    "shifted": "unlike",
    "nan": "not-finite",
}


@pytest.fixture
def random():
    """A generator of each test's own."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    """2,000 digits as rows from 0 to 1, and their labels."""
    train = load_dataset("mnist5k", val=0).train
    inputs = train.inputs[:2000].flatten(1).numpy() / np.float32(255)
    return inputs, train.targets[:2000].numpy()


def sure_of(classes):
    """The probabilities of a model that gives each of some classes 91%."""
    return 0.9 * np.eye(10)[classes] + 0.01


def batch_of(inputs, labels, predicted, shape=(1, 28, 28)):
    """The first hundred of some examples as a batch, and all of them as the training data."""
    numbers = np.arange(len(labels))
    first = inputs[:BATCH]
    return BatchValues(
        inputs=first,
        greatest=None,
        labels=labels[:BATCH],
        probabilities=sure_of(predicted[:BATCH]),
        image_shape=shape,
        known=KnownExamples(inputs, numbers, labels),
        originals=first,
        numbers=numbers[:BATCH],
    )


def kinds(batch):
    found = Suspicions(batch)
    return [found.of(place).kind for place in range(BATCH)]


@pytest.mark.parametrize("spoiling", SPOILED)
def test_a_bad_image_is_recognised_even_among_others_of_its_kind(spoiling, digits):
    inputs, labels = digits
    spoiled = inputs.copy()
    places = [3, 40, 77, *range(200, 230)]
    for place in places:
        spoiled[place] = SPOILED[spoiling](inputs[place])
    found = kinds(batch_of(spoiled, labels, labels))
    assert [found[place] for place in places[:3]] == 3 * [EXPECTED[spoiling]]
    assert set(found) == {EXPECTED[spoiling], "not-sure"}
    assert found.count(EXPECTED[spoiling]) == 3


def test_bytes_are_inverted_within_their_range(digits):
    inputs, labels = digits
    spoiled = np.round(255 * inputs)
    spoiled[5] = 255 - spoiled[5]
    found = kinds(replace(batch_of(spoiled, labels, labels), greatest=255.0))
    assert (found[5], set(found[:5] + found[6:])) == ("inverted", {"not-sure"})


def test_most_wrong_labels_are_doubted_and_no_right_one(digits, random):
    inputs, labels = digits
    wrong = labels.copy()
    planted = np.concatenate([np.arange(0, BATCH, 4), np.arange(BATCH, len(labels), 20)])
    wrong[planted] = (labels[planted] + random.integers(1, 10, len(planted))) % 10
    found = np.array(kinds(batch_of(inputs, wrong, labels)))
    is_planted = np.isin(np.arange(BATCH), planted)
    assert (found[is_planted] == "mislabelled").sum() >= 13
    assert is_planted.sum() == 25
    assert not (found[~is_planted] == "mislabelled").any()


def neighbours_of(inputs, labels):
    """What the ten nearest other digits are as a rule, and how many have the digit's own label."""
    products = inputs @ inputs.T
    squares = np.diag(products)
    distances = squares[:, None] + squares - 2 * products
    np.fill_diagonal(distances, np.inf)
    near = labels[np.argsort(distances, axis=1)[:, :10]]
    most = np.array([np.bincount(one, minlength=10).argmax() for one in near])
    return most, (near == labels[:, None]).sum(axis=1)


def test_a_digit_that_looks_like_another_is_not_called_mislabelled(digits):
    """Those without a near one of their own, of which the model is as sure as it can be."""
    inputs, labels = digits
    most, own = neighbours_of(inputs, labels)
    ambiguous = np.flatnonzero(own == 0)
    assert len(ambiguous) >= 15
    order = np.concatenate([ambiguous, np.setdiff1d(np.arange(len(labels)), ambiguous)])
    predicted = labels.copy()
    predicted[ambiguous] = most[ambiguous]
    found = kinds(batch_of(inputs[order], labels[order], predicted[order]))
    assert found.count("mislabelled") <= len(ambiguous) / 5


def test_a_label_that_the_neighbours_share_is_called_hard(digits):
    inputs, labels = digits
    _, own = neighbours_of(inputs, labels)
    found = kinds(batch_of(inputs, labels, (labels + 1) % 10))
    assert [kind == "hard" for kind in found] == [count > 5 for count in own[:BATCH]]


def test_nothing_is_said_of_labels_if_neighbours_do_not_tell(digits, random):
    """Of labels drawn at random each example has some neighbours, and they mean nothing."""
    inputs, labels = digits
    drawn = random.permutation(labels)
    assert "mislabelled" not in kinds(batch_of(inputs, drawn, labels))


def test_data_that_are_noise_have_no_noise(random):
    inputs = random.random((300, 784), dtype=np.float32)
    labels = np.arange(300) % 10
    assert set(kinds(batch_of(inputs, labels, labels))) == {"not-sure"}


def test_norms_that_differ_by_factors_as_a_rule_are_not_huge(random):
    inputs = random.lognormal(0, 2, (300, 1)).astype(np.float32) * np.ones(8, np.float32)
    labels = np.arange(300) % 10
    batch = batch_of(inputs, labels, labels, shape=None)
    assert np.linalg.norm(inputs[:BATCH], axis=1).max() > 5 * np.median(
        np.linalg.norm(inputs[:BATCH], axis=1)
    )
    assert "huge" not in kinds(batch)


def test_the_fence_is_tukeys_and_moves_little_with_bad_values():
    usual = np.linspace(0, 1, 101)
    assert far_out(usual) == pytest.approx(0.75 + 3 * 0.5)
    assert far_out(np.append(usual, 10 * [1e9])) < 3
    assert np.isnan(far_out(usual[:10]))
    assert np.isnan(far_out(np.ones(50)))


def test_roughness_is_one_of_independent_pixels_and_small_of_smooth_ones(random):
    noise = random.random((1, 3, 64, 64))
    slope = np.linspace(0, 1, 64)[:, None] + np.zeros((1, 3, 64, 64))
    assert roughness(noise)[0] == pytest.approx(1, abs=0.05)
    assert roughness(slope)[0] < 0.01
    assert np.isnan(roughness(np.ones((1, 1, 8, 8)))[0])


def test_columns_of_large_numbers_do_not_drown_the_others(random):
    """The label is told by a small column; one of large numbers says nothing."""
    labels = np.arange(400) % 2
    small = labels + 0.1 * random.normal(size=400)
    rows = np.stack([small, 1e4 * random.normal(size=400)], axis=1).astype(np.float32)
    known = KnownExamples(rows, np.arange(400), labels, are_columns=True)
    shares = [np.mean(known.nearest_labels(rows[one], one) == labels[one]) for one in range(50)]
    assert np.mean(shares) > 0.95
