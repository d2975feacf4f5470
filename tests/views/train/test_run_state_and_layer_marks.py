import math

import numpy as np
import pytest

from gradcli.gradients.buffer import select_rows
from gradcli.records import EvalRecord, LayerRecord
from gradcli.views.train import layer_marks as m
from gradcli.views.train.run_state import RunState


def test_the_latest_norms_and_the_clipped_share_are_those_of_the_records(make_info, make_steps):
    run_state = RunState(make_info(2))
    run_state.add(make_steps([[1.0, 2.0], [3.0, 4.0]]))
    run_state.add(make_steps([[5.0, 6.0]], first=3, coefficient=0.5))
    np.testing.assert_allclose(run_state.before, [5.0, 6.0])
    np.testing.assert_allclose(run_state.after, [2.5, 3.0])
    np.testing.assert_allclose(run_state.clipped_fraction, [1 / 3, 1 / 3])
    assert run_state.step == 3
    assert sum(run_state.phase_shares().values()) == pytest.approx(1)
    assert run_state.phase_shares()["backward"] == pytest.approx(4 / 12)


def test_memory_does_not_grow_with_the_run(make_info, make_steps):
    run_state = RunState(make_info(2))
    for first in range(1, 20_001, 500):
        run_state.add(make_steps(np.ones((500, 2)), first=first))
    assert len(run_state.norms.points()) <= 128
    assert len(run_state.loss.points()) <= 128


def test_evaluations_keep_the_latest_of_each_split(make_info):
    run_state = RunState(make_info())
    for split, accuracy in (("val", 0.8), ("val", 0.9), ("test", 0.7)):
        run_state.add(EvalRecord(1, 1, split, 0.1, accuracy, 0.1, 1.0, 1.0))
    assert run_state.evaluations["val"].score == 0.9
    assert run_state.evaluations["test"].score == 0.7
    assert run_state.val_score.points()[:, 0].tolist() == [0.8, 0.9]


def test_nothing_is_marked_before_the_first_step_and_in_a_healthy_run(make_info, make_steps):
    run_state = RunState(make_info(3))
    assert m.marks(run_state) == [None] * 3
    run_state.add(make_steps([[0.3, 0.5, 1.0]] * 10))
    assert m.marks(run_state) == [None] * 3


def test_each_mark_is_set_by_what_it_names(make_info, make_steps):
    norms = np.tile([1.0, 1.0, 0.9e-3, 1.1e-3, 0.0, 1.0], (10, 1))
    norms[3, 0] = math.nan
    run_state = RunState(make_info(6))
    run_state.add(make_steps(norms))
    run_state.add(LayerRecord(1, (1.0,) * 6, (0.0, 0.0, 0.0, 0.0, 0.0, 0.11), (1.0,) * 6))
    expected = [m.NON_FINITE, None, m.VANISHING, None, m.NO_GRADIENT, m.LARGE_UPDATE]
    assert m.marks(run_state) == expected


def test_a_layer_record_is_shown_together_with_its_step(make_info, make_steps):
    """The record of the first step arrives before the step does."""
    first, second = (LayerRecord(n, (1.0, 2.0), (0.1 * n, 0.5), (1.0, 1.0)) for n in (1, 2))
    logged = make_steps([[1.0, 1.0]])
    for steps in (logged, select_rows(logged, np.array([False]))):
        run_state = RunState(make_info(2))
        run_state.add(first)
        assert np.isnan(run_state.update_ratio).all()
        assert np.isnan(run_state.weight_norm).all()
        assert m.marks(run_state) == [None, None]
        run_state.add(steps)  # empty if no step is logged
        assert run_state.update_ratio.tolist() == [0.1, 0.5]
        assert run_state.weight_norm.tolist() == [1.0, 2.0]
        run_state.add(second)
        assert run_state.update_ratio.tolist() == [0.2, 0.5]


def test_clipping_is_marked_from_more_than_half_of_the_steps_on(make_info, make_steps):
    run_state = RunState(make_info(2))
    run_state.add(make_steps([[1.0, 1.0]] * 5))
    run_state.add(make_steps([[2.0, 2.0]] * 5, first=6, coefficient=0.5))
    assert m.marks(run_state) == [None, None]
    run_state.add(make_steps([[2.0, 2.0]], first=11, coefficient=0.5))
    assert m.marks(run_state) == [m.OFTEN_CLIPPED] * 2


def test_a_planted_nan_stays_marked_to_the_end(make_info, make_steps):
    run_state = RunState(make_info(2))
    run_state.add(make_steps([[math.nan, 1.0]]))
    run_state.add(make_steps(np.ones((5000, 2)), first=2))
    assert m.marks(run_state) == [m.NON_FINITE, None]


def test_symbols_are_distinguishable_without_colour():
    assert len({mark.symbol for mark in m.MARKS}) == len(m.MARKS)
