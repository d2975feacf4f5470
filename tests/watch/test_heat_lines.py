"""The heat map in the room that there is."""

import numpy as np
import pytest
from rich.segment import Segment

from gradcli.views.inspect.heat_map import GLYPHS
from gradcli.watch.heat_lines import OTHER_LINES, heat_lines
from gradcli.watch.run_course import RunCourse


@pytest.fixture
def history(open_run, make_steps):
    path, writer = open_run()
    writer.write(make_steps(1, 40))
    course = RunCourse(path)
    course.look()
    return course.norms()


def texts(lines):
    return ["".join(segment.text for segment in line) for line in lines]


def test_each_layer_has_a_line_of_shades(history):
    title, hidden, output, axis, legend = texts(heat_lines(history, ["hidden", "output"], 60, 10))
    assert title == "gradient norm before clipping, per layer and step"
    # 3 / step and 4 / step, on shades of half a decade from 10**-1.5 on
    for line, ends in ((hidden, (3, 0)), (output, (4, 1))):
        shades = [GLYPHS.index(glyph) for glyph in line[8:]]
        assert shades == sorted(shades, reverse=True)
        assert (shades[0], shades[-1]) == ends
    assert axis.split() == ["step", "1", "21", "40"]
    assert legend.startswith("norm")
    assert len(hidden) == 60


@pytest.mark.parametrize("width", [20, 60, 200])
@pytest.mark.parametrize("height", [1, 5, 8, 40])
def test_it_fits_whatever_there_is(history, make_steps, width, height):
    names = [f"layer{number}" for number in range(30)]
    norms = np.repeat(history.log10_norm[:1], 30, axis=0)
    many = type(history)(
        **{
            name: norms if name == "log10_norm" else getattr(history, name)
            for name in history.__slots__
        }
    )
    lines = heat_lines(many, names, width, height)
    assert len(lines) <= max(height, 1 + OTHER_LINES)
    assert all(Segment.get_line_length(line) <= width for line in lines)
    if 5 <= height < 30:
        shown = [text.split()[0] for text in texts(lines)[1:-2]]
        assert (shown[0], shown[-1]) == ("layer0", "layer29")
        hidden = 30 - len(shown)
        assert f"; {hidden} layers not shown"[: width - 49] in texts(lines)[0] or width < 60
