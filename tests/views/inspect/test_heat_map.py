import math

import numpy as np
import pytest

from gradcli.views.inspect.heat_map import (
    ASCII_GLYPHS,
    GLYPHS,
    Shades,
    columns_of,
    power_of_ten,
    styled,
)


def text(line) -> str:
    return "".join(segment.text for segment in line)


@pytest.mark.parametrize(
    ("low", "high"), [(-3.2, -1.1), (-12.0, 0.0), (-40.0, 3.0), (0.2, 0.3), (-1.0, -1.0)]
)
@pytest.mark.parametrize("glyphs", [GLYPHS, ASCII_GLYPHS])
def test_the_scale_holds_all_values_and_no_wider_one_was_needed(low, high, glyphs):
    shades = Shades.covering(np.array([[low, high], [math.nan, -math.inf]]), glyphs)
    assert shades.bottom <= low <= high < shades.top
    assert shades.top % shades.decades == 0
    finer = 0.5 if shades.decades == 1 else shades.decades - 1
    if shades.decades > 0.5:
        top = (math.floor(high / finer) + 1) * finer
        assert low < top - len(glyphs) * finer


def test_each_shade_stands_for_its_own_range():
    shades = Shades("abcde", top=1.0, decades=1.0)
    values = np.array([-4.0, -3.01, -3.0, -1.5, 0.0, 0.999, -math.inf, math.nan, math.inf])
    assert shades.draw(values) == "aabcee_!!"
    assert text(shades.legend("ab")) == "a <0.001  b <0.01  c <0.1  d <1  e from 1"


def test_larger_is_never_fainter():
    values = np.sort(np.random.default_rng(0).uniform(-7, 2, 500))
    levels = [GLYPHS.index(glyph) for glyph in Shades.covering(values).draw(values)]
    assert levels == sorted(levels)
    assert len(set(levels)) == len(GLYPHS)


def test_the_legend_names_only_the_symbols_that_occur():
    shades = Shades.covering(np.array([0.5, -2.0]))
    assert "zero" not in text(shades.legend("░"))
    assert text(shades.legend("░_")).endswith("_ exactly zero")
    assert text(shades.legend("!_")).endswith("_ exactly zero  ! not finite")


def test_nothing_known_can_be_drawn():
    unknown = np.array([[math.nan, -math.inf]])
    assert Shades.covering(unknown).draw(unknown[0]) == "!_"


@pytest.mark.parametrize(("bins", "width"), [(1, 7), (3, 7), (7, 7), (20, 7), (100, 7)])
def test_columns_keep_every_bin_and_their_order(bins, width):
    values = np.arange(2 * bins, dtype=float).reshape(2, bins)
    columns = columns_of(values, width)
    assert columns.shape == (2, width)
    assert (np.diff(columns) >= 0).all()
    assert columns[0, -1] == bins - 1
    if bins <= width:
        assert set(columns[0]) == set(values[0])
    else:
        parts = np.split(values[0], [bins * column // width for column in range(1, width)])
        assert columns[0].tolist() == [part.max() for part in parts]


def test_merging_hides_no_nan_and_invents_no_zero():
    bins = np.array([[-math.inf, -1.0, math.nan, -1.0, -math.inf, -math.inf]])
    merged = columns_of(bins, 3)[0]
    assert merged[0] == -1.0
    assert math.isnan(merged[1])
    assert merged[2] == -math.inf


def test_what_has_no_logarithm_is_set_apart_in_style_and_nothing_is_lost():
    pieces = styled("██!!_░")
    assert [piece.text for piece in pieces] == ["██", "!!", "_", "░"]
    assert len({piece.style for piece in pieces}) == 3


@pytest.mark.parametrize(("exponent", "written"), [(0, "1"), (-0.5, "0.32"), (-5, "1e-05")])
def test_powers_of_ten(exponent, written):
    assert power_of_ten(exponent) == written
