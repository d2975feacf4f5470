"""The scores of examples as text, for the log of evaluations."""

import numpy as np
import pytest

from gradcli.records import packed_scores, unpacked_scores

SIZES = [1, 7, 8, 9, 500, 10_000]


@pytest.mark.parametrize("size", SIZES)
def test_truth_values_take_a_bit_each_and_read_back_as_they_were(size):
    values = np.random.default_rng(size).random(size) < 0.5
    text = packed_scores(values)
    assert len(text) <= size / 6 + 4
    assert np.array_equal(unpacked_scores(text, size), values)


@pytest.mark.parametrize("size", SIZES)
def test_numbers_read_back_as_float32(size):
    values = np.random.default_rng(size).normal(size=size)
    read = unpacked_scores(packed_scores(values), size)
    assert read.dtype == np.float32
    assert np.array_equal(read, values.astype(np.float32))


@pytest.mark.parametrize(("text", "size"), [("", 8), ("", 0), ("gA==", 9), ("not base64!", 8)])
def test_what_is_not_of_this_size_is_nothing(text, size):
    assert unpacked_scores(text, size) is None
