"""Rules on what a training starts from: its inputs, its weights and its first loss."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.limits import (
    HALF_LEFT,
    HUGE_WEIGHTS,
    INPUT_RANGE,
    LARGE_FIRST_LOSS,
    LARGE_WEIGHTS,
    LOSS_OF_GUESSING,
    SATURATED_UNITS,
    SMALL_WEIGHTS,
)
from gradcli.diagnosis.rules import starting_point
from gradcli.records import ParameterGroup, TensorRange

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
WELL = np.geomspace(LN_10, 0.02, 100)
#: Less than half of it is left, but not so little that whatever is odd did no harm.
FALLEN = np.concatenate([[LN_10], np.full(99, 0.45 * LN_10)])


def pixels(mean=33.0, std=56.0, low=0.0, high=255.0, **changes):
    return TensorRange((64, 784), mean, std, low, high, **changes)


# Inputs -------------------------------------------------------------------------------------


def test_raw_pixels_are_described_as_they_are(run_evidence, setup_record):
    evidence = run_evidence(setup=setup_record(inputs=pixels()), losses=FLAT)
    (found,) = starting_point.unscaled_inputs(evidence)
    assert (found.code, found.severity, found.layer) == ("unscaled-inputs", "warning", "first")
    assert found.evidence == {
        "lowest_input": 0.0,
        "highest_input": 255.0,
        "mean": 33.0,
        "std": 56.0,
        "first_loss": LN_10,
    }
    assert found.message == (
        "The inputs are not scaled: they range from 0 to 255, so the signals and gradients of "
        "first are too large by about 65.0."  # the root of 33^2 + 56^2
    )
    assert found.override == "data.normalize=mean_std"
    assert "subtract the mean, 33.0, and divide by the standard deviation, 56.0" in found.mend


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (pixels(mean=0.0, std=INPUT_RANGE.value), 0),
        (pixels(mean=0.0, std=1.01 * INPUT_RANGE.value), 1),
        (pixels(mean=-1.01 * INPUT_RANGE.value, std=0.0), 1),
        (pixels(high=math.inf), 0),
        (pixels(low=-math.inf), 0),
        (pixels(whole=True), 0),
        (None, 0),
    ],
)
def test_inputs_have_a_root_mean_square(run_evidence, setup_record, inputs, found):
    evidence = run_evidence(setup=setup_record(inputs=inputs))
    assert len(list(starting_point.unscaled_inputs(evidence))) == found
    assert not list(starting_point.unscaled_inputs(run_evidence()))


def test_a_training_that_learns_all_the_same_gets_a_remark(run_evidence, setup_record):
    evidence = run_evidence(setup=setup_record(inputs=pixels()), losses=WELL)
    (found,) = starting_point.unscaled_inputs(evidence)
    assert found.severity == "info"
    assert found.message.endswith(" The model learns all the same.")


@pytest.mark.parametrize(
    ("kind", "place", "single_path", "found"),
    [
        ("BatchNorm1d", 0, False, 0),
        ("LayerNorm", 0, True, 0),
        ("Embedding", 0, None, 0),
        ("BatchNorm1d", 1, True, 0),
        ("BatchNorm1d", 1, False, 1),
        ("BatchNorm1d", 2, True, 1),
    ],
)
def test_a_norm_layer_before_or_right_behind_the_first_one_helps(
    run_evidence, setup_record, kind, place, single_path, found
):
    layers = list(run_evidence().info.layers)
    layers[place] = replace(layers[place], kind=kind)
    setup = setup_record(inputs=pixels(), single_path=single_path)
    evidence = run_evidence(setup=setup, layers=tuple(layers))
    assert len(list(starting_point.unscaled_inputs(evidence))) == found


def test_the_layer_that_is_called_first_is_named(run_evidence, setup_record):
    backwards = setup_record(inputs=pixels(), call_order=(2, 1, 0))
    (found,) = starting_point.unscaled_inputs(run_evidence(setup=backwards))
    assert found.layer == "last"
    unknown = setup_record(inputs=pixels(), call_order=())
    (found,) = starting_point.unscaled_inputs(run_evidence(setup=unknown))
    assert found.layer == "first"


@pytest.mark.parametrize(
    ("large", "since"),
    [
        ((True, True, True), 1),
        ((False, True, True), 2),
        ((True, False, True, True), 21),
        ((False, True), None),  # one batch at most: it may have an outlier
        ((True, True, False), None),
        ((True,), 1),
        ((None, True, True), 2),
    ],
)
def test_inputs_are_unscaled_from_the_step_on_from_which_all_are(
    run_evidence, setup_record, large, since
):
    sound = setup_record().inputs
    setups = tuple(
        setup_record(step=step, inputs=None if one is None else pixels() if one else sound)
        for step, one in zip((0, 1, 20, 30), large, strict=False)
    )
    latest = setup_record(inputs=pixels())  # as far as it is looked at for its numbers
    evidence = replace(run_evidence(setup=latest, losses=FLAT), setups=setups)
    found = list(starting_point.unscaled_inputs(evidence))
    assert len(found) == (since is not None)
    for one in found:
        assert one.evidence.get("since_step", 1) == since
        assert ("since_step" in one.evidence) == (since > 1)
        assert one.message.startswith(f"From step {since} on, if not before, the") == (since > 1)


# Initial weights ----------------------------------------------------------------------------


def scaled(run_evidence, setup_record, gains, losses=FLAT, **more):
    setup = setup_record(weight_gains=tuple(gains), **more.pop("changes", {}))
    probed = more.pop("probed", None)
    evidence = run_evidence(setup=setup, losses=losses, **more)
    return list(starting_point.initial_scale(replace(evidence, probed=probed)))


@pytest.mark.parametrize(
    ("gains", "layer", "count"),
    [
        ((1, LARGE_WEIGHTS.value, 1), None, 0),
        ((1, 1.01 * LARGE_WEIGHTS.value, 1), "middle", 1),
        ((1, SMALL_WEIGHTS.value, 1), None, 0),
        ((1, 1, 0.99 * SMALL_WEIGHTS.value), "last", 1),
        ((math.nan, 0.05, 0.01), "middle", 2),
        ((5.0, 6.0, 7.0), "first", 3),
        ((math.nan,) * 3, None, 0),
        ((0.0, 1.0, 1.0), None, 0),  # zero on purpose
        ((0.0, 0.0, 0.0), "first", 3),
        ((0.0, 0.0, math.nan), "first", 2),
    ],
)
def test_weights_that_do_not_keep_the_size_of_a_signal(
    run_evidence, setup_record, gains, layer, count
):
    found = scaled(run_evidence, setup_record, gains)
    assert [one.layer for one in found] == ([layer] if layer else [])
    for one in found:
        place = ("first", "middle", "last").index(layer)
        assert one.evidence == {
            "weight_rms_times_root_fan_in": gains[place],
            "layers": count,
            "first_loss": LN_10,
            "loss_of_guessing": LN_10,
        }
        large = gains[place] > 1
        assert (f"{layer} are too large" in one.message) == large
        assert (f"{layer} are too small" in one.message) == (not large)
        others = {1: "", 2: " 1 other layer too.", 3: " 2 other layers too."}[count]
        assert one.message.endswith(
            ("signals grow, and activations saturate." if large else "and gradients with them.")
            + others
        )
        assert (one.code, one.severity) == ("initial-scale", "warning")
        assert f"Initialise {layer} with" in one.mend
        assert one.override == "init=default"
        limit = LARGE_WEIGHTS if large else SMALL_WEIGHTS
        assert f"sqrt(fan_in) {'above' if large else 'below'} {limit} (" in one.threshold


def test_large_weights_take_harm(run_evidence, setup_record):
    gains = (5.0, 1.0, 1.0)
    assert not scaled(run_evidence, setup_record, gains, FALLEN)
    for share, found in ((HALF_LEFT.value - 0.01, 0), (HALF_LEFT.value + 0.01, 1)):
        losses = np.concatenate([[LN_10], np.full(99, share * LN_10)])
        assert len(scaled(run_evidence, setup_record, gains, losses)) == found


@pytest.mark.parametrize(("beyond", "words"), [(False, None), (True, "while guessing has 2.30")])
def test_large_weights_and_a_first_loss_above_guessing(run_evidence, setup_record, beyond, words):
    first = LARGE_FIRST_LOSS.value * LN_10 * (1.001 if beyond else 1)
    losses = np.concatenate([[first], np.full(99, 0.3 * LN_10)])
    found = scaled(run_evidence, setup_record, (5.0, 1.0, 1.0), losses)
    assert len(found) == beyond
    for one in found:
        assert "before any update the loss is 4.61, while guessing has 2.30." in one.message
        assert one.evidence["first_loss"] == pytest.approx(first)


def test_huge_weights_cost_something_unless_nearly_all_is_learned(run_evidence, setup_record):
    huge, large = 1.01 * HUGE_WEIGHTS.value, HUGE_WEIGHTS.value
    assert scaled(run_evidence, setup_record, (1.0, huge, math.nan), FALLEN)
    assert not scaled(run_evidence, setup_record, (1.0, large, math.nan), FALLEN)
    assert not scaled(run_evidence, setup_record, (1.0, huge, math.nan), WELL)


@pytest.mark.parametrize(("excess", "found"), [(0.0, 0), (0.01, 1)])
def test_large_weights_that_saturate_are_to_blame(run_evidence, setup_record, excess, found):
    shares = np.array([0.1, SATURATED_UNITS.value + excess, math.nan])
    probed = Probed(np.zeros(3), shares, (False,) * 3)
    gains = (5.0, 1.0, 1.0)
    assert len(scaled(run_evidence, setup_record, gains, FALLEN, probed=probed)) == found
    unknown = replace(probed, saturated_fraction=np.full(3, math.nan))
    assert not scaled(run_evidence, setup_record, gains, FALLEN, probed=unknown)


def test_a_saturated_training_that_learns_all_the_same_is_a_remark(run_evidence, setup_record):
    probed = Probed(np.zeros(3), np.full(3, 0.9), (False,) * 3)
    (found,) = scaled(run_evidence, setup_record, (5.0, 1.0, 1.0), WELL, probed=probed)
    assert found.severity == "info"
    assert found.message.endswith(" The model learns all the same.")


def test_small_weights_take_steps_a_trained_layer_and_harm(run_evidence, setup_record):
    gains = (0.05, 1.0, 1.0)
    assert scaled(run_evidence, setup_record, gains, FLAT[:2])
    assert not scaled(run_evidence, setup_record, gains, FLAT[:1])
    assert not scaled(run_evidence, setup_record, gains, WELL)
    frozen = {"requires_grad": (False, False, True, True, True, True)}
    assert not scaled(run_evidence, setup_record, gains, changes=frozen)


def test_large_weights_count_before_small_ones_and_are_told_of_a_fresh_model(
    run_evidence, setup_record
):
    (found,) = scaled(run_evidence, setup_record, (0.01, 5.0, 0.01), FLAT[:1])
    assert (found.layer, found.evidence["layers"]) == ("middle", 1)


# Units and layers that are alike ------------------------------------------------------------


def test_identical_units_of_trained_layers(run_evidence, setup_record):
    setup = setup_record(
        identical_units=(0, 1, 2), requires_grad=(False, False, True, True, True, True)
    )
    (found,) = starting_point.identical_units(run_evidence(setup=setup, losses=FLAT))
    assert (found.code, found.severity, found.layer) == ("initial-scale", "warning", "middle")
    assert found.evidence == {"layers": 2}
    assert found.message.startswith("All units of middle have the same weights")
    assert found.message.endswith("so they stay one unit.")
    assert (found.override, found.mend) == (
        "init=default",
        "Initialise middle with random weights.",
    )
    (found,) = starting_point.identical_units(run_evidence(setup=setup, losses=WELL))
    assert found.severity == "info"
    assert found.message.endswith(" The model learns all the same.")


def test_units_that_differ_or_are_frozen_or_unknown_are_no_matter(run_evidence, setup_record):
    frozen = setup_record(identical_units=(0,), requires_grad=(False,) * 2 + (True,) * 4)
    for setup in (None, setup_record(), frozen):
        assert not list(starting_point.identical_units(run_evidence(setup=setup)))
    same = setup_record(identical_units=(1,))
    of_the_first_step = replace(run_evidence(setup=same), first_setup=setup_record())
    assert not list(starting_point.identical_units(of_the_first_step))


def at_zero(run_evidence, setup_record, gains=(1.0, 0.0, 0.0), norms=(1, 0, 0), **changes):
    count = changes.pop("count", 100)
    setup = setup_record(weight_gains=gains, **changes)
    return run_evidence(setup=setup, norms=norms, losses=FLAT[:count])


def test_weights_at_zero_that_take_the_gradient_from_one_another(run_evidence, setup_record):
    (found,) = starting_point.zero_weights(at_zero(run_evidence, setup_record))
    assert (found.code, found.severity, found.layer) == ("initial-scale", "error", "middle")
    assert found.evidence == {"layers": 2, "largest_grad_norm": 0.0, "steps": 100}
    assert found.message.startswith("The initial weights of middle and last are all 0")
    assert "so none ever moves" in found.message
    assert found.override == "init=default"
    assert found.mend.startswith("Initialise middle with random weights; of two matrices")


def test_one_layer_at_zero_and_three_of_them(run_evidence, setup_record):
    one = at_zero(run_evidence, setup_record, (1.0, 0.0, 1.0), (1, 0, 1), count=2)
    (found,) = starting_point.zero_weights(one)
    assert found.message.endswith("at every step: it never moves.")
    assert found.mend == "Initialise middle with random weights."
    assert found.evidence == {"layers": 1, "largest_grad_norm": 0.0, "steps": 2}
    three = at_zero(run_evidence, setup_record, (0.0,) * 3, (0, 0, 0))
    (found,) = starting_point.zero_weights(three)
    assert "weights of first and 2 other layers are all 0" in found.message


@pytest.mark.parametrize(
    "changes",
    [
        {"gains": (1.0, 0.1, 0.1)},
        {"norms": (1, 1, 1)},
        {"count": 1},
        {"count": 0},
        {"requires_grad": (True, True, False, False, False, False)},
        {"groups": (ParameterGroup((0, 1), 0.1),)},
        {"without_gradient": (2, 3, 4, 5)},
    ],
)
def test_layers_that_are_not_stuck_at_zero(run_evidence, setup_record, changes):
    evidence = at_zero(run_evidence, setup_record, **changes)
    assert starting_point.stuck_at_zero(evidence) == []
    assert not list(starting_point.zero_weights(evidence))


def test_a_gradient_at_a_single_step_moves_weights_from_zero(run_evidence, setup_record):
    norms = np.zeros((100, 3))
    norms[:, 0] = 1.0
    norms[50, 1] = 1e-9
    evidence = at_zero(run_evidence, setup_record, norms=norms)
    assert starting_point.stuck_at_zero(evidence) == [2]


# The first loss -----------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [False, True])
def test_a_first_loss_far_above_guessing(run_evidence, beyond):
    first = LOSS_OF_GUESSING.value * LN_10 * (1.001 if beyond else 1)
    found = list(starting_point.wild_guesses(run_evidence(losses=np.full(100, first))))
    assert len(found) == beyond
    for one in found:
        assert (one.code, one.severity, one.layer) == ("exploding", "warning", "first")
        assert one.evidence == pytest.approx({"first_loss": first, "loss_of_guessing": LN_10})
        assert one.message.endswith("the loss is 11.5, while guessing has 2.30.")
        assert one.override == "init=default"
    learned = np.geomspace(2 * first, 0.02, 100)
    (remark,) = starting_point.wild_guesses(run_evidence(losses=learned))
    assert remark.severity == "info"
    assert remark.message.endswith(" The model learns all the same.")
