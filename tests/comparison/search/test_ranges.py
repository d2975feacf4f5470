"""How the values of a key are spread over its range."""

import math

import pytest

from gradcli.comparison.search import SCALES, Range

RANGES = [
    Range("lr", 1e-5, 3.0),
    Range("lr", 0.1234567, 0.1234999),
    Range("mix", -3.0, 5.0, "linear"),
    Range("momentum", 0.0, 0.9999, "log_from_one"),
    Range("betas.0", 0.5, 0.98, "log_from_one"),
]


@pytest.mark.parametrize("one", RANGES)
def test_a_value_is_within_the_range_and_rises_with_the_position(one):
    values = [one.value(step / 200) for step in range(201)]
    assert values == sorted(values)
    assert all(one.low <= value <= one.high for value in values)
    assert values[0] == pytest.approx(one.low, rel=5e-3)
    assert values[-1] == pytest.approx(one.high, rel=5e-3)


def test_a_log_scale_goes_by_factors():
    assert [Range("lr", 1e-4, 1.0).value(step / 4) for step in range(5)] == [
        *(1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    ]


def test_a_linear_scale_goes_by_equal_steps():
    assert [Range("x", 0, 8, "linear").value(step / 4) for step in range(5)] == [0, 2, 4, 6, 8]


def test_what_is_missing_to_one_goes_by_factors():
    momentum = Range("momentum", 0.0, 0.9999, "log_from_one")
    assert [momentum.value(step / 4) for step in range(5)] == [0, 0.9, 0.99, 0.999, 0.9999]


@pytest.mark.parametrize("scale", SCALES)
def test_a_value_is_what_a_person_would_type(scale):
    one = Range("key", 0.012, 0.98, scale)
    for step in range(101):
        value = one.value(step / 100)
        typed = 1 - value if scale == "log_from_one" else value
        assert float(f"{typed:.3g}") == pytest.approx(typed, rel=1e-12)
        assert len(repr(value)) <= len("0.000123")


@pytest.mark.parametrize("one", RANGES[2:] + RANGES[:1])
def test_the_position_of_a_value_is_where_it_was_taken(one):
    for step in range(11):
        rounded = 2e-3  # of three digits, on a range of more than a decade or so
        assert one.position(one.value(step / 10)) == pytest.approx(step / 10, abs=rounded)


@pytest.mark.parametrize("scale", SCALES)
def test_a_value_outside_has_a_position_outside(scale):
    one = Range("key", 0.1, 0.9, scale)
    assert one.position(0.05) < 0
    assert one.position(0.95) > 1


@pytest.mark.parametrize(
    ("low", "high", "scale", "words"),
    [
        (1.0, 1.0, "log", "low must be below high"),
        (2.0, 1.0, "linear", "low must be below high"),
        (0.0, 1.0, "log", "above 0 with scale log, and it is 0"),
        (0.5, 1.0, "log_from_one", "below 1 with scale log_from_one"),
        (0.0, math.inf, "linear", "finite"),
        (math.nan, 1.0, "linear", "finite"),
        (0.1, 1.0, "logarithmic", "no scale 'logarithmic': log, linear, log_from_one"),
    ],
)
def test_a_range_that_cannot_be_is_refused(low, high, scale, words):
    with pytest.raises(ValueError, match=words):
        Range("lr", low, high, scale)
