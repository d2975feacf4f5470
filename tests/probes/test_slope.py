"""The line through the logarithms."""

import math

import numpy as np
import pytest

from gradcli.probes.measuring.slope import log_slope


def test_a_geometric_sequence_has_its_ratio_as_slope():
    slope = log_slope([3.0 * 10 ** (-0.7 * k) for k in range(9)])
    assert slope.decades == pytest.approx(-0.7)
    assert slope.r_squared == pytest.approx(1.0)
    assert slope.points == 9


def test_it_is_the_line_of_least_squares():
    values = np.random.default_rng(0).lognormal(size=12)
    slope, intercept = np.polyfit(np.arange(12), np.log10(values), 1)
    residual = np.log10(values) - intercept - slope * np.arange(12)
    found = log_slope(values.tolist())
    assert found.decades == pytest.approx(slope)
    assert found.r_squared == pytest.approx(1 - residual.var() / np.log10(values).var())


def test_zeros_and_what_is_not_finite_are_left_out_but_keep_their_place():
    slope = log_slope([1.0, 0.0, 0.01, math.nan, math.inf, 1e-5])
    assert slope.points == 3
    assert slope.decades == pytest.approx(-1.0)


def test_a_constant_has_slope_zero_and_one_value_none():
    assert log_slope([2.0, 2.0, 2.0]).decades == 0.0
    assert math.isnan(log_slope([2.0, 2.0, 2.0]).r_squared)
    assert math.isnan(log_slope([0.0, 2.0]).decades)
