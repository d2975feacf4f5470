import itertools
import math

import numpy as np
import pytest
from rich.cells import cell_len

from gradcli.notation import numbers
from gradcli.records import EvalRecord, FaultRecord, LayerRecord
from gradcli.views.train.layer_marks import NON_FINITE, OFTEN_CLIPPED, VANISHING
from gradcli.views.train.run_state import RunState
from gradcli.views.train.training_screen import screen, visible_layers

SHAPE = numbers.shape((128, 256))
SIZES = list(itertools.product((20, 40, 60, 80, 140, 220), (3, 8, 14, 24, 40, 60)))


def text_lines(run_state: RunState, width: int, height: int) -> list[str]:
    lines = screen(run_state, "2.0 s left", width, height)
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.fixture
def run_state(make_info, make_steps):
    def make(layers: int) -> RunState:
        run_state = RunState(make_info(layers))
        norms = np.random.default_rng(0).uniform(0.5, 1.0, (100, layers))
        run_state.add(make_steps(norms, coefficient=0.5, loss=0.25))
        run_state.add(LayerRecord(100, (20.0,) * layers, (0.002,) * layers, (0.1,) * layers))
        run_state.add(EvalRecord(100, 1, "val", 0.3, 0.95, 0.25, 1.0, 1.0))
        return run_state

    return make


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("layers", [1, 3, 21, 120])
def test_the_screen_fits_every_terminal(make_info, run_state, layers, width, height):
    for state in (RunState(make_info(layers)), run_state(layers)):
        lines = text_lines(state, width, height)
        assert len(lines) <= height
        assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("width", [80, 140])
def test_what_matters_is_on_the_screen(run_state, width):
    text = "\n".join(text_lines(run_state(3), width, 24))
    for word in ("mnist", "235,146", "adam", "cpu", "20260105-101500-mlp-3f2a", "step 100 of 300"):
        assert word in text
    for name in ("hidden1", "hidden2", "output", SHAPE, "before clip", "after clip"):
        assert name in text
    for word in ("0.2500", "0.9500", "33%", "2.0 s left", "0.00200", "100%"):
        assert word in text
    for phase in ("data 8%", "forward 25%", "loss 8%", "backward 33%", "update 17%", "monitor 8%"):
        assert phase in text


def test_a_wide_terminal_shows_more(run_state):
    narrow, wide = ("\n".join(text_lines(run_state(3), width, 24)) for width in (80, 140))
    assert "Linear" not in narrow
    assert "Linear" in wide
    assert "20.0" in wide


def test_columns_drop_out_before_names_are_shortened(run_state):
    text = "\n".join(text_lines(run_state(3), 40, 24))
    assert "hidden1" in text
    assert "before clip" in text
    assert "over the run" not in text


def test_numbers_stand_in_columns(run_state):
    lines = text_lines(run_state(21), 140, 40)
    rows = [line for line in lines if "Linear" in line]
    assert len(rows) == 21
    assert len({line.index(".") for line in rows}) == 1


@pytest.mark.parametrize("height", [24, 40, 60])
@pytest.mark.parametrize("layers", [21, 100])
def test_hidden_layers_are_counted(run_state, layers, height):
    lines = text_lines(run_state(layers), 80, height)
    shown = sum(SHAPE in line for line in lines)
    hidden = [line for line in lines if "more layer" in line]
    if shown == layers:
        assert hidden == []
    else:
        assert f"… {layers - shown} more layers" in hidden[0]
        assert shown >= 8
    text = "\n".join(lines)
    assert "hidden1 " in text
    assert "output" in text


def test_a_terminal_tall_enough_hides_nothing(run_state):
    assert sum(SHAPE in line for line in text_lines(run_state(21), 80, 40)) == 21


def test_marked_layers_come_before_others_and_the_most_severe_first():
    marks = [None] * 50
    marks[17], marks[30] = VANISHING, NON_FINITE
    assert {0, 17, 30, 49} <= set(visible_layers(marks, 6))
    assert visible_layers(marks, 3) == [0, 30, 49]


@pytest.mark.parametrize("mark", [None, OFTEN_CLIPPED])
@pytest.mark.parametrize("room", [1, 2, 3, 10, 49, 50, 51])
def test_layers_alike_are_shown_evenly_between(mark, room):
    chosen = visible_layers([mark] * 50, room)
    assert len(chosen) == min(room, 50)
    assert chosen == sorted(set(chosen))
    if room >= 3:
        assert chosen[0] == 0
        assert chosen[-1] == 49
        gaps = np.diff(chosen)
        assert gaps.max() <= math.ceil(50 / (room - 1)) + 1


def test_a_mark_is_on_its_row_and_in_the_legend(make_info, make_steps):
    run_state = RunState(make_info(3))
    run_state.add(make_steps([[1.0, math.nan, 1.0]]))
    lines = text_lines(run_state, 80, 24)
    row = next(line for line in lines if "hidden2" in line)
    assert row.lstrip().startswith("!")
    assert "nan" in row
    assert any("! not finite" in line for line in lines)
    assert not next(line for line in lines if "hidden1" in line).lstrip().startswith("!")


def test_a_fault_is_reported_in_a_sentence(run_state):
    state = run_state(3)
    state.add(FaultRecord(101, 1, "backward", "hidden2", math.nan, (1, 2, 3)))
    text = "\n".join(text_lines(state, 80, 24))
    assert "first in hidden2, backward pass, step 101" in text


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_parameter_groups_are_named_if_there_is_room(make_info, groups, width, height):
    rates = {"loop_rates": tuple(group.learning_rate for group in groups)}  # in the heading, too
    state = RunState(make_info(3, groups=groups))
    without = RunState(make_info(3, **rates))
    lines = text_lines(state, width, height)
    assert len(lines) <= height
    assert max(cell_len(line) for line in lines) <= width
    named = [line for line in lines if line.startswith((" matrices:", " rest:"))]
    assert len(named) in (0, 2)
    assert named or lines == text_lines(without, width, height)
    assert named or height < 24
