"""When a target is reached, and the middle of such times."""

import math

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.statistics import median_interval, median_time, time_to_target

NAN = math.nan


def test_the_time_to_a_target_is_that_of_the_first_evaluation_there():
    steps, scores = [100, 200, 300, 400], [0.90, 0.95, 0.94, 0.96]
    assert time_to_target(steps, scores, 0.95) == 200
    assert time_to_target(steps, scores, 0.955) == 400
    assert time_to_target(steps, scores, 0.97) == math.inf
    assert time_to_target([0.5, 1.5], [NAN, 0.95], 0.9) == 1.5
    assert time_to_target([], [], 0.5) == math.inf


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([300, 100, 200], 200),
        ([100, 200, math.inf], 200),
        ([100, math.inf, math.inf], math.inf),
        ([100, math.inf], 100),  # half of the seeds: by step 100
        ([300, math.inf, 100, math.inf], 300),
        ([100, 300, 400, math.inf], 350),
        ([math.inf, 200, math.inf, math.inf], math.inf),
        ([math.inf, math.inf], math.inf),
        ([100, NAN, 300], 200),
    ],
)
def test_the_median_time_counts_those_that_never_arrive(times, expected):
    assert median_time(times) == expected


def test_no_known_time_has_no_median():
    assert math.isnan(median_time([NAN]))


@pytest.mark.parametrize("reached", range(6))
def test_the_median_is_that_of_the_survival_curve(reached):
    times = np.sort(np.random.default_rng(reached).uniform(1, 100, size=reached))
    survival = stats.CensoredData(uncensored=times, right=[100.0] * (5 - reached))
    curve = stats.ecdf(survival).sf
    below = curve.quantiles[curve.probabilities <= 0.5]
    expected = below[0] if len(below) else math.inf
    assert median_time([*times, *[math.inf] * (5 - reached)]) == expected


@pytest.mark.parametrize(
    ("count", "low", "high", "coverage"),
    [(3, 1, 3, 0.75), (5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (10, 2, 9, 0.978515625)],
)
def test_the_interval_of_a_median_is_between_two_of_the_times(count, low, high, coverage):
    times = np.random.default_rng(count).permutation(np.arange(1.0, count + 1))
    assert median_interval(times) == ((low, high), pytest.approx(coverage))
    # The chance that the median is between the k-th of each side, counted by SciPy.
    assert coverage == pytest.approx(1 - 2 * stats.binom.cdf(low - 1, count, 0.5))


def test_the_interval_holds_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    times = rng.lognormal(5, 0.5, size=(4000, 7))
    times[times > 250] = math.inf
    found = [median_interval(one) for one in times]
    held = np.mean([low <= math.exp(5) <= high for (low, high), _ in found])
    assert held == pytest.approx(found[0][1], abs=4 * math.sqrt(0.984 * 0.016 / 4000))


def test_what_never_arrives_leaves_the_interval_open_and_what_is_missing_is_left_out():
    assert median_interval([30, math.inf, 10, NAN, 20, 40]) == ((10, math.inf), 0.9375)
    assert median_interval([NAN]) == ((0, math.inf), 1)
    assert median_interval([5]) == ((5, 5), 0)
