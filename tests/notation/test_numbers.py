import math

import pytest

from gradcli.notation import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.234e-5, "1.23e-05"),
        (0.01234, "0.0123"),
        (12.34, "12.3"),
        (999.4, "999"),
        (999.6, "1.00e+03"),
        (0.99996, "1.00"),
        (0.001, "0.00100"),
        (0.0, "0"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_norms_have_three_significant_digits(value: float, text: str) -> None:
    assert numbers.norm(value) == text


@pytest.mark.parametrize("exponent", range(-40, 39))
def test_an_aligned_norm_is_the_value_to_three_digits_in_a_fixed_frame(exponent: int) -> None:
    value = 4.5678 * 10.0**exponent
    text = numbers.aligned_norm(value)
    assert float(text) == pytest.approx(value, rel=5e-3)
    assert len(text) == numbers.NORM_WIDTH
    assert text.find(".") in (-1, 3)


def test_a_share_that_is_not_all_or_nothing_never_looks_so() -> None:
    assert numbers.share(0.0) == "0%"
    assert numbers.share(1e-6) == "<1%"
    assert numbers.share(1 - 1e-6) == ">99%"
    assert numbers.share(1.0) == "100%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.14, "4.1 s"),
        (9.97, "10 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (math.nan, "-"),
    ],
)
def test_durations_use_the_two_largest_units(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_nouns_agree_with_their_number() -> None:
    assert numbers.count(1, "layer") == "1 layer"
    assert numbers.count(1200, "layer") == "1,200 layers"


def test_a_score_has_four_decimals_unless_it_is_huge() -> None:
    assert numbers.score(0.97914) == "0.9791"
    assert numbers.score(99_999.5) == "99999.5000"
    assert numbers.score(6.8258e26) == "6.83e+26"
    assert numbers.score(math.inf) == "inf"
    assert numbers.score(math.nan) == numbers.ABSENT


@pytest.mark.parametrize("value", [0.0518, 0.00123, 5.18e-5, 12.3, math.nan])
def test_small_numbers_are_written_one_way(value: float) -> None:
    assert numbers.ratio(value) == numbers.known_norm(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123, "+0.0012"),
        (-0.00123, "-0.0012"),
        (-4499842.7608, "-4.50e+06"),
        (65992760.9, "+6.60e+07"),
        (0.0, "0.0000"),
        (-0.00004, "0.0000"),
        (math.inf, "+inf"),
        (math.nan, "-"),
    ],
)
def test_a_change_of_a_score_has_a_sign_unless_it_is_zero(value, text):
    assert numbers.score_change(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 kB"), (1, "1 kB"), (29_269, "30 kB"), (999_001, "1.0 MB"), (9_912_422, "9.9 MB")],
)
def test_no_file_that_holds_anything_looks_empty(size: int, text: str) -> None:
    assert numbers.file_size(size) == text
