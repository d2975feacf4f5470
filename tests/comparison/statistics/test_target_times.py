"""When a target is reached, and the middle of such times."""

import math

import pytest

from gradcli.comparison.statistics import median_time, time_to_target

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
