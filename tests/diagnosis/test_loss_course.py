"""How far the loss has come, and whether the training has learned."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import (
    AT_CHANCE,
    HAD_LEARNED,
    LEARNED_ANYWAY,
    LOSS_BLOWN_UP,
    LOSS_KEPT,
    LOSS_OF_GUESSING,
    SLOW_START,
)
from gradcli.diagnosis.loss_course import (
    began_exploded,
    blown_up,
    comes_from_high,
    fell_back,
    has_learned,
    highest_loss,
    is_long_enough,
    is_on_its_way,
    learned_anyway,
    loss_kept,
    loss_left,
    lowest_loss_kept,
    of_the_flow,
    reference_loss,
)
from gradcli.records import FaultRecord

LN_10 = math.log(10)
FAULT = FaultRecord(101, 1, "loss", None, math.nan, ())


def test_the_reference_is_the_lower_of_the_first_loss_and_guessing(run_evidence):
    for first, reference in ((9.0, LN_10), (1.0, 1.0)):
        found = run_evidence(losses=np.linspace(first, 0.5, 40))
        assert reference_loss(found) == pytest.approx(reference)
        assert loss_kept(found) == pytest.approx(found.convergence.last_loss / reference)
    assert math.isnan(reference_loss(run_evidence(losses=np.linspace(-1, -2, 40))))
    assert reference_loss(run_evidence(own_loop=True, losses=np.full(40, 9.0))) == 9


def test_a_lasting_loss_is_the_median_of_five(run_evidence):
    losses = np.array([1.0, 1, 1, 9, 8, 1, 0.2, 0.1, 1, 1, 1, 4, 1, 4, 4, 0.5, 1, 0.5, 1, 0.5])
    found = run_evidence(losses=losses)
    assert highest_loss(found) == 4
    assert lowest_loss_kept(found) == 0.5
    few = run_evidence(losses=[2.0, 1.0, 4.0])
    assert (highest_loss(few), lowest_loss_kept(few)) == (2.0, 1.0)


def test_the_loss_left_is_the_mean_of_the_second_half(run_evidence):
    losses = np.array([2.0, 9.0, 9.0, 1.0, 0.5, 0.3])
    assert loss_left(run_evidence(losses=losses)) == pytest.approx(1.8 / 3 / 2.0)
    assert loss_left(run_evidence(losses=losses[:5])) == pytest.approx(10.5 / 3 / 2.0)
    assert math.isnan(loss_left(run_evidence(losses=[])))


@pytest.mark.parametrize(
    ("steps", "high", "last", "has"),
    [
        (20, 1.01 * LOSS_BLOWN_UP.value, 1.0, True),
        (19, 1.01 * LOSS_BLOWN_UP.value, 1.0, False),
        (20, LOSS_BLOWN_UP.value, 1.0, False),
        (20, 9.0, LOSS_KEPT.value, False),
        (20, 9.0, 0.5, False),
        (20, 9.0, 1.01 * LOSS_KEPT.value, True),
    ],
)
def test_a_loss_has_blown_up_if_it_stayed_high(run_evidence, steps, high, last, has):
    losses = np.array([1.0] + [high] * (steps - 6) + [last] * 5)
    assert blown_up(run_evidence(losses=losses)) == has


def test_of_a_wreck_the_flow_is_that_of_the_first_step(run_evidence):
    sound = run_evidence()
    wreck = run_evidence(losses=np.array([1.0] + [9.0] * 30))
    assert of_the_flow(sound) is sound
    for broken in (wreck, replace(sound, fault=FAULT)):
        flow = of_the_flow(broken)
        assert flow.norms.tolist() == broken.norms[:1].tolist()
        assert flow.input_norms.tolist() == broken.input_norms[:1].tolist()


def test_limits_of_the_loss_are_not_crossed_by_reaching_them(run_evidence):
    def found(first, last):
        return run_evidence(losses=np.array([first] * 20 + [last] * 20))

    for times in (0.99, 1.01):
        assert began_exploded(found(times * LOSS_OF_GUESSING.value * LN_10, 1.0)) == (times > 1)
        assert has_learned(found(1.0, times * LOSS_KEPT.value)) == (times < 1)
        assert comes_from_high(found(1.0, times * LOSS_KEPT.value)) == (times < 1)
        assert learned_anyway(found(1.0, times * LEARNED_ANYWAY.value)) == (times < 1)
    assert has_learned(found(1.0, LOSS_KEPT.value))
    assert not comes_from_high(found(1.0, LOSS_KEPT.value))
    assert not learned_anyway(replace(found(1.0, 0.01), fault=FAULT))


@pytest.mark.parametrize(("own_loop", "fewest"), [(False, 20), (True, int(SLOW_START.value))])
def test_an_own_loop_is_given_more_steps_to_learn(run_evidence, own_loop, fewest):
    for steps in (fewest - 1, fewest):
        found = run_evidence(own_loop=own_loop, losses=np.ones(steps))
        assert is_long_enough(found) == (steps == fewest)


@pytest.mark.parametrize(
    ("first", "last", "on_its_way"),
    [
        (LN_10, 0.93 * LN_10, True),  # below guessing
        (LN_10, 0.97 * LN_10, False),
        (9.0, 0.97 * LN_10, True),  # from far above it
        (9.0, 8.5, False),
    ],
)
def test_a_loss_is_on_its_way_if_it_falls_and_has_fallen(run_evidence, first, last, on_its_way):
    falling = np.linspace(first, last, 200)
    assert is_on_its_way(run_evidence(losses=np.append(falling, [last] * 30))) == on_its_way
    assert not is_on_its_way(run_evidence(losses=np.append(falling, [last] * 900)))  # it stands


@pytest.mark.parametrize(
    ("lowest", "last", "has"),
    [
        (0.99 * HAD_LEARNED.value, 1.0, True),
        (HAD_LEARNED.value, 1.0, False),
        (0.9, 1.0, False),
        (0.5, 1.01 * AT_CHANCE.value, True),
        (0.5, AT_CHANCE.value, False),
    ],
)
def test_a_loss_fell_back_if_it_was_low_for_five_steps(run_evidence, lowest, last, has):
    losses = np.array([1.0] * 10 + [lowest] * 5 + [last] * 25)
    assert fell_back(run_evidence(losses=losses)) == has
