"""The picture of two runs that part shows the numbers of `runs diff --json`."""

from dataclasses import replace

import numpy as np
import pytest

import gradcli as package
from gradcli.inspection.parting.layer_courses import StepCourses, step_courses
from gradcli.inspection.run_difference import difference
from gradcli.views.draw.difference_figure import difference_figure
from gradcli.views.json_output import difference_json

SMALL = ("data=mnist5k", "model.hidden=[8,6]", "schedule=constant", "max_steps=24")
GROUPS = "optimizer.groups={inner:{where:{names:'hidden2*'},lr:0.05},others:{}}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs of which one layer has another rate."""
    folder = tmp_path_factory.mktemp("parting") / "runs"
    words = ("optimizer=sgd", "optimizer.lr=0.1", "monitor.every=1")
    return [package.train(*SMALL, *words, *more, runs_dir=folder) for more in ((), (GROUPS,))]


def lines(figure):
    """The lines of single steps by their colour, and those of the legend by their label."""
    drawn = figure.axes[0].get_lines()
    single = {line.get_color(): line for line in drawn if line.get_alpha() == 0.4}
    return single, {line.get_label(): line for line in drawn}


def test_what_is_drawn_are_the_numbers_of_the_json(pair):
    found, courses = difference(*pair), step_courses(*pair)
    single, named = lines(difference_figure(found, courses))
    for one in difference_json(found)["layer_courses"]:
        line = single[named[one["name"]].get_color()]
        drawn = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for point in one["grad_norm"]:
            assert drawn[point["step"]] == pytest.approx(point["apart"], rel=1e-12)
    loss = single[named["loss"].get_color()]
    assert np.isnan(loss.get_ydata()[0])  # nothing differs in the first step


def test_it_marks_the_step_and_the_layer_in_which_they_part(pair):
    found, courses = difference(*pair), step_courses(*pair)
    figure = difference_figure(found, courses)
    title = figure.get_suptitle().splitlines()
    assert title[0] == "Two runs part at step 2 in hidden2 (dashed)"
    assert title[1:] == [f"a: {pair[0].name}", f"b: {pair[1].name}"]
    (dashed,) = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert set(dashed.get_xdata()) == {2}
    _, named = lines(figure)
    others = named["hidden1"].get_linewidth(), named["output"].get_linewidth()
    assert named["hidden2"].get_linewidth() > max(others)


def test_a_layer_that_is_not_sure_is_not_named(pair):
    found, courses = difference(*pair), step_courses(*pair)
    unsure = replace(found, first_place=replace(found.first_place, sure=False))
    title = difference_figure(unsure, courses).get_suptitle()
    assert title.startswith("Two runs part at step 2 (dashed)")


@pytest.mark.parametrize(("layers", "steps"), [(6, 5), (60, 40), (3, 5000), (0, 3)])
def test_texts_stay_within_the_picture(pair, layers, steps):
    drawn = np.random.default_rng(0)
    courses = StepCourses(
        np.arange(1, steps + 1),
        drawn.random(steps),
        tuple(f"a_rather_long_block_of_layers.{index}.convolution" for index in range(layers)),
        10 ** drawn.uniform(-8, 0, (steps, layers)),
    )
    figure = difference_figure(difference(*pair), courses)
    figure.canvas.draw()
    whole = figure.bbox
    axes = figure.axes[0]
    assert axes.get_window_extent().width > 0.5 * whole.width
    texts = [axes.get_legend().get_window_extent(), figure._suptitle.get_window_extent()]
    assert all(whole.x0 <= one.x0 and one.x1 <= whole.x1 for one in texts)
