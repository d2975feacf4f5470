"""Rules on gradients: whether they reach every layer and unit, and how large they are."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed, ThroughTime
from gradcli.diagnosis.limits import (
    DEAD_UNITS,
    DEPTH_FACTOR,
    LOSS_BLOWN_UP,
    LOSS_OF_GUESSING,
    SATURATED_UNITS,
    SILENT_STEPS,
    SMALL_UPDATE,
    STILL_TO_LEARN,
    WELL_LEARNED,
)
from gradcli.diagnosis.loss_trend import RateChange
from gradcli.diagnosis.rules import flow
from gradcli.records import FaultRecord, ParameterGroup, ParameterInfo

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
ALL = tuple(range(6))
FAULT = FaultRecord(101, 1, "forward", "middle", math.nan, ())


def then(share):
    return LN_10 * np.r_[1, np.full(99, share)]


def probe(dead=(0, 0, 0), saturated=(0, 0, 0), **more):
    return Probed(np.array(dead, float), np.array(saturated, float), (False,) * 3, **more)


# No gradient --------------------------------------------------------------------------------


def no_gradient(run_evidence, norms, probed=None, **more):
    return list(flow.no_gradient(replace(run_evidence(norms=norms, **more), probed=probed)))


def test_a_layer_that_the_loss_does_not_depend_on(run_evidence):
    (found,) = no_gradient(run_evidence, (1, 0, 1))
    assert (found.code, found.severity, found.layer) == ("no-gradient", "error", "middle")
    assert found.evidence == {"largest_grad_norm": 0.0, "steps": 100}
    assert found.message.startswith("No gradient reached middle: the loss does not depend on")
    assert found.override == "activation=leaky_relu init=kaiming"
    assert "what cuts the graph behind middle" in found.mend


def test_of_a_block_the_last_layer_is_named(run_evidence):
    (found,) = no_gradient(run_evidence, (0, 0, 1))
    assert found.layer == "middle"
    assert "reached middle, or the layers before it from first on: the" in found.message
    first, last = no_gradient(run_evidence, (0, 1, 0))
    assert (first.layer, last.layer) == ("first", "last")
    assert "or the layers before" not in last.message


def test_a_gradient_at_a_single_step_is_one(run_evidence):
    norms = np.zeros((100, 3))
    norms[70] = 1e-20
    assert not no_gradient(run_evidence, norms)
    # Of a training that broke, only the first step counts.
    assert no_gradient(run_evidence, norms, fault=FAULT)[0].evidence["steps"] == 100
    assert not no_gradient(run_evidence, norms[:0], losses=FLAT[:0])


def test_layers_that_are_frozen_or_not_this_optimizers_are_aside(run_evidence, setup_record):
    frozen = setup_record(requires_grad=(True, True, False, False, True, True))
    elsewhere = setup_record(groups=(ParameterGroup((0, 1, 4, 5), 0.1),))
    for setup in (frozen, elsewhere):
        assert not no_gradient(run_evidence, (1, 0, 1), setup=setup)


def test_a_layer_of_dead_units_is_left_to_the_probe(run_evidence):
    assert not no_gradient(run_evidence, (1, 0, 1), probe(dead=(0, 1, 0)))
    assert no_gradient(run_evidence, (1, 0, 1), probe(dead=(1, 0.9, 1)))
    (found,) = no_gradient(run_evidence, (0, 1, 0), probe(dead=(1, 0, 0)))
    assert found.layer == "last"


def test_units_that_are_dead_from_the_start(run_evidence, setup_record):
    (found,) = no_gradient(run_evidence, (0, 0, 1), setup=setup_record())
    assert (found.code, found.severity, found.layer) == ("dead-units", "error", "middle")
    assert found.evidence == {"since_step": 1, "layers": 2, "steps": 100}
    assert found.message.startswith("All units of middle are dead from the start")
    assert found.message.endswith(" 1 other layer is affected too.")
    assert found.override == "activation=leaky_relu init=kaiming"
    (found,) = no_gradient(run_evidence, (1, 0, 1), setup=setup_record())
    assert found.evidence["layers"] == 1
    assert found.message.endswith("exactly 0 at every step.")
    cut = setup_record(without_gradient=(2, 3))
    assert no_gradient(run_evidence, (1, 0, 1), setup=cut)[0].code == "no-gradient"


def test_weights_stuck_at_zero_are_left_to_their_own_rule(run_evidence, setup_record):
    setup = setup_record(weight_gains=(1.0, 0.0, 1.0))
    assert not no_gradient(run_evidence, (0, 0, 1), setup=setup)
    (found,) = no_gradient(run_evidence, (1, 0, 1), setup=setup_record(weight_gains=(0.0, 1, 1)))
    assert found.layer == "middle"
    setup = setup_record(weight_gains=(0.0, 1.0, 1.0))
    assert [one.layer for one in no_gradient(run_evidence, (0, 1, 0), setup=setup)] == ["last"]


def of_matrices(run_evidence, setup_record, name="middle", kind="Mine", **changes):
    """Evidence of a layer of two matrices that gets no gradient, among three."""
    first, middle, last = run_evidence().info.layers
    prefix = "" if name == "(model)" else f"{name}."
    matrices = tuple(ParameterInfo(f"{prefix}{one}", (8, 16)) for one in "ab")
    layers = (first, replace(middle, name=name, kind=kind, parameters=matrices), last)
    evidence = run_evidence(norms=(1, 0, 1), setup=setup_record(**changes))
    evidence = replace(evidence, layers=layers, info=replace(evidence.info, layers=layers))
    return list(flow.no_gradient(evidence))


def test_own_parameters_that_are_multiplied_by_zero(run_evidence, setup_record):
    (found,) = of_matrices(run_evidence, setup_record)
    assert (found.code, found.severity, found.layer) == ("no-gradient", "error", "middle")
    assert found.evidence == {"largest_grad_norm": 0.0, "layers": 1, "steps": 100}
    assert found.message == (
        "The gradients of a and b of middle exist, but are exactly 0 at every step, so none of "
        "them can learn."
    )
    assert "in the forward pass of middle" in found.mend
    assert found.override is None
    (found,) = of_matrices(run_evidence, setup_record, "(model)")
    assert found.message.startswith("The gradients of a and b of the model exist")


def test_modules_of_pytorch_and_missing_gradients_are_no_own_parameters(run_evidence, setup_record):
    for kind in ("RNN", "LSTMCell", "GRU", "MultiheadAttention"):
        (found,) = of_matrices(run_evidence, setup_record, kind=kind)
        assert found.code == "dead-units"
    (found,) = of_matrices(run_evidence, setup_record, without_gradient=(2,))
    assert found.message.startswith("No gradient reached middle")


def test_each_block_of_layers_has_its_finding(run_evidence, setup_record):
    setup = setup_record()
    assert [one.layer for one in no_gradient(run_evidence, (0, 1, 0), setup=setup)] == [
        *("first", "last")
    ]
    evidence = run_evidence(norms=(0, 1, 0), setup=setup)
    matrices = tuple(ParameterInfo(f"first.{one}", (8, 16)) for one in "ab")
    layers = (replace(evidence.layers[0], parameters=matrices), *evidence.layers[1:])
    evidence = replace(evidence, layers=layers, info=replace(evidence.info, layers=layers))
    first, last = flow.no_gradient(evidence)
    assert (first.code, first.layer) == ("no-gradient", "first")
    assert (last.code, last.layer) == ("dead-units", "last")


def test_layers_before_own_parameters_are_affected_too(run_evidence, setup_record):
    layers = run_evidence().info.layers
    matrices = tuple(ParameterInfo(f"last.{one}", (8, 16)) for one in "abc")
    layers = (*layers[:2], replace(layers[2], kind="Mine", parameters=matrices))
    setup = setup_record(requires_grad=(True,) * 7, groups=(ParameterGroup(tuple(range(7)), 0.1),))
    evidence = replace(run_evidence(norms=(1, 0, 0), setup=setup_record()), setup=setup)
    evidence = replace(evidence, layers=layers, info=replace(evidence.info, layers=layers))
    (found,) = flow.no_gradient(evidence)
    assert found.message.startswith("The gradients of a, b and c of last exist")
    assert found.message.endswith(" 1 other layer is affected too.")
    assert found.evidence["layers"] == 2


# Layers that fell silent --------------------------------------------------------------------


def silent_from(**since):
    norms = np.ones((100, 3))
    for name, step in since.items():
        norms[step - 1 :, ("first", "middle", "last").index(name)] = 0.0
    return norms


def fell_silent(run_evidence, norms, rate_changes=(), setups=(), **more):
    evidence = replace(run_evidence(norms=norms, **more), rate_changes=rate_changes)
    return list(flow.fell_silent(replace(evidence, setups=setups)))


def test_the_layer_that_fell_silent_first_is_named(run_evidence):
    norms = silent_from(first=30, middle=20, last=20)
    (found,) = fell_silent(run_evidence, norms)
    assert (found.code, found.severity, found.layer) == ("dead-units", "error", "last")
    assert found.evidence == {"since_step": 20, "layers": 3, "steps_without_gradient": 81}
    assert found.message.startswith("From step 20 on no gradient reaches last: all its units")
    assert found.message.endswith("stay dead. 2 other layers are affected too.")
    assert found.override == "activation=leaky_relu init=kaiming"
    assert found.mend.startswith("Lower the learning rate, or use an activation")


@pytest.mark.parametrize(("steps", "found"), [(0, 1), (-1, 0)])
def test_silence_takes_ten_steps(run_evidence, steps, found):
    norms = silent_from(middle=101 - int(SILENT_STEPS.value) - steps)
    assert len(fell_silent(run_evidence, norms)) == found


def test_of_a_fault_or_another_optimizer_silence_says_nothing(run_evidence, setup_record):
    norms = silent_from(middle=20)
    assert not fell_silent(run_evidence, norms, fault=FAULT)
    groups = (ParameterGroup((0, 1, 4, 5), 0.1),)
    assert not fell_silent(run_evidence, norms, setup=setup_record(groups=groups))
    both = silent_from(first=25, middle=20)
    (found,) = fell_silent(run_evidence, both, setup=setup_record(groups=groups))
    assert (found.layer, found.evidence["layers"]) == ("first", 1)
    assert not fell_silent(run_evidence, np.ones((100, 3)))


def written(run_evidence, setup_record, *, since=4, change=0.2, ratio=0.01, later=None, **more):
    """Silent since step 4, between the measurements at steps 3 and 5, when a norm is 9.5."""
    weights = np.full((5, 3), 9.5)
    weights[3:, 1] += change
    setups = (setup_record(step=0), setup_record(**{"step": 5, **(later or {})}))
    given = {"weights": weights, "ratios": (0.01, ratio, 9.0), "losses": FLAT, **more}
    norms = silent_from(middle=since)
    (found,) = fell_silent(run_evidence, norms, setups=setups, **given)
    told = "Its parameters changed by more than the measured updates add up to." in found.message
    assert told == found.mend.startswith("Look for what writes to the parameters of middle at step")
    return told


def test_a_norm_may_be_written_between_the_first_two_measurements(run_evidence, setup_record):
    """One update of a hundredth can change a norm of 9.5 by 0.095."""
    for change, was_written in ((0.1, True), (0.09, False)):
        weights = np.array([[9.5] * 3, *[[9.5, 9.5 + change, 9.5]] * 4])
        more = {"weights": weights, "change": 0.0, "since": 2}
        assert written(run_evidence, setup_record, **more) == was_written


def test_a_norm_that_updates_do_not_explain_was_written(run_evidence, setup_record):
    """Two updates of a hundredth can change a norm of 9.5 by 0.19."""
    assert written(run_evidence, setup_record, change=0.2)
    assert written(run_evidence, setup_record, change=-0.2)
    assert not written(run_evidence, setup_record, change=0.18)
    assert not written(run_evidence, setup_record, change=-0.18)


def test_an_update_on_either_side_may_explain_it(run_evidence, setup_record):
    for row, explains in ((1, False), (2, True), (3, True), (4, False)):
        ratios = np.full((5, 3), 0.01)
        ratios[row, 1] = 0.02
        told = written(run_evidence, setup_record, ratios=ratios)
        assert told == (not explains)


@pytest.mark.parametrize(
    "changes",
    [
        {"since": 3, "change": 0.2},  # then it was between the steps 2 and 3
        {"since": 6, "change": 0.2},
        {"since": 11, "change": 0.2},  # nothing is measured after it
        {"ratio": 0.0},
        {"ratio": math.nan},
        {"rate_changes": (RateChange(50, 8.0),)},
        {"later": {"groups": (ParameterGroup(ALL, 0.2),)}},
        {"later": {"step": 2}},  # no record of the rates after it
    ],
)
def test_what_else_may_explain_a_norm(run_evidence, setup_record, changes):
    assert not written(run_evidence, setup_record, **changes)


def test_without_a_record_before_it_nothing_is_known_of_the_rates(run_evidence, setup_record):
    weights = np.full((5, 3), 9.5)
    weights[3:, 1] += 1.0
    norms = silent_from(middle=4)
    for step, told in ((2, True), (3, False)):
        setups = (setup_record(step=step), setup_record(step=5))
        (found,) = fell_silent(run_evidence, norms, setups=setups, weights=weights, losses=FLAT)
        assert ("Its parameters changed" in found.message) == told


@pytest.mark.parametrize(("share", "told"), [(1.01, False), (0.99, True)])
def test_a_loss_that_had_blown_up_explains_it(run_evidence, setup_record, share, told):
    losses = FLAT.copy()
    losses[2] *= share * LOSS_BLOWN_UP.value
    assert written(run_evidence, setup_record, losses=losses) == told
    later = FLAT.copy()
    later[3] *= share * LOSS_BLOWN_UP.value
    assert written(run_evidence, setup_record, losses=later)


# Along the depth ----------------------------------------------------------------------------


def along(run_evidence, norms=(1, 1, 1), *, inputs=None, probed=None, **more):
    evidence = run_evidence(norms=norms, **{"losses": FLAT, "weights": np.ones((5, 3)), **more})
    if inputs is not None:
        evidence = replace(evidence, input_norms=np.tile(np.array(inputs, float), (5, 1)))
    return list(flow.vanishing_or_exploding(replace(evidence, probed=probed)))


def test_gradients_that_vanish_along_the_depth(run_evidence):
    (found,) = along(run_evidence, (2e-5, 1e-5, 4.0))
    assert (found.code, found.severity, found.layer) == ("vanishing", "warning", "middle")
    assert found.evidence == pytest.approx(
        {
            "layers": "first to middle",
            "relative_grad_norm": 1e-5,
            "largest_relative_grad_norm": 4.0,
            "largest_in": "last",
            "weakest_in": "middle",
            "factor": 2.5e-6,
        }
    )
    assert found.message == (
        "Gradients vanish in first and middle: the gradient relative to the weights of middle is "
        "2.50e-06 times that of last, so the layers near the input hardly learn."
    )
    assert found.override == "init=kaiming"
    assert found.mend.startswith("Use ReLU with kaiming")


def test_gradients_that_explode_along_the_depth(run_evidence):
    (found,) = along(run_evidence, (4.0, 2e-5, 1e-5))
    assert (found.code, found.severity, found.layer) == ("exploding", "warning", "first")
    assert found.evidence["layers"] == "middle to last"
    assert found.evidence["weakest_in"] == "last"
    assert found.message == (
        "Gradients explode on their way to the input: the gradient relative to the weights of "
        "first is 4.00e+05 times that of last."
    )
    assert found.override == "init=default"
    assert found.mend.startswith("Initialise with smaller weights")


def test_of_one_weak_layer_the_name_is_told(run_evidence):
    (found,) = along(run_evidence, (1e-5, 1.0, 1.0))
    assert found.evidence["layers"] == "first"
    assert found.message.startswith("Gradients vanish in first: ")


@pytest.mark.parametrize(
    ("norms", "codes"),
    [
        ((0.99 * DEPTH_FACTOR.value, 1, 1), ["vanishing"]),
        ((DEPTH_FACTOR.value, 1, 1), []),
        ((1, 1, 0.99 * DEPTH_FACTOR.value), ["exploding"]),
        ((1, 1, DEPTH_FACTOR.value), []),
        ((1e-5, 1, 1e-5), ["vanishing", "exploding"]),
        ((0, 1, 1e-5), ["exploding"]),  # without any gradient is another matter
        ((1e-5, 1, 0), ["vanishing"]),
        ((0, 1, 0), []),
    ],
)
def test_neighbours_of_the_strongest_layer_are_compared_with_it(run_evidence, norms, codes):
    assert [one.code for one in along(run_evidence, norms)] == codes


def test_norms_are_relative_to_weights(run_evidence):
    weights = np.tile([1e-5, 1.0, 1.0], (5, 1))
    assert not along(run_evidence, (1e-5, 1, 1), weights=weights)
    weights = np.tile([0.0, 1.0, 1.0], (5, 1))
    assert not along(run_evidence, (1e-5, 1, 1), weights=weights)  # not known


def test_layers_of_another_optimizer_are_not_compared(run_evidence, setup_record):
    setup = setup_record(groups=(ParameterGroup((0, 1, 2, 3), 0.1),))
    assert not along(run_evidence, (1e-6, 1e-5, 1), setup=setup)
    assert along(run_evidence, (1e-6, 1, 1), setup=setup)


def test_gradients_of_inputs_tell_what_those_of_weights_do_not(run_evidence):
    (found,) = along(run_evidence, inputs=(1e-5, 1, 1))
    assert found.evidence["input_grad_norm"] == pytest.approx(1e-5)
    assert found.evidence["largest_input_grad_norm"] == 1.0
    assert "the gradient w.r.t. the input of first is 1.00e-05 times" in found.message
    (found,) = along(run_evidence, (1e-4, 1, 1), inputs=(1, 1, 1e-5))
    assert (found.code, found.evidence["relative_grad_norm"]) == ("vanishing", 1e-4)
    assert not along(run_evidence, np.ones((0, 3)), losses=FLAT[:0])


@pytest.mark.parametrize(("left", "severity"), [(0.99, "info"), (1.01, "warning")])
def test_what_learns_all_the_same_gets_a_remark(run_evidence, left, severity):
    losses = then(left * STILL_TO_LEARN.value)
    (found,) = along(run_evidence, (1e-5, 1, 1), losses=losses, ratios=(1e-6, 0.01, 0.01))
    assert (found.code, found.severity) == ("vanishing", severity)
    assert found.message.endswith(
        "but the model learns all the same." if severity == "info" else "hardly learn."
    )
    (found,) = along(run_evidence, (1, 1, 1e-5), losses=losses, ratios=(0.01, 0.01, 1e-6))
    assert (found.code, found.severity) == ("exploding", severity)


@pytest.mark.parametrize(
    ("left", "ratio", "changes", "found"),
    [
        (0.99 * WELL_LEARNED.value, SMALL_UPDATE.value, {}, 0),
        (WELL_LEARNED.value, SMALL_UPDATE.value, {}, 1),
        (0.99 * WELL_LEARNED.value, 0.99 * SMALL_UPDATE.value, {}, 1),
        (0.99 * WELL_LEARNED.value, SMALL_UPDATE.value, {"fault": FAULT}, 1),
    ],
)
def test_a_layer_with_a_small_gradient_may_learn(run_evidence, left, ratio, changes, found):
    ratios = (ratio, 1e-9, 1e-9)
    given = {"losses": then(left), "ratios": ratios, **changes}
    assert len(along(run_evidence, (1e-5, 1, 1), **given)) == found


def test_without_measured_updates_no_layer_is_known_to_learn(run_evidence):
    evidence = run_evidence(norms=(1e-5, 1, 1), losses=then(0.5))
    assert not list(flow.vanishing_or_exploding(evidence))
    unmeasured = replace(evidence, update_ratios=evidence.update_ratios[:0])
    assert list(flow.vanishing_or_exploding(unmeasured))


def test_a_wild_first_loss_is_an_explosion_unless_the_layers_tell_of_one(run_evidence):
    wild = np.full(100, 1.01 * LOSS_OF_GUESSING.value * LN_10)
    (found,) = along(run_evidence, losses=wild)
    assert (found.code, "first_loss" in found.evidence) == ("exploding", True)
    (found,) = along(run_evidence, (1, 1, 1e-5), losses=wild)
    assert (found.code, "factor" in found.evidence) == ("exploding", True)
    assert [one.code for one in along(run_evidence, (1e-5, 1, 1), losses=wild)] == [
        *("vanishing", "exploding")
    ]


def test_of_a_wreck_only_the_first_step_counts(run_evidence):
    norms = np.ones((100, 3))
    norms[1:, 0] = 1e-5
    assert along(run_evidence, norms)
    assert not along(run_evidence, norms, fault=FAULT)
    assert not along(run_evidence, norms, losses=then(4.0))
    inputs = np.ones((5, 3))
    inputs[1:, 0] = 1e-5
    evidence = replace(run_evidence(losses=FLAT), input_norms=inputs)
    assert list(flow.vanishing_or_exploding(evidence))
    assert not list(flow.vanishing_or_exploding(replace(evidence, fault=FAULT)))


def test_time_steps_are_compared_as_well(run_evidence):
    one = ThroughTime("rnn", np.array([1e-9, 1e-9, 1e-9, 1.0]), False)
    found = along(run_evidence, (1e-5, 1, 1), probed=probe(through_time=(one, one)))
    assert [finding.layer for finding in found] == ["first", "rnn", "rnn"]
    assert not along(run_evidence, probed=probe())


# Units --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "severity"),
    [(DEAD_UNITS.value, None), (DEAD_UNITS.value + 0.01, "warning"), (1.0, "error")],
)
def test_most_units_of_a_layer_are_dead(run_evidence, share, severity):
    probed = probe(dead=(0.5, share, math.nan))
    found = list(flow.dead_units(replace(run_evidence(), probed=probed)))
    assert [one.severity for one in found] == ([severity] if severity else [])
    for one in found:
        assert (one.code, one.layer) == ("dead-units", "middle")
        assert one.evidence == {"dead_fraction": share, "layers": 1}
        assert one.message.startswith(
            "All units of middle output zero" if share == 1 else "81% of the units of middle output"
        )
        assert one.message.endswith("comes back." if share == 1 else "they stay dead.")
        assert one.override == "activation=leaky_relu init=kaiming"


@pytest.mark.parametrize("beyond", [False, True])
def test_most_activations_of_a_layer_are_saturated(run_evidence, beyond):
    share = SATURATED_UNITS.value + 0.1 * beyond
    probed = probe(saturated=(0.1, share, math.nan))
    found = list(flow.saturated(replace(run_evidence(), probed=probed)))
    assert len(found) == beyond
    for one in found:
        assert (one.code, one.severity, one.layer) == ("saturated", "warning", "middle")
        assert one.evidence == {"saturated_fraction": share, "layers": 1}
        assert one.message.startswith("60% of the activations of middle are on the flat ends")
        assert one.override == "activation=relu init=kaiming"


def test_of_several_layers_the_worst_is_named_and_others_counted(run_evidence):
    shares = (0.85, 0.95, 0.9)
    for rule, probed in (
        (flow.dead_units, probe(dead=shares)),
        (flow.saturated, probe(saturated=shares)),
    ):
        (found,) = rule(replace(run_evidence(), probed=probed))
        assert (found.layer, found.evidence["layers"]) == ("middle", 3)
        assert found.message.endswith(" 2 other layers are affected too.")
        assert not list(rule(run_evidence()))
