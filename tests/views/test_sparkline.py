import numpy as np
import pytest

from gradcli.views.sparkline import LEVELS, NOT_FINITE, ZERO, BoundedSeries, sparklines


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 1000])
def test_a_series_never_holds_more_than_its_capacity(rows: int) -> None:
    series = BoundedSeries(2, capacity=8)
    for row in range(rows):
        series.append(np.full((1, 2), float(row)))
        assert len(series.points()) <= 8
    assert series.points().shape == (len(series.points()), 2)
    assert (len(series.points()) > 0) == (rows > 0)


def test_points_are_the_means_of_equal_stretches_of_rows() -> None:
    values = np.random.default_rng(0).normal(size=(1003, 1))
    series = BoundedSeries(1, capacity=8)
    series.append(values)
    size = series.rows_per_point
    expected = [values[start : start + size].mean() for start in range(0, 1003, size)]
    np.testing.assert_allclose(series.points()[:, 0], expected)


def test_the_division_into_blocks_does_not_matter() -> None:
    values = np.random.default_rng(1).normal(size=(500, 3))
    whole, parts = BoundedSeries(3, capacity=16), BoundedSeries(3, capacity=16)
    whole.append(values)
    for start in range(0, 500, 37):
        parts.append(values[start : start + 37])
    np.testing.assert_allclose(whole.points(), parts.points())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_in_a_hundred_thousand_is_still_seen(bad: float) -> None:
    values = np.ones((100_000, 1))
    values[54_321] = bad
    series = BoundedSeries(1)
    series.append(values)
    for width in (5, 40, 500):
        assert NOT_FINITE in sparklines(series.points(), width, log=True, least_span=2)[0]


@pytest.mark.parametrize("count", [0, 1, 5, 20, 97])
@pytest.mark.parametrize("log", [False, True])
def test_a_sparkline_is_exactly_as_wide_as_asked(count: int, log: bool) -> None:
    points = np.random.default_rng(2).uniform(size=(count, 3))
    assert [len(line) for line in sparklines(points, 20, log=log, least_span=1.5)] == [20] * 3


def test_a_rise_goes_from_the_lowest_level_to_the_highest() -> None:
    line = sparklines(np.arange(1.0, 9.0)[:, None], 8, least_span=0.1)[0]
    assert line == LEVELS


def test_equal_ratios_are_equal_steps_on_a_log_scale() -> None:
    assert sparklines(10.0 ** np.arange(8)[:, None], 8, log=True, least_span=2)[0] == LEVELS


def test_a_constant_and_noise_below_the_least_span_stay_flat() -> None:
    constant = sparklines(np.full((8, 1), 3.0), 8, log=True, least_span=2)[0]
    assert len(set(constant)) == 1
    noise = 3.0 + 0.01 * np.sin(np.arange(30.0))[:, None]
    assert len(set(sparklines(noise, 30, log=True, least_span=2)[0])) <= 2


def test_zero_has_its_own_sign_on_a_log_scale_only() -> None:
    points = np.array([[0.0], [1.0]])
    assert sparklines(points, 2, log=True, least_span=2)[0][0] == ZERO
    assert sparklines(points, 2, least_span=0.1)[0] == LEVELS[0] + LEVELS[-1]


def test_nothing_finite_is_drawn_as_nothing_finite() -> None:
    points = np.array([[np.nan], [np.inf], [-np.inf]])
    assert sparklines(points, 3, log=True, least_span=2) == [NOT_FINITE * 3]
