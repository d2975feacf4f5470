"""Rules on gradients through time: of the calls and the time steps of one layer."""

import math

import numpy as np
import pytest

from gradcli.diagnosis import ThroughTime
from gradcli.diagnosis.limits import REACH, STILL_TO_LEARN, THROUGH_TIME
from gradcli.diagnosis.rules import time_steps

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)


def cut(run_evidence, setup_record, *cut_off, losses=FLAT, **changes):
    setup = setup_record(cut_off=cut_off, **changes)
    return list(time_steps.cut_through_time(run_evidence(setup=setup, losses=losses)))


@pytest.mark.parametrize(("reached", "found"), [(4, 1), (5, 0), (10, 0)])
def test_a_loss_that_depends_on_few_calls(run_evidence, setup_record, reached, found):
    assert REACH.value == 5 / 10
    told = cut(run_evidence, setup_record, (1, reached, 10))
    assert len(told) == found
    for one in told:
        assert (one.code, one.severity, one.layer) == ("no-gradient", "warning", "middle")
        assert one.evidence == {"calls": 10, "calls_with_gradient": 4, "layers": 1}
        assert one.message == (
            "A forward pass calls middle 10 times, but the loss depends on 4 calls alone: the "
            "others get no gradient, so nothing that happens in them is learned."
        )
        assert "between the calls of middle" in one.mend


def test_of_several_layers_with_calls_cut_off_the_first_trained_one_is_named(
    run_evidence, setup_record
):
    calls = (0, 1, 10), (1, 6, 10), (2, 1, 10)
    (found,) = cut(run_evidence, setup_record, *calls)
    assert (found.layer, found.evidence["layers"]) == ("first", 2)
    assert "depends on 1 call alone" in found.message
    assert found.message.endswith(" 1 other layer is affected too.")
    frozen = {"requires_grad": (False, False, *(True,) * 4)}
    (found,) = cut(run_evidence, setup_record, *calls, **frozen)
    assert (found.layer, found.evidence["layers"]) == ("last", 1)
    assert not cut(run_evidence, setup_record, calls[0], **frozen)


@pytest.mark.parametrize(("share", "severity"), [(1.01, "warning"), (0.99, "info")])
def test_what_learns_in_spite_of_cut_calls_gets_a_remark(
    run_evidence, setup_record, share, severity
):
    losses = np.r_[LN_10, np.full(99, share * STILL_TO_LEARN.value * LN_10)]
    (found,) = cut(run_evidence, setup_record, (1, 1, 10), losses=losses)
    assert found.severity == severity


def test_no_call_is_known_to_be_cut_off(run_evidence, setup_record):
    assert not cut(run_evidence, setup_record)
    assert not list(time_steps.cut_through_time(run_evidence()))


# Time steps ---------------------------------------------------------------------------------


def through_time(run_evidence, norms, *, gated=False, **info):
    evidence = run_evidence(**{"model": "rnn", **info})
    one = ThroughTime("rnn", np.array(norms, float), gated)
    return list(time_steps.vanishing_through_time(evidence, one))


@pytest.mark.parametrize(("share", "found"), [(0.99, 1), (1.01, 0)])
def test_a_thousandth_of_the_largest_is_the_limit(run_evidence, share, found):
    weak = share * THROUGH_TIME.value
    told = through_time(run_evidence, [weak, weak, weak, 1.0])
    assert len(told) == found
    for one in told:
        assert (one.code, one.severity, one.layer) == ("vanishing", "warning", "rnn")
        assert one.evidence == {
            "factor": weak,
            "at_time_step": 1,
            "time_steps": 4,
            "time_steps_reached": 1,
        }
        assert one.message == (
            "Gradients vanish through time: the gradient at time step 1 is 9.90e-04 times that at "
            "time step 4. rnn learns from 1 of its 4 time steps."
        )
        assert one.override == "init=orthogonal"
    assert len(through_time(run_evidence, [1.0, weak])) == found


def test_gradients_that_explode_through_time(run_evidence):
    (found,) = through_time(run_evidence, [0.1, 2.0, 1.0, 2e-6])
    assert (found.code, found.severity) == ("exploding", "warning")
    assert found.message == (
        "Gradients explode through time: at time step 2 they are 1.00e+06 times those at the last "
        "one."
    )
    assert found.evidence == {
        "factor": pytest.approx(1e-6),
        "at_time_step": 4,
        "time_steps": 4,
        "time_steps_reached": 3,
    }
    assert found.override == "init=orthogonal"


def test_the_weakest_time_step_is_one_before_the_largest(run_evidence):
    vanishing, exploding = through_time(run_evidence, [2e-5, 1e-5, 3.0, 1e-9])
    assert (vanishing.code, vanishing.evidence["at_time_step"]) == ("vanishing", 2)
    assert vanishing.evidence["factor"] == pytest.approx(1e-5 / 3)
    assert (exploding.code, exploding.evidence["at_time_step"]) == ("exploding", 4)


@pytest.mark.parametrize(
    ("norms", "code", "gated", "severity"),
    [
        ([1e-6, 1e-6, 1.0, 1.0], "vanishing", False, "info"),  # half of them are reached
        ([1e-6, 1e-6, 1e-6, 1.0, 1.0], "vanishing", False, "warning"),
        ([1e-6, 1e-6, 1e-6, 1.0, 1.0], "vanishing", True, "info"),
        ([1.0, 1.0, 1.0, 1e-6], "exploding", False, "warning"),
        ([1.0, 1.0, 1.0, 1e-6], "exploding", True, "info"),
    ],
)
def test_what_is_harmless_is_a_remark_without_advice(run_evidence, norms, code, gated, severity):
    (found,) = through_time(run_evidence, norms, gated=gated)
    assert (found.code, found.severity) == (code, severity)
    assert found.override == (None if severity == "info" else "init=orthogonal")
    assert found.message.endswith(" Its gates can learn to keep more.") == gated


def test_a_time_step_at_exactly_a_thousandth_is_reached(run_evidence):
    (found,) = through_time(run_evidence, [1e-9, THROUGH_TIME.value, THROUGH_TIME.value, 1.0])
    assert found.evidence["time_steps_reached"] == 3


def test_without_any_gradient_no_time_step_is_compared(run_evidence):
    assert not through_time(run_evidence, [0.0, 0.0])
    (found,) = through_time(run_evidence, [0.0, 1e-30])  # any scale is one
    assert found.code == "vanishing"
