"""The numbers of a report against the records that they come from."""

import json
import re

import numpy as np
import pytest

from gradcli.views.report.chart import Chart, Series, chart_figure, plain
from gradcli.views.report.layer_map import LayerMap, layer_maps, most_bins


def data_of(text, attribute):
    pattern = rf'<script type="application/json" {attribute}="[^"]*">(.*?)</script>'
    (found,) = re.findall(pattern, text)
    return json.loads(found)


def chart(*series, **more):
    return Chart("loss", "Loss.", "step", "loss", series, **more)


def test_series_with_different_places_share_an_axis():
    one = Series("a", np.array([1.0, 2, 4]), np.array([10.0, 20, 40]))
    other = Series("b", np.array([2.0, 3]), np.array([5.0, np.nan]), points=True)
    drawn = data_of(chart_figure(chart(one, other)), "data-for")
    assert drawn["x"] == [1, 2, 3, 4]
    assert [series["values"] for series in drawn["series"]] == [
        [10, 20, None, 40],
        [None, 5, None, None],
    ]


@pytest.mark.parametrize(("values", "is_log"), [([1.0, 9], False), ([1.0, 10], True)])
def test_a_log_scale_is_for_values_over_a_decade(values, is_log):
    series = Series("a", np.arange(2.0), np.array(values))
    assert data_of(chart_figure(chart(series, y_scale="log")), "data-for")["yLog"] == is_log


def test_what_has_no_logarithm_is_a_gap():
    series = Series("a", np.arange(4.0), np.array([0.0, -1, 1, 100]))
    drawn = data_of(chart_figure(chart(series, y_scale="log")), "data-for")
    assert drawn["series"][0]["values"] == [None, None, 1, 100]


def test_without_a_finite_value_there_is_no_chart():
    assert chart_figure(chart(Series("a", np.arange(2.0), np.array([np.nan, np.inf])))) == ""


def test_numbers_keep_six_digits():
    assert plain(np.array([1 / 3, 2.0, np.nan, -np.inf, 1e-9])) == [0.333333, 2, None, None, 1e-9]


def cells_of(picture):
    """Which cells each class of a map covers, by the paths of the picture."""
    covered = {}
    for path, name in re.findall(r'<path d="([^"]*)" class="([^"]*)">', picture):
        for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
            for column in range(int(x), int(x) + int(width)):
                assert (column, int(y)) not in covered
                covered[column, int(y)] = name
    return covered


def test_a_map_covers_each_cell_once_with_the_colour_of_its_value():
    generator = np.random.default_rng(0)
    values = 10 ** generator.uniform(-3, 1, (30, 5))
    values[3, 1], values[4, 2], values[5, 3] = 0, np.nan, np.inf
    steps = np.arange(1, 31)
    text = layer_maps(
        [LayerMap("m", "norm", steps, steps, values)], list("abcde"), "Map.", {}, (-3.0, 1.0)
    )
    covered = cells_of(text)
    assert set(covered) == {(x, y) for x in range(30) for y in range(5)}
    assert covered.pop((3, 1)) == "zero"
    assert covered.pop((4, 2)) == covered.pop((5, 3)) == "bad"
    for (x, y), name in covered.items():
        assert int(name[1:]) == min(int((np.log10(values[x, y]) + 3) / 4 * 24), 23)
    numbers = data_of(text, "data-map")
    shown = np.array(numbers["values"], dtype=float).T
    finite = np.isfinite(values)
    np.testing.assert_allclose(shown[finite], values[finite], rtol=5e-4)
    assert np.isnan(shown[~finite]).all()


@pytest.mark.parametrize("layers", [1, 6, 60, 400])
def test_a_map_is_bounded_in_size(layers):
    assert 40 <= most_bins(layers) <= 240
