"""Truth values as text, for the log of evaluations."""

import numpy as np
import pytest

from gradcli.records import packed_bits, unpacked_bits


@pytest.mark.parametrize("size", [1, 7, 8, 9, 500, 10_000])
def test_they_read_back_as_they_were(size):
    values = np.random.default_rng(size).random(size) < 0.5
    text = packed_bits(values)
    assert len(text) <= size / 6 + 4
    assert np.array_equal(unpacked_bits(text, size), values)


@pytest.mark.parametrize(("text", "size"), [("", 8), ("", 0), ("gA==", 9), ("not base64!", 8)])
def test_what_is_not_of_this_size_is_nothing(text, size):
    assert unpacked_bits(text, size) is None
