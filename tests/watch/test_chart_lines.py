"""The lines of the charts: which values, on which axis, with which symbols and ticks."""

import numpy as np
import pytest

from gradcli.watch.chart_lines import (
    Chart,
    ChartLine,
    chart_of,
    charts_beside,
    drawn_points,
    step_label,
    symbol_places,
    tick_label,
    tick_values,
    value_limits,
    within_edges,
)
from gradcli.watch.run_course import RunCourse


@pytest.fixture
def course(open_run, make_steps, make_eval):
    path, writer = open_run()
    writer.write(make_steps(1, 40, coefficient=0.5))
    writer.write(make_eval(20))
    writer.write(make_eval(40, score=0.95))
    writer.write(make_eval(40, "test", 0.8))
    course = RunCourse(path)
    course.look()
    return course


def test_the_loss_is_that_of_training_and_of_validation(course):
    chart = chart_of(course, "loss")
    assert chart.title == "loss"
    assert chart.is_log  # from 1 to 1/40
    train, val = chart.lines
    assert (train.symbol, val.symbol) == ("", "●")
    assert train.x.tolist() == [*range(1, 41)]
    assert 10**train.y == pytest.approx(1 / train.x)
    assert val.x.tolist() == [20, 40]
    assert 10**val.y == pytest.approx([2 / 20, 2 / 40])
    assert chart.legend == "─train 0.0250 ●val 0.0500"


def test_the_score_has_a_linear_axis(course):
    chart = chart_of(course, "score")
    assert (chart.title, chart.is_log) == ("accuracy", False)
    val, test = chart.lines
    assert val.y.tolist() == [0.9, 0.95]
    assert (test.symbol, test.y.tolist()) == ("■", [0.8])


def test_the_norm_is_shown_before_and_after_clipping(course, open_run, make_steps):
    before, after = chart_of(course, "norm").lines
    assert 10**before.y == pytest.approx(5 / before.x)
    assert 10**after.y == pytest.approx(2.5 / after.x)
    assert (before.symbol, after.symbol) == ("", "+")
    path, writer = open_run("20260102T000000Z-unclipped-2222")
    writer.write(make_steps(1, 4))
    unclipped = RunCourse(path)
    unclipped.look()
    assert [line.label for line in chart_of(unclipped, "norm").lines] == ["norm"]


def test_runs_beside_each_other_bear_letters(course):
    for quantity in ("loss", "score", "norm"):
        chart = charts_beside([course, course], "AB", quantity)
        assert [line.symbol for line in chart.lines] == ["A", "B"]
        assert chart.legend == ""
        assert chart.missing == ""


def test_what_is_missing_is_said(open_run):
    path, _ = open_run()
    course = RunCourse(path)
    course.look()
    assert chart_of(course, "loss").missing == "no step yet"
    assert chart_of(course, "score").missing == "not evaluated yet"
    assert charts_beside([course], "A", "score").missing == "not evaluated yet"


def test_values_that_are_not_finite_are_not_drawn_but_said(open_run, make_steps):
    path, writer = open_run()
    steps = make_steps(1, 4)
    steps.loss[3] = np.nan
    writer.write(steps)
    course = RunCourse(path)
    course.look()
    chart = chart_of(course, "loss")
    assert chart.lines[0].x.tolist() == [1, 2, 3]
    assert chart.legend == "─train nan"
    steps.loss[:] = np.inf
    path, writer = open_run("20260102T000000Z-blown-2222")
    writer.write(steps)
    course = RunCourse(path)
    course.look()
    assert chart_of(course, "loss").missing == "no finite value"


def line(values):
    return ChartLine("", np.arange(len(values), dtype=float), np.array(values, dtype=float))


def test_a_constant_has_room_above_and_below():
    assert value_limits(Chart("", "", (line([0.5, 0.5]),), False)) == (0.45, 0.55)
    assert value_limits(Chart("", "", (line([-2.0]),), False)) == (-2.2, -1.8)
    assert value_limits(Chart("", "", (line([0.0]),), False)) == (-1, 1)
    assert value_limits(Chart("", "", (line([0.5, 0.6]),), False)) is None
    assert value_limits(Chart("", "", (), False)) is None


def test_the_far_ends_are_moved_in_by_less_than_a_dot():
    (moved,) = within_edges([line([1.0, 5.0, 3.0])])
    assert moved.x[-1] < 2
    assert moved.y[1] < 5
    assert moved.x == pytest.approx([0, 1, 2], abs=1e-5)
    assert moved.y == pytest.approx([1, 5, 3], abs=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 11, 12, 13, 100, 513])
def test_symbols_stand_evenly_and_on_the_last_point(count):
    places = symbol_places(count)
    assert places == sorted(set(places))
    assert len(places) == min(count, 12)
    assert not count or (places[0], places[-1]) == (0, count - 1)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 1, 3, [0, 0.5, 1]),
        (2.27, 2.44, 3, [2.3, 2.35, 2.4]),
        (1, 96, 2, [50]),
        (1, 40, 2, [20, 40]),
        (1, 3780, 3, [1000, 2000, 3000]),
        (-3, 7, 4, [0, 5]),
        (0.1, 0.1, 4, []),
        (0, 1, 0, []),
    ],
)
def test_ticks_are_round(low, high, most, ticks):
    assert tick_values(low, high, most, is_log=False) == pytest.approx(ticks)


def test_ticks_of_a_logarithmic_axis_are_powers_of_ten_or_1_2_5():
    assert tick_values(-4.5, 1.2, 6, is_log=True) == [-4, -3, -2, -1, 0, 1]
    assert tick_values(-4.5, 1.2, 3, is_log=True) == [-4, -2, 0]
    ticks = tick_values(np.log10(0.15), np.log10(0.6), 4, is_log=True)
    assert [tick_label(one, is_log=True) for one in ticks] == ["0.2", "0.5"]


def test_ticks_of_any_axis_lie_within_it_and_are_few():
    draw = np.random.default_rng(0)
    for _ in range(500):
        low = draw.normal(scale=10.0 ** draw.integers(-6, 6))
        high = low + abs(draw.normal(scale=10.0 ** draw.integers(-6, 6)))
        most = int(draw.integers(1, 8))
        for is_log in (False, True):
            ticks = tick_values(low, high, most, is_log=is_log)
            slack = 1e-9 * max(abs(low), abs(high), 1)
            assert all(low - slack <= one <= high + slack for one in ticks)
            assert len(ticks) <= max(most, 2) + 1


def test_labels_are_short():
    assert [step_label(one) for one in (0, 800, 1500, 12_000, 1_500_000)] == [
        "0", "800", "1.5k", "12k", "1.5M",
    ]  # fmt: skip
    assert [tick_label(one, is_log=False) for one in (0.5, 2.35, 0.9985)] == [
        "0.5",
        "2.35",
        "0.9985",
    ]
    assert [tick_label(one, is_log=True) for one in (-12, 0, 3)] == ["1e-12", "1", "1000"]


@pytest.mark.parametrize("count", [1, 100, 513, 5000])
def test_fewer_points_look_the_same(count):
    draw = np.random.default_rng(count)
    whole = ChartLine("", np.arange(count, dtype=float), draw.normal(size=count))
    few = drawn_points(whole, 40)
    assert len(few.x) <= max(2 * 40 + 2, 1)
    assert set(zip(few.x, few.y, strict=True)) <= set(zip(whole.x, whole.y, strict=True))
    assert (few.x[0], few.x[-1]) == (whole.x[0], whole.x[-1])
    assert len(drawn_points(whole, 0).x) <= 4
    columns = np.minimum((40 * whole.x / max(whole.x[-1], 1)).astype(int), 39)
    kept = np.isin(whole.x, few.x)
    for column in set(columns):
        values = whole.y[columns == column]
        shown = whole.y[(columns == column) & kept]
        assert (shown.min(), shown.max()) == (values.min(), values.max())
