import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison.results import TrialRecords
from gradcli.comparison.statistics import summarise_scores
from gradcli.records import EvalRecord
from gradcli.views.draw import comparison_figures
from gradcli.views.draw.arm_marks import accuracy_ticks, apart, listed, look, subject
from gradcli.views.draw.comparison_figures import (
    LOSS_BINS,
    loss_curves,
    plot_comparison,
    score_curves,
)
from gradcli.views.draw.learning_rate_figure import learning_rates_figure
from gradcli.views.draw.target_figure import target_figure

NEVER = {"steps_to_target": math.inf, "seconds_to_target": math.inf}
ALL = ["learning_curves.png", "learning_rates.png", "gradient_norms.png", "time_to_target.png"]


def evaluation(step: int, accuracy: float, split: str = "val") -> EvalRecord:
    return EvalRecord(step, 1, split, 0.1, accuracy, 0.1, 1.0, 1.0)


@pytest.fixture
def make_records(make_info, make_steps):
    """Build a trial's records; one loss per step."""

    def make(trial, losses=None, evals=None) -> TrialRecords:
        losses = np.geomspace(2.3, 0.1, 40) if losses is None else np.asarray(losses)
        norms = np.multiply.outer(losses, [0.5, 1.0, 2.0])
        return TrialRecords(
            trial=trial,
            info=make_info(),
            steps=make_steps(norms, loss=losses),
            evals=(evaluation(len(losses), trial.val_score),) if evals is None else evals,
        )

    return make


def test_every_picture_is_drawn(tmp_path, monkeypatch, make_comparison, make_records):
    # No global figure is made: importing pyplot now fails.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    summary = make_comparison()
    paths = plot_comparison(tmp_path, summary, [make_records(one) for one in summary.trials])
    assert [path.name for path in paths] == ALL
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")


CASES = {
    "diverged": ("diverged", [2.0, 50.0, math.nan], ()),
    "one step": ("finished", [2.0], None),
    "infinite": ("diverged", [math.inf], ()),
    "no evaluation": ("finished", [2.0, 1.0], ()),
}


@pytest.mark.parametrize("case", CASES)
def test_every_comparison_can_be_drawn(tmp_path, make_comparison, make_records, case):
    status, losses, evals = CASES[case]
    summary = make_comparison()
    trials = tuple(
        replace(one, status=status, measured=one.measured | NEVER) for one in summary.trials
    )
    ranking = tuple(
        replace(arm, diverged=3, measured=arm.measured | NEVER) for arm in summary.ranking
    )
    summary = replace(summary, trials=trials, ranking=ranking)
    records = [make_records(one, losses, evals) for one in trials]
    drawn = [path.name for path in plot_comparison(tmp_path, summary, records)]
    assert drawn == ALL[:-1], "nobody reached the target: that picture would be empty"


def test_nothing_is_drawn_of_nothing(tmp_path, make_comparison, make_records, make_trial):
    tuning_only = [make_records(make_trial(stage="tuning"))]
    assert plot_comparison(tmp_path, make_comparison(tuning=(), trials=()), tuning_only) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("diverged", [True, False])
def test_the_legend_names_a_mark_if_there_is_one(make_comparison, diverged):
    summary = make_comparison()
    tuning = tuple(one for one in summary.tuning if diverged or one.status != "diverged")
    assert any(one.status == "diverged" for one in tuning) is diverged
    figure = learning_rates_figure(replace(summary, tuning=tuning))
    (legend,) = figure.legends
    assert ("diverged" in [text.get_text() for text in legend.get_texts()]) is diverged


def test_many_arms_can_be_drawn(tmp_path, make_comparison, make_comparison_info, make_records):
    names = [f"adam#{place}" for place in range(20)]
    summary = make_comparison(info=make_comparison_info(names))
    arm, trial, grid = summary.ranking[0], summary.trials[0], summary.tuning[:5]
    summary = replace(
        summary,
        ranking=tuple(replace(arm, name=name) for name in names),
        trials=tuple(replace(trial, arm=name) for name in names),
        tuning=tuple(replace(cell, arm=name) for name in names for cell in grid),
    )
    records = [make_records(one) for one in summary.trials]
    assert len(plot_comparison(tmp_path, summary, records)) == 4


def colors_and_markers(axes):
    return [(line.get_color(), line.get_marker()) for line in axes.lines if len(line.get_xdata())]


@pytest.fixture
def draw_arms(make_comparison, make_comparison_info, make_records):
    """Draw the learning curves and the learning rates of this many arms."""

    def draw(count, reach=390.0, **changes):
        names = [f"arm{place}" for place in range(count)]
        info = replace(make_comparison_info(names), **changes)
        summary = make_comparison(info=info)
        arm, trial, grid = summary.ranking[0], summary.trials[0], summary.tuning[:5]
        summary = replace(
            summary,
            ranking=tuple(replace(arm, name=name) for name in names),
            trials=tuple(replace(trial, arm=name) for name in names),
            tuning=tuple(replace(cell, arm=name) for name in names for cell in grid),
        )
        measured = {one.arm: [make_records(one)] for one in summary.trials}
        return (
            summary,
            comparison_figures._curves_figure(summary, measured),
            learning_rates_figure(summary),
            target_figure(summary),
        )

    return draw


@pytest.mark.parametrize("count", [3, 8, 12, 30])
def test_no_two_arms_share_colour_and_marker(draw_arms, count):
    summary, curves, rates, target = draw_arms(count)
    looks = {
        (look(summary, arm.name).color, look(summary, arm.name).marker) for arm in summary.ranking
    }
    assert len(looks) == count
    for axes in curves.axes:
        assert looks <= set(colors_and_markers(axes))
    assert looks <= set(colors_and_markers(rates.axes[0]))
    assert all(looks <= set(colors_and_markers(axes)) for axes in target.axes)


@pytest.mark.parametrize("count", [2, 3, 8, 12])
def test_no_name_or_legend_covers_a_picture(draw_arms, count):
    """So that none lies on a line; what is written in the pictures themselves is on a free row."""
    _, curves, rates, _ = draw_arms(count)
    for figure in (curves, rates):
        figure.draw_without_rendering()
        boxes = [axes.get_window_extent() for axes in figure.axes]
        texts = [text for axes in figure.axes for text in axes.texts]
        legends = [legend.get_window_extent() for legend in figure.legends]
        assert all(axes.get_legend() is None for axes in figure.axes)
        # Of an annotation only the text: its leader goes to the line.
        extents = [super(type(text), text).get_window_extent() for text in texts]
        assert (legends and extents) or count > 6
        for extent in (*legends, *extents):
            assert not any(extent.overlaps(box) for box in boxes)


def test_many_arms_are_named_in_a_legend_with_their_marks(draw_arms):
    _, _, few, _ = draw_arms(6)
    _, _, many, _ = draw_arms(7)
    assert [len(figure.legends) for figure in (few, many)] == [1, 2]
    assert [len(figure.axes[0].texts) for figure in (few, many)] == [6, 0]
    assert len(many.legends[0].get_texts()) == 7


def test_titles_name_the_model_unless_it_is_compared(draw_arms, make_comparison):
    _, *figures = draw_arms(3)
    assert all("mlp" in figure.get_suptitle() for figure in figures)
    summary = make_comparison()
    arms = tuple(replace(arm, overrides=("model=cnn",)) for arm in summary.info.arms)
    several = replace(summary, info=replace(summary.info, arms=arms))
    assert subject(several) == "several models, mnist 50,000 images"


def test_a_long_list_of_arms_is_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdef")) == "a, b, c and 3 more"


@pytest.mark.parametrize("scores", [[0.99], [0.99] * 3, [0.98, 0.99]])
def test_the_bar_of_an_interval_is_its_ends_or_none(make_comparison, scores):
    summary = make_comparison()
    first, *others = summary.ranking
    fresh = replace(first, val_score=summarise_scores(scores, (0.0, 1.0)))
    figure = learning_rates_figure(replace(summary, ranking=(fresh, *others)))
    (bar,) = figure.axes[0].collections[0].get_paths()
    low, high = bar.vertices[:, 1]
    ends = fresh.val_score.ci95
    assert (low, high) == pytest.approx(ends if math.isfinite(ends[0]) else (0.99, 0.99))


def test_a_long_interval_does_not_squeeze_the_scores(make_comparison):
    """Two seeds may have one from 0.2 to 1, which is as high as ten scores apart."""
    summary = make_comparison()
    first, *others = summary.ranking
    fresh = replace(first.val_score, ci95=(0.2, 1.0))
    figure = learning_rates_figure(
        replace(summary, ranking=(replace(first, val_score=fresh), *others))
    )
    figure.draw_without_rendering()
    (axes,) = figure.axes
    scores = [one.val_score for one in summary.tuning if math.isfinite(one.val_score)]
    scores += [arm.val_score.mean for arm in summary.ranking]
    to_axes = axes.transScale + axes.transLimits
    heights = [to_axes.transform((0.01, score))[1] for score in (min(scores), max(scores))]
    assert heights[1] - heights[0] > 0.5


def test_the_ticks_of_steps_are_whole(make_comparison, make_records):
    summary = make_comparison()
    measured = {one.arm: [make_records(one, [1.0] * 9)] for one in summary.trials}
    for figure in (
        comparison_figures._norms_figure(summary, measured),
        comparison_figures._curves_figure(summary, measured),
    ):
        figure.draw_without_rendering()
        ticks = [tick for axes in figure.axes[:2] for tick in axes.get_xticks()]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def test_a_name_is_broken_between_its_words(make_comparison):
    summary = make_comparison()
    name = "adam augment=none model.hidden=[64,64]"

    def renamed(arm: str) -> str:
        return name if arm == "adam" else arm

    info = replace(
        summary.info,
        arms=tuple(replace(one, name=renamed(one.name)) for one in summary.info.arms),
    )
    summary = replace(
        summary,
        info=info,
        ranking=tuple(replace(one, name=renamed(one.name)) for one in summary.ranking),
        tuning=tuple(replace(one, arm=renamed(one.arm)) for one in summary.tuning),
    )
    texts = [text.get_text() for text in learning_rates_figure(summary).axes[0].texts]
    assert "adam augment=none\nmodel.hidden=[64,64]\nlr 0.002" in texts


def test_a_panel_without_anything_is_left_out(make_comparison, make_records):
    summary = make_comparison()
    whole = {one.arm: [make_records(one)] for one in summary.trials}
    blind = {one.arm: [make_records(one, evals=())] for one in summary.trials}
    sizes = [
        len(comparison_figures._curves_figure(summary, measured).axes)
        for measured in (whole, blind)
    ]
    assert sizes == [2, 1]


def test_an_arm_that_never_finished_is_drawn_up_to_its_end(make_comparison, make_records):
    summary = make_comparison()
    measured = {
        one.arm: [make_records(replace(one, status="diverged"), [2.0, 50.0, math.nan])]
        for one in summary.trials
    }
    (axes,) = comparison_figures._curves_figure(summary, measured).axes
    assert "no trial of adam, rmsprop, sgd finished" in axes.get_title()
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in axes.lines)


# What is drawn -------------------------------------------------------------------------------


def test_a_loss_curve_keeps_the_mean_of_every_trial(make_records, make_trial):
    losses = np.random.default_rng(0).uniform(0.1, 1, (2, 10 * LOSS_BINS)).astype(np.float32)
    step, curves = loss_curves([make_records(make_trial(), row) for row in losses])
    assert step.shape == (LOSS_BINS,)
    expected = losses.astype(np.float64).reshape(2, LOSS_BINS, 10).mean(axis=2)
    np.testing.assert_allclose(curves, expected)
    np.testing.assert_allclose(step[:2], [5.5, 15.5])


def test_accuracies_are_on_validation_if_all_trials_have_one(make_records, make_trial):
    first = make_records(
        make_trial(), evals=(evaluation(10, 0.9), evaluation(20, 0.95), evaluation(20, 0.5, "test"))
    )
    second = make_records(make_trial(), evals=(evaluation(20, 0.97),))
    step, curves = score_curves([first, second])
    assert step.tolist() == [20]
    assert curves.tolist() == [[0.95], [0.97]]


@pytest.mark.parametrize(
    "heights", [[0.5], [0.2, 0.8], [0.5, 0.5, 0.5], [0.9, 0.1, 0.12, 0.11], [-3.0, 0.0, 4.0], []]
)
def test_labels_keep_apart_in_order_and_within_the_picture(heights):
    moved = apart(heights, 0.1)
    assert len(moved) == len(heights)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(moved)[order]) >= 0.1 - 1e-9).all()
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in moved)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.09, 0.985, [0.1, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98]),
        (0.94, 0.982, [0.94, 0.95, 0.96, 0.97, 0.975, 0.98]),
        (0.971, 0.974, []),
    ],
)
def test_accuracies_marked_are_round_and_have_room(low, high, ticks):
    assert accuracy_ticks(low, high) == ticks


def test_labels_that_are_apart_stay_where_they_are():
    assert apart([0.8, 0.2, 0.5], 0.1) == pytest.approx([0.8, 0.2, 0.5])


def test_labels_move_as_little_as_can_be():
    heights, gap = [0.40, 0.44, 0.47], 0.1
    grid = np.linspace(0.2, 0.7, 101)
    best = min(
        (
            places
            for places in itertools.product(grid, repeat=3)
            if places[1] - places[0] >= gap - 1e-9 and places[2] - places[1] >= gap - 1e-9
        ),
        key=lambda places: sum((a - b) ** 2 for a, b in zip(places, heights, strict=True)),
    )
    assert apart(heights, gap) == pytest.approx(best, abs=0.005)
