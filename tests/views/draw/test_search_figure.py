"""The picture of a search."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison.search import Range, Sobol
from gradcli.records import Metric
from gradcli.views.draw.arm_marks import look_at
from gradcli.views.draw.saving import save_figure
from gradcli.views.draw.search_figure import (
    BEYOND_ENDS,
    LEAST_TICK_GAP,
    MOST_ARMS,
    DrawnSearch,
    best_so_far,
    range_ticks,
    search_figure,
)

ACCURACY = Metric("accuracy", "maximize")
LOSS = Metric("cross_entropy", "minimize")
RANGES = (
    Range("lr", 2e-4, 2e-2),
    Range("schedule.warmup", 0.0, 0.2, "linear"),
    Range("betas.0", 0.5, 0.98, "log_from_one"),
)
STATUSES = ("finished", "stopped", "diverged", "finished", "finished", "stopped")
SCORES = (0.91, 0.5, math.nan, 0.9, 0.95, 0.6)


@pytest.fixture
def search():
    settings = Sobol().propose(RANGES, [], count=6, total=6, seed=0)
    return DrawnSearch("adamw", 1, RANGES, tuple(settings), SCORES, STATUSES, 4)


def drawn_points(axes):
    """The points of a panel by marker and face: their places across, and up."""
    found = {}
    for line in axes.lines:
        kind = (line.get_marker(), line.get_markerfacecolor())
        found[kind] = (list(line.get_xdata()), list(line.get_ydata()))
    return found


def texts_of_legend(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_each_key_has_a_panel_with_every_setting(search):
    figure = search_figure([search], ACCURACY, "mlp")
    *panels, _ = figure.axes
    assert [axes.get_xlabel() for axes in panels] == [one.key for one in RANGES]
    color = look_at(search.place).color
    for axes, one, place in zip(panels, RANGES, range(3), strict=True):
        at = [one.position(setting[place][1]) for setting in search.settings]
        points = drawn_points(axes)
        assert points["o", color] == ([at[0], at[3], at[4]], [0.91, 0.9, 0.95])
        assert points["o", "white"] == ([at[1], at[5]], [0.5, 0.6])
        assert points["o", "none"] == ([at[4]], [0.95]), "the chosen one has a ring"
        assert points["x", color][0] == [at[2]]


@pytest.mark.parametrize(("metric", "where"), [(ACCURACY, "below"), (LOSS, "above")])
def test_what_diverged_is_beyond_the_worst_score(search, metric, where):
    figure = search_figure([search], metric, "mlp")
    axes = figure.axes[0]
    (height,) = drawn_points(axes)["x", look_at(1).color][1]
    in_axes = axes.transData + axes.transAxes.inverted()
    scores = [in_axes.transform((0, score))[1] for score in SCORES if not math.isnan(score)]
    assert min(scores) > 0
    assert max(scores) < 1
    assert 0 < height < min(scores) if where == "below" else max(scores) < height < 1


def test_all_panels_have_one_scale_of_scores(search):
    worse = replace(search, name="b", place=0, scores=tuple(score / 2 for score in SCORES))
    *panels, _ = search_figure([search, worse], ACCURACY, "mlp").axes
    limits = {axes.get_ylim() for axes in panels}
    assert len(panels) == 6
    assert len(limits) == 1
    ((low, high),) = limits
    assert low < 0.25
    assert high > 0.95


def test_the_legend_names_only_the_marks_that_are_drawn(search):
    assert texts_of_legend(search_figure([search], ACCURACY, "mlp")) == [
        *("ran to its end", "stopped early", "diverged", "chosen")
    ]
    plain = replace(search, statuses=("finished",) * 6, scores=(0.9,) * 6, chosen=None)
    assert texts_of_legend(search_figure([plain], ACCURACY, "mlp")) == ["ran to its end"]


def test_the_best_so_far_is_that_of_whole_trials(search):
    nan = math.nan
    assert list(best_so_far(search, ACCURACY)) == [0.91, 0.91, 0.91, 0.91, 0.95, 0.95]
    assert list(best_so_far(search, LOSS)) == [0.91, 0.91, 0.91, 0.9, 0.9, 0.9]
    late = replace(search, statuses=("stopped", "diverged", *STATUSES[2:]))
    np.testing.assert_equal(best_so_far(late, ACCURACY), [nan, nan, nan, 0.9, 0.95, 0.95])


def test_the_names_of_all_arms_are_beside_their_curves(search):
    arms = [replace(search, name=f"arm{place}", place=place) for place in range(MOST_ARMS + 3)]
    figure = search_figure(arms, ACCURACY, "mlp")
    *panels, curves = figure.axes
    assert len(panels) == MOST_ARMS * 3
    assert {text.get_text() for text in curves.texts} == {one.name for one in arms}
    heights = sorted(text.xyann[1] for text in curves.texts)
    assert min(np.diff(heights)) > 0.08
    assert f"the best {MOST_ARMS} arms" in figure.get_suptitle()


def test_an_arm_with_fewer_keys_has_fewer_panels(search):
    lone = replace(
        search, name="sgd", ranges=RANGES[:1], settings=tuple(one[:1] for one in search.settings)
    )
    *panels, _ = search_figure([lone, search], ACCURACY, "mlp").axes
    assert [axes.get_title(loc="left") for axes in panels] == ["sgd", "adamw", "", ""]


@pytest.mark.parametrize("metric", [ACCURACY, LOSS])
def test_a_search_without_any_score_is_drawn_without_numbers_of_scores(search, metric, tmp_path):
    dead = replace(
        search, scores=(math.nan,) * 6, statuses=("diverged",) * 6, chosen=None, name=r"$\bad$"
    )
    figure = search_figure([dead], metric, "mlp")
    assert all(len(axes.get_yticks()) == 0 for axes in figure.axes)
    save_figure(figure, tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("one", "ticks"),
    [
        (Range("lr", 1e-4, 1.0), [1e-4, 0.01, 1.0]),
        (RANGES[0], [0.0002, 0.001, 0.01]),
        (RANGES[1], [0.0, 0.1, 0.2]),
        (RANGES[2], [0.5, 0.9, 0.98]),
        (Range("momentum", 0.0, 0.999, "log_from_one"), [0.0, 0.9, 0.99, 0.999]),
        (Range("clip_factor", 0.01, 0.16), [0.01, 0.1]),
    ],
)
def test_ticks_are_round_values_of_the_range(one, ticks):
    found = range_ticks(one)
    assert len(found) >= 2
    places = [one.position(tick) for tick in found]
    assert all(b - a >= LEAST_TICK_GAP for a, b in itertools.pairwise(places))
    assert min(places) >= -BEYOND_ENDS
    assert max(places) <= 1 + BEYOND_ENDS
    assert found == ticks
