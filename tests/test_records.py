"""What the records themselves compute."""

import numpy as np

from gradcli.records import was_clipped


def test_rounding_is_not_clipping():
    before = np.array([1.0, 1.0, 3.0, 0.0], dtype=np.float32)
    after = np.array([1 - 6e-8, 0.99, 3.0, 0.0], dtype=np.float32)
    assert was_clipped(after, before).tolist() == [False, True, False, False]
    assert was_clipped(after[:2]).tolist() == [False, True]


def test_a_norm_that_is_not_finite_was_not_clipped():
    assert not was_clipped(np.array([np.nan, np.inf]), np.array([np.nan, np.inf])).any()
