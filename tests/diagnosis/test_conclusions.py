"""What is said if no rule finds anything serious, called with the rules left out."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.conclusions import conclusion
from gradcli.diagnosis.limits import LARGE_UPDATE, LOSS_KEPT
from gradcli.records import ParameterGroup

LN_10 = math.log(10)
PROBED = Probed(np.zeros(3), np.zeros(3), (False,) * 3)


def only(evidence):
    (finding,) = conclusion(evidence, ["a", "b", "a"])
    assert finding.severity == "info"
    return finding


# Healthy ------------------------------------------------------------------------------------


def test_healthy_tells_how_even_gradients_and_how_large_updates_are(run_evidence):
    found = only(run_evidence(norms=(1.0, 2.0, 8.0), ratios=(0.01, 0.02, 0.005),
                              weights=np.array([1.0, 4.0, 4.0])))  # fmt: skip
    assert (found.code, found.layer, found.threshold) == ("healthy", None, "none of: a, b")
    assert found.evidence == pytest.approx(
        {"smallest_to_largest_layer": 0.25, "median_update_ratio": 0.02}
    )
    assert found.message == (
        "Gradients reach every layer: relative to the weights, the smallest is 0.250 times the "
        "largest. The median update changes no layer's weights by more than 0.0200 times "
        "their norm."
    )


def test_of_a_model_only_gradients_are_judged(run_evidence):
    probed = replace(run_evidence(), steps=1, probed=PROBED)
    found = only(probed)
    assert found.evidence == pytest.approx({"smallest_to_largest_layer": 1.0})
    assert found.message.endswith("Only a run can show how training goes.")
    for too_little in (
        replace(probed, probed=None),
        replace(probed, norms=probed.norms[:0]),
    ):
        assert conclusion(too_little, []) == []


def test_a_layer_that_was_frozen_at_first_is_compared_by_its_later_steps(run_evidence):
    norms = np.tile([1.0, 2.0, 4.0], (100, 1))
    norms[:60, 1] = 0.0
    assert only(run_evidence(norms=norms)).evidence["smallest_to_largest_layer"] == 0.25


def test_of_weights_of_zero_nothing_is_relative(run_evidence):
    some = run_evidence(norms=(1.0, 2.0, 4.0), weights=np.array([0.0, 1.0, 1.0]))
    assert only(some).evidence["smallest_to_largest_layer"] == 0.5
    none = run_evidence(weights=np.array([0.0, 0.0, 0.0]))
    assert only(none).evidence["smallest_to_largest_layer"] == 1


@pytest.mark.parametrize("aside", ["frozen", "another's"])
def test_layers_that_are_not_trained_are_left_out(run_evidence, setup_record, aside):
    setup = (
        setup_record(requires_grad=(False, False, True, True, True, True))
        if aside == "frozen"
        else setup_record(groups=(ParameterGroup((2, 3, 4, 5), 0.1),))
    )
    found = only(run_evidence(setup=setup, norms=(0, 1, 2), ratios=(0.0, 0.01, 0.01)))
    assert found.code == "healthy"
    assert found.message.startswith("Gradients reach every trained layer: ")
    assert found.evidence["smallest_to_largest_layer"] == 0.5


def test_a_single_trained_layer_is_compared_with_no_other(run_evidence, setup_record):
    setup = setup_record(requires_grad=(False, False, False, False, True, True))
    found = only(run_evidence(setup=setup, norms=(0, 0, 2), ratios=(0.0, 0.0, 0.01)))
    assert found.message.startswith("Gradients reach the only trained layer. The median update")


@pytest.mark.parametrize(
    ("own_loop", "steps", "code"),
    [(False, 20, "undetermined"), (True, 59, "healthy"), (True, 60, "undetermined")],
)
def test_a_loss_that_has_not_fallen_is_not_healthy_after_so_many_steps(
    run_evidence, setup_record, own_loop, steps, code
):
    flat = np.full(steps, LN_10)
    assert only(run_evidence(losses=flat, own_loop=own_loop, setup=setup_record())).code == code


@pytest.mark.parametrize(("times", "code"), [(0.999, "healthy"), (1.001, "undetermined")])
def test_the_loss_has_to_fall_below_its_limit(run_evidence, times, code):
    losses = np.concatenate([np.full(50, LN_10), np.full(50, times * LOSS_KEPT.value * LN_10)])
    assert only(run_evidence(losses=losses)).code == code


def test_a_loss_that_need_not_fall_is_healthy_as_it_is(run_evidence, setup_record):
    other = setup_record(loss_path=("Mean",))
    assert only(run_evidence(losses=np.ones(100), own_loop=True, setup=other)).code == "healthy"


# Not sure -----------------------------------------------------------------------------------


def test_a_loss_that_rose_at_once_and_stays_up_comes_first(run_evidence):
    losses = np.repeat([2.0, 1.0, 3.0], [20, 30, 50])
    found = only(run_evidence(losses=losses))
    assert (found.code, found.override) == ("undetermined", None)
    assert found.evidence == {"from_step": 51, "loss_before": 1, "loss_after": 3, "last_loss": 3}
    assert "at step 51 the loss rose at once from 1.00 to 3.00" in found.message
    assert "step 51" in found.mend


@pytest.mark.parametrize("times", [1.0, 1.01])
def test_large_updates_are_doubted_under_a_loss_that_does_not_tell(
    run_evidence, setup_record, times
):
    ratios = (0.01, times * LARGE_UPDATE.value, 0.02)
    for losses, path, tells in (
        (np.linspace(2, 1, 100), ("NllLoss", "LogSoftmax", "Addmm"), True),
        (np.linspace(2, 1, 100), ("Mean",), False),
        (-np.linspace(2, 1, 100), ("MseLoss",), False),
    ):
        setup = setup_record(loss_path=path)
        found = only(run_evidence(own_loop=True, losses=losses, setup=setup, ratios=ratios))
        assert found.code == ("undetermined" if times > 1 and not tells else "healthy")
        if found.code == "undetermined":
            assert (found.layer, found.evidence) == ("middle", {"update_ratio": ratios[1]})
            assert "weights of middle by 10% of their norm" in found.message
    probed = replace(run_evidence(own_loop=True, ratios=(1, 1, 1)), steps=1, probed=PROBED)
    assert only(probed).code == "healthy"


def test_a_loss_that_falls_slowly_needs_more_steps(run_evidence):
    found = only(run_evidence(losses=np.linspace(2.0, 1.9, 100)))
    assert found.code == "undetermined"
    last = 1.9 + 0.1 * 4.5 / 99  # the median of the last ten
    assert found.evidence == pytest.approx({"first_loss": 2, "last_loss": last, "steps": 100})
    assert "in 100 steps it only went from 2.00 to 1.90." in found.message
    assert found.override == "epochs=4"
    assert found.mend == "Train for four times as many steps."


def test_a_loss_that_falls_well_is_not_slow_whatever_else_is_wrong(run_evidence):
    norms = np.ones((100, 3))
    norms[50:, 1] = 0.0
    falling = only(run_evidence(norms=norms))
    assert "got no gradient" in falling.message
    flat = only(run_evidence(norms=norms, losses=np.full(100, LN_10)))
    assert "got no gradient" in flat.message


# Layers without a gradient ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "silent", "code"),
    [
        *((100, 10, "undetermined"), (100, 9, "healthy")),
        *((25, 3, "undetermined"), (25, 2, "healthy")),
    ],
)
def test_the_last_tenth_of_the_steps_decides(run_evidence, count, silent, code):
    norms = np.ones((count, 3))
    norms[count - silent :, 1] = 0.0
    losses = np.linspace(LN_10, 0.3, count)
    assert only(run_evidence(norms=norms, losses=losses)).code == code


def test_layers_without_a_gradient_are_named_and_dated(run_evidence):
    norms = np.ones((100, 3))
    norms[60:, 1] = 0.0
    one = only(run_evidence(norms=norms))
    assert (one.layer, one.evidence) == ("middle", {"layers": 1})
    assert one.message == (
        "Not sure: from step 61 on middle got no gradient, and no rule explains it. "
        "A probe of the model tells more: --probe signals."
    )
    norms[60:, 2] = 0.0
    together = only(run_evidence(norms=norms))
    assert (together.layer, together.evidence) == (None, {"layers": 2})
    assert "from step 61 on middle and last got no gradient" in together.message
    norms[50:, 2] = 0.0
    apart = only(run_evidence(norms=norms))
    assert "over the last part of the run middle and last got no gradient" in apart.message


def test_a_loop_of_ones_own_is_told_where_to_look(run_evidence):
    norms = np.ones((100, 3))
    norms[60:, 1] = 0.0
    losses = np.linspace(3, 1, 100)
    message = only(run_evidence(norms=norms, losses=losses, own_loop=True)).message
    assert "torch.no_grad()" in message and "--probe" not in message


def test_a_layer_that_does_not_move_is_not_healthy(run_evidence, setup_record):
    still = only(run_evidence(ratios=(0.01, 0.0, 0.01)))
    assert (still.code, still.layer, still.evidence) == ("undetermined", None, {})
    assert "a trained layer was not moved over the last part of the run" in still.message
    assert still.message.endswith("--probe signals.")
    own = only(run_evidence(ratios=(0.01, 0.0, 0.01), own_loop=True))
    assert own.message.endswith("GradientMonitor(every=1) for a few steps shows whether its "
                                "weights move.")  # fmt: skip
    ratios = np.full((5, 3), 0.01)
    ratios[3:, 1] = 0.0  # since step 5, and at a rate of zero in the end
    groups = (ParameterGroup((0, 1, 4, 5), 0.1), ParameterGroup((2, 3), 0.0))
    let_go = run_evidence(ratios=ratios, setup=setup_record(groups=groups))
    assert "was not moved" in only(let_go).message


def test_without_any_gradient_no_layer_is_known_to_get_one(run_evidence):
    found = run_evidence()
    none = only(replace(found, norms=found.norms[:0]))
    assert none.evidence == {"layers": 3}
