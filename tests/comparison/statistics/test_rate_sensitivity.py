"""How wide the range of good learning rates is."""

import itertools
import math

import numpy as np
import pytest

from gradcli.comparison.statistics import DIVERGED, learning_rate_sensitivity

NAN = math.nan


def test_the_range_of_good_learning_rates():
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    found = learning_rate_sensitivity(rates, [0.90, 0.965, 0.97, 0.962, DIVERGED])
    assert (found.best, found.low, found.high) == (1e-2, 1e-3, 1e-1)
    assert found.decades == pytest.approx(2)
    assert not found.best_at_edge
    assert not found.open_ended


@pytest.mark.parametrize("outside", [DIVERGED, NAN, 0.95])
def test_the_range_ends_at_the_first_bad_learning_rate(outside):
    found = learning_rate_sensitivity([1, 10, 100, 1000], [0.97, outside, 0.97, 0.971])
    assert (found.best, found.low, found.high) == (1000, 100, 1000)
    assert found.best_at_edge
    assert found.open_ended


def test_a_range_may_reach_the_edge_of_the_grid_when_the_best_does_not():
    found = learning_rate_sensitivity([1, 10, 100], [0.965, 0.97, 0.1])
    assert (found.best_at_edge, found.open_ended) == (False, True)


def test_the_best_may_be_at_the_lower_edge():
    assert learning_rate_sensitivity([1, 10, 100], [0.97, 0.9, 0.8]).best_at_edge


def test_a_score_exactly_as_far_below_as_is_tolerated_is_in_the_range():
    assert learning_rate_sensitivity([1, 10, 100], [0.5, 0.75, 0.5], tolerance=0.25).decades == 2


def test_the_order_of_the_grid_does_not_matter():
    rates, scores = [1e-3, 1e-2, 1e-1, 1.0], [0.90, 0.965, 0.97, DIVERGED]
    expected = learning_rate_sensitivity(rates, scores)
    for order in itertools.permutations(range(4)):
        shuffled = [[values[i] for i in order] for values in (rates, scores)]
        assert learning_rate_sensitivity(*shuffled) == expected


def test_a_wider_tolerance_never_narrows_the_range():
    generator = np.random.default_rng(10)
    scores = generator.normal(size=9)
    grid = np.logspace(-4, 0, 9)
    widths = [learning_rate_sensitivity(grid, scores, t).decades for t in np.linspace(0, 5, 30)]
    assert widths == sorted(widths)
    assert widths[0] == 0
    assert widths[-1] == pytest.approx(4)


def test_a_grid_that_diverged_everywhere_has_no_best():
    found = learning_rate_sensitivity([0.1, 1.0], [DIVERGED, NAN])
    assert math.isnan(found.best)
    assert math.isnan(found.decades)
