"""Rules on the size of steps, each just within and just beyond its limits."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import (
    CLIPPED_TO,
    DISTANCE,
    FIRST_UPDATES,
    HALF_LEARNED,
    LARGE_UPDATE,
    LOSS_BLOWN_UP,
    LOSS_KEPT,
    SETTLED_LEFT,
    STILL_TO_LEARN,
    TINY_BATCH,
    UPDATE_JUMP,
    USUAL_UPDATE,
)
from gradcli.diagnosis.loss_trend import RateChange
from gradcli.diagnosis.rules import step_size
from gradcli.records import FaultRecord, ParameterGroup

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
FAULT = FaultRecord(101, 1, "forward", "middle", math.nan, ())
TINY = int(TINY_BATCH.value)
UNKNOWN = (math.nan,) * 3


def then(share, first=1.0):
    """Losses that begin at a multiple of that of guessing, and are at another from then on."""
    return LN_10 * np.r_[first, np.full(99, share)]


def once(ratio, row=4, place=1, others=0.01):
    """Update ratios, measured at steps 1, 2, 3, 5 and 10, of which one is larger."""
    ratios = np.full((5, 3), others)
    ratios[row, place] = ratio
    return ratios


def heavy(setup_record):
    """Under this momentum, the first update adds up to one ten times as large."""
    return setup_record(groups=(ParameterGroup(tuple(range(6)), 0.1, momentum=0.9),))


# A learning rate that is too high -----------------------------------------------------------


def too_high(run_evidence, losses=FLAT, rate_changes=(), **more):
    evidence = replace(run_evidence(losses=losses, **more), rate_changes=rate_changes)
    return list(step_size.learning_rate_too_high(evidence))


def test_a_rate_that_is_too_high_is_described_as_it_is(run_evidence):
    ratios = once(0.9, place=2)
    ratios[1, 1] = 0.4
    (found,) = too_high(run_evidence, ratios=ratios)
    assert (found.code, found.severity, found.layer) == ("lr-too-high", "error", "middle")
    assert found.evidence == {
        "update_ratio": 0.4,
        "at_step": 2,
        "largest_update_ratio": 0.9,
        "first_loss": LN_10,
        "highest_loss": LN_10,
        "last_loss": LN_10,
        "learning_rate": 0.1,
    }
    assert found.message == (
        "The learning rate is too high: at step 2 one update changed the weights of middle by 40% "
        "of their norm. The loss began at 2.30 and ended at 2.30."
    )
    assert (found.override, found.mend) == ("optimizer.lr=0.01", "Lower the learning rate to 0.01.")


@pytest.mark.parametrize(("usual", "found"), [(1.0, 0), (1.01, 1)])
def test_usual_updates_may_be_too_large(run_evidence, usual, found):
    ratio = usual * LARGE_UPDATE.value
    told = too_high(run_evidence, ratios=(0.01, math.nan, ratio))
    assert len(told) == found
    for one in told:
        assert one.layer == "last"
        assert "at_step" not in one.evidence
        assert "too high: one update changed the weights of last by 10%" in one.message


def test_the_rate_is_lowered_by_how_much_updates_were_too_large(run_evidence):
    (found,) = too_high(run_evidence, ratios=once(20.0))
    assert (found.override, found.mend) == (
        "optimizer.lr=0.0001",
        "Lower the learning rate to 0.0001.",
    )


@pytest.mark.parametrize(("size", "found"), [(1.0, 0), (1.01, 1)])
def test_a_single_update_may_be_too_large(run_evidence, size, found):
    assert len(too_high(run_evidence, ratios=once(size * UPDATE_JUMP.value))) == found


@pytest.mark.parametrize(("ratio", "found"), [(0.03, 0), (0.04, 1)])
def test_updates_of_all_layers_may_add_up_to_too_much(run_evidence, setup_record, ratio, found):
    told = too_high(run_evidence, setup=heavy(setup_record), ratios=(ratio,) * 3)
    assert len(told) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"losses": FLAT[:20]}, 1),
        ({"losses": FLAT[:19]}, 0),
        ({"losses": FLAT[:19], "fault": FAULT}, 1),
        ({"ratios": UNKNOWN}, 0),
        ({"losses": -FLAT}, 0),  # not known to be a loss that should fall
    ],
)
def test_what_it_takes_to_judge_a_rate(run_evidence, changes, found):
    assert len(too_high(run_evidence, **{"ratios": (3.0, 3.0, 3.0), **changes})) == found


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.09, "The loss began at 2.30 and ended at 2.51."),
        (1.11, "The loss went from 2.30 up to 2.56 and ended at 2.56."),
    ],
)
def test_the_course_of_the_loss_is_told(run_evidence, share, words):
    (found,) = too_high(run_evidence, then(share), ratios=once(0.4))
    assert found.message.endswith(words)


@pytest.mark.parametrize(
    ("ratios", "left", "found"),
    [
        (once(0.4), HALF_LEARNED.value + 0.01, 1),
        (once(0.4), HALF_LEARNED.value - 0.01, 0),
        ((0.04,) * 3, HALF_LEARNED.value + 0.01, 1),  # all together
        ((0.04,) * 3, HALF_LEARNED.value - 0.01, 0),
        ((0.11, 0.01, 0.01), SETTLED_LEFT.value + 0.01, 1),  # of one layer too large to settle
        ((0.11, 0.01, 0.01), SETTLED_LEFT.value - 0.01, 0),
        ((0.01, 0.01, 0.01), HALF_LEARNED.value + 0.01, 0),
    ],
)
def test_what_has_learned_is_only_blamed_for_what_is_left(
    run_evidence, setup_record, ratios, left, found
):
    told = too_high(run_evidence, then(left), ratios=ratios, setup=heavy(setup_record))
    assert len(told) == found


def test_what_is_left_is_only_known_of_a_loss_of_classes(run_evidence):
    losses = then(HALF_LEARNED.value + 0.01)
    assert too_high(run_evidence, losses, ratios=once(0.4))
    assert not too_high(run_evidence, losses, ratios=once(0.4), own_loop=True)
    assert too_high(run_evidence, FLAT, ratios=once(0.4), own_loop=True)


@pytest.mark.parametrize(
    ("own_loop", "ratio", "found"),
    [
        (False, 0.01, 1),
        (True, 1.01 * LARGE_UPDATE.value, 1),
        (True, LARGE_UPDATE.value, 0),
        (True, LARGE_UPDATE.value / 2, 0),
    ],
)
def test_a_loss_that_blows_up(run_evidence, own_loop, ratio, found):
    losses = then(1.01 * LOSS_BLOWN_UP.value)
    told = too_high(run_evidence, losses, ratios=once(ratio), own_loop=own_loop)
    assert len(told) == found
    assert all("up to 6.98 and ended at 6.98" in one.message for one in told)
    within = then(LOSS_BLOWN_UP.value)
    assert not too_high(run_evidence, within, ratios=once(ratio), own_loop=own_loop)


def test_layers_that_died_are_told_first(run_evidence, setup_record):
    norms = np.ones((100, 3))
    norms[9:, 0] = norms[3:, 1] = norms[3:, 2] = 0.0
    dead = "From step 4 on no gradient reaches last: its units are dead. The loss began"
    large = once(0.11)
    (found,) = too_high(run_evidence, ratios=large, norms=norms)
    assert dead in found.message
    (found,) = too_high(run_evidence, ratios=once(0.4), norms=norms)
    assert dead in found.message
    together = {"ratios": (0.04,) * 3, "setup": heavy(setup_record)}
    (found,) = too_high(run_evidence, norms=norms, **together)
    assert dead in found.message
    assert not too_high(run_evidence, ratios=once(LARGE_UPDATE.value), norms=norms)
    (found,) = too_high(run_evidence, then(0.8), ratios=once(0.4), norms=norms)
    assert "its units are dead" not in found.message


RISING = LN_10 * np.r_[1, np.full(49, 0.5), np.linspace(0.5, 1, 30), np.ones(20)]
AT_ONCE = LN_10 * np.r_[1, np.full(49, 0.5), np.ones(50)]


@pytest.mark.parametrize(
    ("losses", "ratio", "found"),
    [
        (RISING, 0.501 * LARGE_UPDATE.value, 1),
        (RISING, 0.499 * LARGE_UPDATE.value, 0),
        (AT_ONCE, 0.501 * LARGE_UPDATE.value, 0),  # no such update can have done that
        (FLAT, 0.501 * LARGE_UPDATE.value, 0),
    ],
)
def test_a_training_may_fall_back(run_evidence, losses, ratio, found):
    assert len(too_high(run_evidence, losses, ratios=once(ratio))) == found


@pytest.mark.parametrize(
    ("ratio", "grown", "changes", "found"),
    [
        (1.01 * UPDATE_JUMP.value, 1.0, {}, 1),
        (UPDATE_JUMP.value, 1.0, {}, 0),
        (0.01, 1.01 * LOSS_BLOWN_UP.value, {}, 1),
        (0.01, LOSS_BLOWN_UP.value, {}, 0),
        (3.0, 9.0, {"phase": "inputs"}, 0),
        (3.0, 9.0, {"phase": "parameters"}, 1),
        (3.0, 9.0, {"phase": "update"}, 1),
        (3.0, 9.0, {"cause": "the mean of no values"}, 0),
    ],
)
def test_a_value_that_is_not_finite_is_its_work_if_updates_or_the_loss_had_grown(
    run_evidence, ratio, grown, changes, found
):
    losses = FLAT.copy()
    losses[50] *= grown
    fault = replace(FAULT, **changes)
    told = too_high(run_evidence, losses, ratios=once(ratio), fault=fault)
    assert len(told) == found
    for one in told:
        assert one.message.endswith("At step 101 the first value was no longer finite.")
        assert one.evidence["highest_loss"] == pytest.approx(grown * LN_10)


def test_a_fault_before_any_loss(run_evidence):
    assert not too_high(run_evidence, FLAT[:0], ratios=once(0.01), fault=FAULT)
    (found,) = too_high(run_evidence, FLAT[:0], ratios=once(0.4), fault=FAULT)
    assert found.evidence["highest_loss"] == -math.inf


@pytest.mark.parametrize(
    ("ratios", "step", "factor", "blamed"),
    [
        (once(0.4, row=3), 5, 8.0, True),  # the jump is at step 5
        (once(0.4, row=3), 6, 8.0, False),
        (once(0.4, row=3), 2, 0.1, False),
        ((0.11,) * 3, FIRST_UPDATES.value + 1, 8.0, True),
        ((0.11,) * 3, FIRST_UPDATES.value, 8.0, False),
        ((0.11,) * 3, FIRST_UPDATES.value + 1, 0.1, False),
    ],
)
def test_a_jump_of_the_rate_is_to_blame(run_evidence, ratios, step, factor, blamed):
    step = int(step)
    (found,) = too_high(run_evidence, ratios=ratios, rate_changes=(RateChange(step, factor),))
    assert found.override == ("schedule=constant" if blamed else "optimizer.lr=0.01")
    words = (
        f"Remove the jump of the schedule at step {step}, where it multiplies the learning rate "
    )
    assert found.mend.startswith(words + "by 8.00:") == blamed


def test_of_several_jumps_of_the_rate_the_last_one_before_is_told(run_evidence):
    jumps = (RateChange(2, 6.0), RateChange(4, 7.0), RateChange(9, 8.0))
    (found,) = too_high(run_evidence, ratios=once(0.4, row=3), rate_changes=jumps)
    assert "at step 4, where it multiplies the learning rate by 7.00" in found.mend


@pytest.mark.parametrize(
    ("changes", "larger"),
    [
        ({"batch_size": 1}, True),
        ({"batch_size": TINY}, True),
        ({"batch_size": TINY + 1}, False),
        ({"batch_size": 0}, False),
        ({"batch_size": 2, "fault": FAULT}, False),
        ({"batch_size": 2, "losses": then(9.0)}, False),
    ],
)
def test_with_tiny_batches_larger_ones_are_advised(run_evidence, changes, larger):
    (found,) = too_high(run_evidence, **{"ratios": (0.5, 0.5, 0.5), **changes})
    assert found.override == ("batch_size=64" if larger else "optimizer.lr=0.01")
    advice = "Use batches of 64 examples, whose gradient allows a higher rate than that of {}. "
    assert found.mend.startswith(advice.format(changes["batch_size"])) == larger
    assert found.mend.endswith("Lower the learning rate to 0.01.")


# A learning rate that is too low ------------------------------------------------------------


def too_low(run_evidence, losses=FLAT, since=0, **more):
    evidence = run_evidence(losses=losses, **{"ratios": (1e-4, 5e-4, math.nan), **more})
    return list(step_size.learning_rate_too_low(replace(evidence, rate_gone_since=since)))


def test_a_rate_that_is_too_low_is_described_as_it_is(run_evidence):
    (found,) = too_low(run_evidence)
    assert (found.code, found.severity, found.layer) == ("lr-too-low", "warning", None)
    assert found.evidence == {
        "update_ratio": 5e-4,
        "steps": 100,
        "first_loss": LN_10,
        "last_loss": LN_10,
        "learning_rate": 0.1,
    }
    assert found.message == (
        "The learning rate is too low: 100 updates together changed no layer's weights by more "
        "than 5% (middle moved most), and the loss has not fallen."
    )
    assert (found.override, found.mend) == ("optimizer.lr=4", "Raise the learning rate to 4.")
    (found,) = too_low(run_evidence, FLAT * np.linspace(1, 0.99, 100))
    assert found.message.endswith("and the loss has hardly fallen.")


@pytest.mark.parametrize(
    ("ratio", "count", "found"),
    [
        (0.99 * DISTANCE.value / 100, 100, 1),
        (DISTANCE.value / 100, 100, 0),
        (0.99 * USUAL_UPDATE.value, 50, 1),
        (USUAL_UPDATE.value, 50, 0),
        (0.0, 100, 0),
        (math.nan, 100, 0),
        (5e-4, 20, 1),
        (5e-4, 19, 0),
    ],
)
def test_weights_that_have_hardly_moved(run_evidence, ratio, count, found):
    assert len(too_low(run_evidence, FLAT[:count], ratios=(ratio,) * 3)) == found


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (then(LOSS_KEPT.value + 0.01), 1),
        (then(LOSS_KEPT.value - 0.01), 0),
        (np.linspace(9.0, 4.0, 100), 0),  # it has fallen, if not below guessing
        (then(3.0, first=3.2), 1),  # a tenth lower is not yet fallen
        (np.r_[9.0, np.linspace(3.2, 1.9, 99)], 1),  # below at last, but not in the second half
    ],
)
def test_a_low_rate_is_only_blamed_if_the_loss_has_not_fallen(run_evidence, losses, found):
    assert len(too_low(run_evidence, losses)) == found


@pytest.mark.parametrize(
    ("since", "losses", "fault", "found"),
    [
        (50, FLAT, None, 1),
        (51, FLAT, None, 0),
        (1, FLAT, None, 1),
        (0, FLAT, None, 0),
        (50, FLAT, FAULT, 0),
        (50, then(STILL_TO_LEARN.value + 0.01), None, 1),
        (50, then(STILL_TO_LEARN.value - 0.01), None, 0),
    ],
)
def test_a_schedule_that_ends_in_the_first_half(run_evidence, since, losses, fault, found):
    told = too_low(run_evidence, losses, since, fault=fault, ratios=(0.01,) * 3)
    assert len(told) == found
    for one in told:
        last = losses[-1]
        assert one.evidence == {"since_step": since, "steps": 100, "last_loss": last}
        assert f"falls too early: from step {since} of 100 on" in one.message
        assert one.message.endswith(f"The loss ends at {last:.2f}" + "." if last > 1 else ".")
        assert (one.code, one.severity) == ("lr-too-low", "warning")
        assert one.override == "schedule=constant"


# Clipping -----------------------------------------------------------------------------------


def clipped(run_evidence, coefficients, **more):
    evidence = run_evidence(**{"clip": "norm 1.0", **more})
    evidence = replace(evidence, clip_coefficients=np.array(coefficients))
    return list(step_size.always_clipped(evidence))


def test_clipping_of_every_step_is_described_as_it_is(run_evidence):
    (found,) = clipped(run_evidence, np.r_[1.0, np.full(99, 0.02)])
    assert (found.code, found.severity, found.layer) == ("always-clipped", "warning", None)
    assert found.evidence == pytest.approx(
        {"clipped_fraction": 0.99, "median_coefficient": 0.02, "grad_norm_before_clip": 3**0.5}
    )
    assert found.message.startswith("99% of the steps are clipped, usually to 0.0200 times their")
    assert found.override == "clip.max_norm=5e+02"  # ten times the usual norm of 50
    assert "to 150 times what it is" in found.mend


@pytest.mark.parametrize(
    ("unclipped", "coefficient", "found"),
    [
        (4, 0.02, 1),
        (5, 0.02, 0),
        (0, 0.99 * CLIPPED_TO.value, 1),
        (0, CLIPPED_TO.value, 0),
        (0, 0.0, 0),
    ],
)
def test_clipping_has_its_limits(run_evidence, unclipped, coefficient, found):
    coefficients = np.r_[np.full(100 - unclipped, coefficient), np.ones(unclipped)]
    assert len(clipped(run_evidence, coefficients)) == found


def test_clipping_may_begin_midway(run_evidence):
    (found,) = clipped(run_evidence, np.r_[np.ones(50), np.full(50, 0.02)])
    assert found.message.startswith("100% of the steps in the second half are clipped")
    assert found.evidence["clipped_fraction"] == 1.0
    assert found.evidence["median_coefficient"] == 0.02
    assert not clipped(run_evidence, np.r_[np.ones(53), np.full(47, 0.02)])
    assert not clipped(run_evidence, np.r_[np.full(50, 0.02), np.ones(50)])


@pytest.mark.parametrize(("count", "found"), [(19, 0), (20, 1)])
def test_clipping_is_judged_after_twenty_steps(run_evidence, count, found):
    assert len(clipped(run_evidence, np.full(count, 0.02), losses=FLAT[:count])) == found
