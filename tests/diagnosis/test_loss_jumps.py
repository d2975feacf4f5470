"""A loss that is another one at once: found, dated, and told apart from what training does."""

from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import SPIKE_HARM, SPIKE_HARM_AT_LEAST, UPDATE_JUMP
from gradcli.diagnosis.loss_jumps import loss_jump, loss_that_stays_up
from gradcli.diagnosis.loss_trend import RateChange, Spike


def levels(*parts) -> np.ndarray:
    """Losses at each level for so many steps."""
    return np.concatenate([np.full(count, float(level)) for level, count in parts])


@pytest.fixture
def jumped(run_evidence):
    """A run whose loss is 1 for 50 steps, and 3 from step 51 on."""
    return run_evidence(losses=levels((1, 50), (3, 50)))


# Whether there is one -----------------------------------------------------------------------


def test_a_jump_is_dated_and_measured_on_either_side(run_evidence):
    norms = np.repeat([1.0, 2.0, 5.0, 1.0], [30, 20, 20, 30])[:, None] * [2.0, 3.0, 6.0]
    losses = levels((0.9, 30), (1, 20), (3, 20), (2.8, 30))
    found = loss_jump(run_evidence(losses=losses, norms=norms))
    assert (found.step, found.before, found.after) == (51, 1, 3)
    assert (found.norm_before, found.norm_after) == pytest.approx((14, 35))  # 2, 3, 6: 7 together


@pytest.mark.parametrize(("before", "after"), [(1.0, 3.0), (3.0, 1.0), (1.0, 0.0)])
def test_a_loss_may_jump_up_or_down_and_to_what_rounds_to_nothing(run_evidence, before, after):
    found = loss_jump(run_evidence(losses=levels((before, 50), (after, 50))))
    assert (found.step, found.before) == (51, before)
    assert found.after == pytest.approx(after, abs=1e-6)


def test_the_largest_of_several_jumps_is_returned(run_evidence):
    losses = levels((1, 40), (2, 40), (5, 40), (8, 40))
    assert loss_jump(run_evidence(losses=losses)).step == 81


@pytest.mark.parametrize(("before", "after", "step"), [(20, 20, 21), (19, 20, 0), (20, 19, 0)])
def test_twenty_steps_are_needed_on_either_side(run_evidence, before, after, step):
    found = loss_jump(run_evidence(losses=levels((1, before), (3, after))))
    assert (found.step if found else 0) == step


@pytest.mark.parametrize(
    "losses",
    [
        levels((1, 50), (SPIKE_HARM.value, 50)),  # not above the limit
        levels((0.999 * SPIKE_HARM.value, 50), (1, 50)),
        np.concatenate([levels((1, 30)), np.linspace(1, 3, 40), levels((3, 30))]),  # by and by
        levels((1, 49), (3, 1), (1, 50)),  # for a step
        levels((1, 40), (9, 1), (1, 9), (3, 50)),  # it was there before
        levels((1, 50), (3, 9), (1, 1), (3, 40)),
        levels((1, 40), (3, 1), (1, 9), (3, 50)),
        levels((3, 40), (1, 1), (3, 9), (1, 50)),
        -levels((1, 50), (3, 50)),  # below zero, factors mean nothing
    ],
)
def test_no_other_change_is_a_jump(run_evidence, losses):
    assert loss_jump(run_evidence(losses=losses)) is None


def test_a_jump_just_above_the_limit_is_one(run_evidence):
    losses = levels((1, 50), (1.01 * SPIKE_HARM.value, 50))
    assert loss_jump(run_evidence(losses=losses)).step == 51


@pytest.mark.parametrize(("between", "step"), [(1.4, 52), (2.2, 51)])
def test_of_two_steps_up_the_larger_one_is_the_jump(run_evidence, between, step):
    losses = levels((1, 50), (between, 1), (3, 49))
    assert loss_jump(run_evidence(losses=losses)).step == step


def test_of_steps_that_were_not_sampled_none_is_named(jumped):
    assert loss_jump(replace(jumped, sampled_steps=np.empty(0, dtype=int))) is None


# What explains it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "of_rate", "of_spike"),
    [(30, False, False), (31, True, True), (50, True, True), (51, True, False), (52, False, False)],
)
def test_a_rate_or_a_spike_within_twenty_steps_before_explains_it(jumped, step, of_rate, of_spike):
    by_rate = replace(jumped, rate_changes=(RateChange(step, 10.0),))
    assert (loss_jump(by_rate) is None) == of_rate
    by_spike = replace(jumped, spikes=(Spike(step, "first", 20.0, 1.0, 3.0),))
    assert (loss_jump(by_spike) is None) == of_spike


@pytest.mark.parametrize(
    ("row", "times", "explained"),
    [
        *((0, 9, False), (1, 1.01, True), (1, 1, False)),
        *((2, 1.01, True), (3, 9, False), (4, 9, False)),
    ],
)
def test_a_large_update_before_it_explains_it_but_for_the_first(
    run_evidence, row, times, explained
):
    """Measured at steps 1, 2 and 50, and at 51 and 60, where the loss has jumped already."""
    ratios = np.full((5, 3), 0.01)
    ratios[row, 1] = times * UPDATE_JUMP.value
    found = run_evidence(losses=levels((1, 50), (3, 50)), ratios=ratios)
    measured = replace(found, record_steps=np.array([1, 2, 50, 51, 60]))
    assert (loss_jump(measured) is None) == explained


def test_another_loss_explains_it(jumped, setup_record):
    paths = {0: ("NllLoss",), 50: ("MseLoss",)}
    setups = tuple(setup_record(step=step, loss_path=path) for step, path in paths.items())
    assert loss_jump(replace(jumped, setups=setups)) is None
    assert loss_jump(replace(jumped, setups=setups[:1])) is not None


# Whether it stays up ------------------------------------------------------------------------

NOISE = np.tile([1.8, 3.0, 4.2], 17)[:50]


@pytest.mark.parametrize(
    ("later", "stays"),
    [
        (levels((3, 50)), True),
        (NOISE, True),
        (np.linspace(2, 4, 50), True),
        (np.linspace(3, 2, 80), False),  # it still falls
        (np.linspace(0.5, 0.4, 50), False),  # it jumped down
        (levels((3, 20), (1.01 * SPIKE_HARM.value, 30)), True),
        (levels((3, 20), (SPIKE_HARM.value, 30)), False),
        (levels((3, 20), (1.2, 30)), False),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_loss_stays_up_if_it_ends_higher_and_does_not_fall(run_evidence, later, stays, scale):
    found = run_evidence(losses=scale * np.concatenate([levels((1, 50)), later]))
    assert loss_jump(found) is not None
    jump = loss_that_stays_up(found)
    assert (jump is not None) == stays
    assert jump is None or jump.step == 51


def test_a_loss_that_halves_after_the_jump_does_not_stay_up(run_evidence):
    losses = levels((0.5, 50), (3, 26), (1.4, 24))
    assert loss_jump(run_evidence(losses=losses)).step == 51
    assert loss_that_stays_up(run_evidence(losses=losses)) is None


def test_it_may_fall_in_the_first_half_after_the_jump(run_evidence):
    """The trend is that of the last quarter: the second half of the second half."""
    falls_until = levels((1, 100), (3, 300), (2, 100))
    assert loss_that_stays_up(run_evidence(losses=falls_until)).step == 101


def test_what_came_before_the_jump_is_no_part_of_the_trend(run_evidence):
    falling = np.concatenate([levels((1, 420)), np.linspace(3, 2.5, 80)])
    assert loss_that_stays_up(run_evidence(losses=falling)) is None


@pytest.mark.parametrize(("times", "stays"), [(1, True), (1.01, False)])
def test_the_rise_is_a_share_of_the_first_loss(run_evidence, times, stays):
    first = times * (3 - 1) / SPIKE_HARM_AT_LEAST.value
    found = run_evidence(losses=levels((first, 1), (1, 49), (3, 50)))
    assert (loss_that_stays_up(found) is not None) == stays


def test_targets_may_be_meant_to_move(jumped, setup_record):
    for classes, told in ((10, True), (2, True), (1, False), (0, False)):
        data = replace(jumped.info.data, classes=classes)
        found = replace(jumped, info=replace(jumped.info, data=data))
        assert (loss_that_stays_up(found) is not None) == told
    turned = setup_record(loss_path=("Neg", "NllLoss", "LogSoftmax", "Addmm"), output_at=3)
    own = replace(jumped, info=replace(jumped.info, total_steps=0), setup=turned)
    assert loss_that_stays_up(own) is None
