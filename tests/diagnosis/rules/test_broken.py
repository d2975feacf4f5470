"""Rules on what is plainly broken: what is said of a value that is not finite, and of its cause."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.limits import (
    HALF_LEARNED,
    LARGE_UPDATE,
    LOSS_BLOWN_UP,
    LOSS_OF_GUESSING,
    MOVED,
    SLOW_START,
)
from gradcli.diagnosis.loss_trend import RateChange
from gradcli.diagnosis.rules import broken
from gradcli.records import FaultRecord

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
FAULT = FaultRecord(101, 1, "forward", "middle", math.nan, ())
LOOK = "Look there for a division by zero, or a logarithm or root of a negative number"
QUIET = "Neither the loss nor the updates had grown before it."


def non_finite(run_evidence, fault=FAULT, rate_changes=(), **more):
    evidence = run_evidence(fault=fault, **{"losses": FLAT, **more})
    (found,) = broken.non_finite(replace(evidence, rate_changes=rate_changes))
    return found


# What follows from a value that is not finite -----------------------------------------------


def test_a_sound_run_has_no_fault(run_evidence):
    assert not list(broken.non_finite(run_evidence()))


@pytest.mark.parametrize(
    ("changes", "own_loop", "count", "words"),
    [
        ({"phase": "update"}, False, 100, "All that comes later computes with it."),
        ({"phase": "update"}, True, 100, "All that comes later computes with it."),
        ({"split": "val"}, False, 100, "the model has no score."),
        ({"split": "val"}, True, 100, "the model has no score."),
        ({}, True, 100, "An update made with it puts it into the weights."),
        ({}, False, 100, "The update was skipped, so the weights are those from before it."),
        ({}, False, 1, "The update was skipped"),
        ({}, False, 0, "No update came before it, so the initial weights or the data cause it."),
    ],
)
def test_what_follows_from_a_fault(run_evidence, changes, own_loop, count, words):
    found = non_finite(
        run_evidence,
        replace(FAULT, **changes),
        losses=FLAT[:count],
        total_steps=0 if own_loop else 100,
    )
    assert words in found.message
    assert (found.code, found.severity, found.layer) == ("non-finite", "error", "middle")


@pytest.mark.parametrize(
    ("unsure", "own_loop"), [("", True), ("it moved", False), ("it moved", True)]
)
def test_a_place_that_is_not_certain_can_be_watched_for_in_an_own_loop(
    run_evidence, unsure, own_loop
):
    found = non_finite(run_evidence, replace(FAULT, unsure=unsure), own_loop=own_loop)
    assert ('watch="every_pass") tells the place.' in found.message) == (bool(unsure) and own_loop)


def test_what_is_known_of_a_fault_is_its_evidence(run_evidence):
    found = non_finite(run_evidence)
    assert found.evidence["step"] == 101
    assert found.evidence["phase"] == "forward"
    assert set(found.evidence) == {"step", "loss", "phase"}
    known = {"operation": "log", "tensor": "x", "after": "a", "before": "b", "split": "val"}
    passes = {"forward_pass": 2, "forward_passes": 3}
    found = non_finite(run_evidence, replace(FAULT, **known, **passes))
    assert set(found.evidence) == {"step", "loss", "phase", *known, *passes}
    assert {**known, **passes}.items() <= found.evidence.items()


# What caused it -----------------------------------------------------------------------------


def test_nothing_gave_notice(run_evidence):
    found = non_finite(run_evidence)
    assert f"{QUIET} {LOOK}" in found.message
    assert found.override is None
    first = non_finite(
        run_evidence, replace(FAULT, step=1), losses=FLAT[:0], ratios=(math.nan,) * 3
    )
    assert QUIET not in first.message
    assert first.message.endswith("and look at the batch.")
    second = non_finite(run_evidence, replace(FAULT, step=2), losses=FLAT[:1])
    assert QUIET in second.message


@pytest.mark.parametrize("beyond", [False, True])
def test_a_loss_that_was_far_too_large_from_the_start(run_evidence, beyond):
    first = LOSS_OF_GUESSING.value * LN_10 * (1.001 if beyond else 1)
    found = non_finite(run_evidence, losses=np.full(100, first))
    assert ("far too large from the start" in found.message) == beyond
    assert found.override == ("init=default" if beyond else None)


def test_of_jumps_of_the_rate_the_last_one_is_told(run_evidence):
    jumps = (RateChange(30, 50.0), RateChange(60, 7.0))
    found = non_finite(run_evidence, rate_changes=jumps)
    assert found.message.endswith("The learning rate was multiplied by 7.00 at step 60.")
    assert found.override == "schedule=constant"


@pytest.mark.parametrize("phase", ["inputs", "parameters"])
def test_inputs_and_initial_parameters_have_no_cause_in_the_training(run_evidence, phase):
    fault = replace(FAULT, phase=phase, tensor="x")
    found = non_finite(run_evidence, fault, ratios=(3.0, 3.0, 3.0))
    assert found.override is None
    assert "too large" not in found.message
    assert QUIET not in found.message


@pytest.mark.parametrize(
    ("largest", "blown_up", "too_large"),
    [
        (LARGE_UPDATE.value, 1.0, False),
        (1.01 * LARGE_UPDATE.value, 1.0, True),
        (0.01, LOSS_BLOWN_UP.value, False),
        (0.01, 1.01 * LOSS_BLOWN_UP.value, True),
    ],
)
def test_steps_that_were_too_large(run_evidence, largest, blown_up, too_large):
    losses = FLAT.copy()
    losses[50] *= blown_up
    found = non_finite(run_evidence, losses=losses, ratios=(0.01, largest, math.nan))
    assert ("the steps were too large" in found.message) == too_large
    assert (QUIET in found.message) == (not too_large)
    assert (found.override is not None) == too_large
    if too_large:
        assert found.override == "optimizer.lr=0.01"  # a tenth of 0.1


def test_the_rate_is_lowered_by_how_much_updates_were_too_large(run_evidence):
    found = non_finite(run_evidence, ratios=(0.01, 20.0, 0.01))  # 200 times: three digits
    assert found.override == "optimizer.lr=0.0001"


@pytest.mark.parametrize(
    "cause",
    [
        "the mean of no values",
        "the standard deviation of one value",
        "the variance of one value",
        "a softmax over values that are all -inf",
        "attention with every key masked",
    ],
)
def test_what_is_not_finite_at_any_size_is_not_the_work_of_steps(run_evidence, cause):
    fault = replace(FAULT, cause=cause)
    found = non_finite(run_evidence, fault, ratios=(3.0, 3.0, 3.0))
    assert broken.is_of_any_size(fault)
    assert found.override is None
    assert "too large" not in found.message
    assert QUIET not in found.message
    assert not broken.is_of_any_size(replace(fault, cause="the logarithm of 0"))


@pytest.mark.parametrize(
    ("phase", "cause", "own_loop", "override"),
    [
        ("update", "eps=0, and a gradient of 0", False, "optimizer.eps=1e-8"),
        ("update", "eps=0, and a gradient of 0", True, None),
        ("forward", "eps=0, and a gradient of 0", False, None),
        ("update", "the learning rate is inf", False, None),
        ("forward", "the logarithm of 0", False, None),
    ],
)
def test_a_cause_that_is_known_is_not_looked_for(run_evidence, phase, cause, own_loop, override):
    fault = replace(FAULT, phase=phase, cause=cause, tensor="middle.weight")
    found = non_finite(run_evidence, fault, own_loop=own_loop)
    assert found.override == override
    assert LOOK not in found.message
    assert found.message.endswith(QUIET)
    assert f": {cause}." in found.message


# Derivatives --------------------------------------------------------------------------------


def test_derivatives_that_do_not_match(run_evidence):
    probed = Probed(
        np.zeros(3), np.zeros(3), (False,) * 3, wrong_gradients=(("a", 0.5), ("b", 2.0))
    )
    found = list(broken.wrong_gradient(replace(run_evidence(), probed=probed)))
    assert [(one.layer, one.evidence) for one in found] == [
        ("a", {"relative_error": 0.5}),
        ("b", {"relative_error": 2.0}),
    ]
    assert {one.severity for one in found} == {"error"}
    assert "Correct backward of the torch.autograd.Function in a;" in found[0].mend
    unchecked = replace(run_evidence(), probed=replace(probed, wrong_gradients=None))
    assert not list(broken.wrong_gradient(unchecked))
    assert not list(broken.wrong_gradient(run_evidence()))


def by_hand(run_evidence, setup_record, place=1, **more):
    functions = more.pop("functions", (("Mine", place),))
    setup = setup_record(own_functions=functions)
    return list(broken.backward_by_hand(run_evidence(setup=setup, **{"losses": FLAT, **more})))


@pytest.mark.parametrize(
    ("place", "layer", "where"),
    [
        (0, "first", "of Mine, which works on the result of first, may be wrong"),
        (2, "last", "of Mine, which works on the result of last, may be wrong"),
        (-1, None, "of Mine may be wrong"),
    ],
)
def test_a_function_of_ones_own_is_named_with_its_place(
    run_evidence, setup_record, place, layer, where
):
    (found,) = by_hand(run_evidence, setup_record, place, functions=(("Mine", place), ("Other", 1)))
    assert (found.code, found.severity, found.layer) == ("wrong-gradient", "warning", layer)
    assert where in found.message
    assert "the loss went from 2.30 to 2.30." in found.message
    assert found.message.endswith("--check tells whether it is.")
    assert found.evidence == {
        "function": "Mine",
        "functions": 2,
        "first_loss": LN_10,
        "last_loss": LN_10,
    }
    (found,) = by_hand(run_evidence, setup_record, place, own_loop=True)
    assert found.message.endswith("from 2.30 to 2.30.")


SLOW = int(SLOW_START.value)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"losses": FLAT[:SLOW]}, 1),
        ({"losses": FLAT[: SLOW - 1]}, 0),
        ({"losses": np.r_[LN_10, np.full(99, 1.01 * HALF_LEARNED.value * LN_10)]}, 1),
        ({"losses": np.r_[LN_10, np.full(99, 0.99 * HALF_LEARNED.value * LN_10)]}, 0),
        ({"losses": -FLAT}, 0),
        ({"functions": ()}, 0),
        ({"ratios": (math.nan,) * 3}, 0),
        ({"ratios": (0.0, math.nan, 1.01 * MOVED.value / 100)}, 1),
        ({"ratios": (0.0, math.nan, MOVED.value / 100)}, 0),
        ({"ratios": (0.0, 0.0, 2.0)}, 0),  # then it is the learning rate
        ({"fault": FAULT}, 0),
    ],
)
def test_a_backward_pass_is_doubted_on_evidence_alone(run_evidence, setup_record, changes, found):
    assert len(by_hand(run_evidence, setup_record, **changes)) == found


@pytest.mark.parametrize(
    ("grown", "cause", "found"),
    [
        (1.01 * LOSS_BLOWN_UP.value, "", 1),
        (LOSS_BLOWN_UP.value, "", 0),
        (1.01 * LOSS_BLOWN_UP.value, "the mean of no values", 0),
    ],
)
def test_a_fault_after_few_steps_that_grew_is_its_work(
    run_evidence, setup_record, grown, cause, found
):
    losses = np.r_[LN_10, np.full(20, grown * LN_10)]
    given = {"losses": losses, "ratios": (0.05,) * 3, "fault": replace(FAULT, cause=cause)}
    assert len(by_hand(run_evidence, setup_record, **given)) == found


def test_without_a_record_of_the_setup_nothing_is_written_by_hand(run_evidence):
    assert not list(broken.backward_by_hand(run_evidence(losses=FLAT)))
