"""Sobol's sequence of settings."""

import numpy as np
import pytest

from gradcli.comparison.search import Range, Sobol

UNIT = [Range("a", 1e-3, 1.0), Range("b", 0.0, 1.0, "linear")]


def positions(count, seed=0, ranges=UNIT):
    found = Sobol().propose(ranges, [], count=count, total=count, seed=seed)
    return np.array(
        [[one.position(v) for one, (_, v) in zip(ranges, s, strict=True)] for s in found]
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_part_of_each_range_has_one_of_the_settings(seed):
    """A (0, 2)-sequence: 16 points have one in each sixteenth of a key, and in each 4 x 4 cell."""
    found = positions(16, seed)
    for key in (0, 1):
        assert sorted((found[:, key] * 16).astype(int)) == list(range(16))
    assert len({tuple(cell) for cell in (found * 4).astype(int)}) == 16


def test_another_seed_has_other_settings():
    assert not np.allclose(positions(8, 0), positions(8, 1))


def test_settings_are_as_uniform_as_numbers_drawn_over_many_seeds():
    """The scrambling makes each point uniform (Owen 1998): the mean over seeds is the middle."""
    first = np.array([positions(1, seed)[0] for seed in range(400)])
    assert first.mean(0) == pytest.approx([0.5, 0.5], abs=4 * (1 / 12 / 400) ** 0.5)
    assert first.std(0) == pytest.approx([12**-0.5] * 2, rel=0.1)


@pytest.mark.parametrize("total", [1, 3, 5, 12, 24, 33])
def test_any_number_of_settings_begins_the_same_sequence(total):
    assert np.array_equal(positions(total), positions(64)[:total])


def test_arms_with_ranges_of_their_own_start_at_the_same_positions():
    other = [Range("x", 1.0, 1e4), Range("y", 0.0, 0.999, "log_from_one")]
    assert positions(8, ranges=other) == pytest.approx(positions(8), abs=5e-3)
