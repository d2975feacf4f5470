import sys
from dataclasses import replace

import numpy as np
import pytest

from gradcli.records import EvalRecord, Metric
from gradcli.views.draw.run_figures import (
    MOST_BINS,
    MOST_LAYER_NAMES,
    Bins,
    _score_figure,
    blank_figure,
    draw_norms,
    largest_by_bin,
    layer_norms_by_bin,
    plot_run,
)
from gradcli.views.draw.saving import save_figure

EVALUATIONS = [
    EvalRecord(2, 1, "val", 0.4, 0.9, 0.5, 1.0, 1.0),
    EvalRecord(3, 1, "test", 0.4, 0.91, 0.5, 1.0, 1.0),
]


@pytest.mark.parametrize("count", [1, 2, MOST_BINS, MOST_BINS + 1, 12_345])
def test_bins_cover_every_step_once_and_are_few(count):
    bins = Bins.of(np.arange(1, count + 1))
    rows = [row for part in bins.slices() for row in range(part.start, part.stop)]
    assert rows == list(range(count))
    assert len(bins.slices()) == min(count, MOST_BINS)
    assert (np.diff(bins.middles) > 0).all()


def test_a_spike_of_one_step_survives_and_so_do_nan_and_infinity(make_info, make_steps):
    norms = np.ones((50_000, 2))
    norms[12_345, 0], norms[23_456, 1], norms[34_567, 0] = 1000.0, np.inf, np.nan
    steps = make_steps(norms)
    bins = Bins.of(steps.step)
    by_layer = layer_norms_by_bin(steps, make_info(2), bins)
    assert by_layer.shape == (MOST_BINS, 2)
    assert (by_layer[:, 0] == 1000).sum() == 1
    assert np.isnan(by_layer[:, 0]).sum() == 1
    assert np.isinf(by_layer[:, 1]).sum() == 1
    largest = largest_by_bin(norms[:, 0], bins)
    np.testing.assert_array_equal(largest, by_layer[:, 0])


CASES = {
    "one step": np.ones((1, 3)),
    "constant": np.ones((40, 3)),
    "zero": np.zeros((40, 3)),
    "not a number": np.full((40, 3), np.nan),
    "infinite": np.full((40, 3), np.inf),
    "long": np.random.default_rng(0).uniform(0.1, 1.0, (3000, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_run_can_be_drawn(tmp_path, make_info, make_steps, case):
    steps = make_steps(CASES[case], loss=float(CASES[case][0, 0]))
    paths = plot_run(tmp_path, make_info(3), steps, EVALUATIONS)
    assert {path.name for path in paths} == {"loss.png", "accuracy.png", "gradient_norms.png"}
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_is_drawn_of_nothing(tmp_path, make_info, make_steps):
    assert plot_run(tmp_path, make_info(3), make_steps(np.ones((0, 3))), []) == []
    assert list(tmp_path.iterdir()) == []


def test_no_global_figure_is_made(tmp_path, monkeypatch, make_info, make_steps):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
    assert plot_run(tmp_path, make_info(3), make_steps(np.ones((2, 3))), EVALUATIONS)


def test_the_axis_of_accuracies_begins_at_the_first_of_them(make_info):
    """A single epoch, or a run that was resumed late, leaves no empty half."""
    for steps in ([900, 1000], [1000]):
        evaluations = [replace(EVALUATIONS[0], step=step) for step in steps]
        (axes,) = _score_figure(make_info(3), evaluations).axes
        low, high = axes.get_xlim()
        assert low < steps[0] <= steps[-1] < high
        assert high - low <= 1.2 * max(steps[-1] - steps[0], 1)


def test_huge_scores_are_written_whole(make_info):
    """Neither an offset over the legend nor a score with eleven digits before the point."""
    evaluations = [replace(EVALUATIONS[0], score=score) for score in (4.4e10, 43280684487.1)]
    info = make_info(3, metric=Metric("mse", "minimize"))
    figure = _score_figure(info, evaluations)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.yaxis.get_offset_text().get_text() == ""
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "validation, last 4.33e+10"
    ]


@pytest.mark.parametrize("count", [3, MOST_LAYER_NAMES, MOST_LAYER_NAMES + 1, 300])
def test_names_of_layers_are_at_equal_distances(make_info, count):
    axes = blank_figure(4).add_subplot()
    draw_norms(axes, np.ones((5, count)), np.arange(1, 6), make_info(count).layers, (0.0, 1.0))
    named = axes.get_yticks()
    distance = 1 if count <= MOST_LAYER_NAMES else -(-count // MOST_LAYER_NAMES)
    assert list(named) == list(range(0, count, distance))
    assert len(named) <= MOST_LAYER_NAMES


def test_titles_name_the_model_and_only_what_is_known(make_info):
    (axes,) = _score_figure(make_info(3), EVALUATIONS).axes
    assert "mlp, adam 0.002" in axes.figure.get_suptitle()
    grouped = make_info(3, loop_rates=(0.5, 0.125, 0.5))
    assert "mlp, adam 2 rates 0.125 to 0.5," in _score_figure(grouped, EVALUATIONS).get_suptitle()
    own = make_info(3, model="Net", optimizer="LBFGS", learning_rate=float("nan"))
    title = _score_figure(own, EVALUATIONS).get_suptitle()
    assert title.startswith("Accuracy: Net, LBFGS, ")


@pytest.mark.parametrize("name", ["$x$", r"$\bad$", r"\$\frac{$", "$", "a$b$c$d", r"$_{$^$"])
def test_names_with_dollars_are_not_formulas(tmp_path, make_info, make_steps, name):
    info = make_info(2)
    layers = tuple(replace(layer, name=name + layer.name) for layer in info.layers)
    info = replace(info, layers=layers, model=name, data=replace(info.data, name=name))
    assert len(plot_run(tmp_path, info, make_steps(np.ones((40, 2))), EVALUATIONS)) == 3


def test_a_dollar_is_drawn_as_one(tmp_path):
    """What is saved has the ticks of a logarithmic axis as formulas, and nothing else."""
    figure = blank_figure(3.0)
    axes = figure.subplots()
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1e3)
    axes.set_xticks([0, 1], ["$x$", r"$\bad$"])
    save_figure(figure, tmp_path / "dollars.png")
    assert [one.get_parse_math() for one in axes.get_xticklabels()] == [False, False]
    assert {one.get_parse_math() for one in axes.get_yticklabels()} == {True}
    save_figure(figure, tmp_path / "again.png")
    assert {one.get_parse_math() for one in axes.get_yticklabels()} == {True}
