"""What evidence says of itself: the batch, the layers that are trained, the optimizer."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.evidence import matrix_layers, nanmedian
from gradcli.diagnosis.limits import (
    SILENT_STEPS,
)
from gradcli.records import LayerInfo, ParameterGroup, ParameterInfo, TensorRange

LN_10 = math.log(10)
ALL = tuple(range(6))
#: 40 steps at the loss of guessing, that is in a training that is not an own loop.
FLAT = np.full(40, LN_10)


# The batch and the layers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "shape", "size"),
    [
        (32, (64, 16), 32),
        (0, (64, 16), 64),
        (0, (64,), 0),
        (0, (), 0),
        (0, None, 0),
        (32, None, 32),
    ],
)
def test_the_batch_is_what_a_forward_pass_takes(run_evidence, setup_record, known, shape, size):
    inputs = None if shape is None else TensorRange(shape, 0.0, 1.0, -1.0, 1.0)
    found = run_evidence(batch_size=known, setup=setup_record(inputs=inputs))
    assert found.batch_size == size
    assert run_evidence(batch_size=known).batch_size == known


def test_layers_are_called_in_the_order_of_the_setup(run_evidence, setup_record):
    found = run_evidence(setup=setup_record(call_order=(2, 0, 1)))
    assert found.first_called.name == "last"
    assert [layer.name for layer in found.called_first(2)] == ["last", "first"]
    for unknown in (run_evidence(), run_evidence(setup=setup_record(call_order=()))):
        assert unknown.first_called is None
        assert unknown.called_first(2) == []


def test_what_is_probed_follows_the_order_of_the_layers(run_evidence, setup_record):
    probed = Probed(np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6]), (True, False, False))
    backwards = run_evidence(setup=setup_record(call_order=(2, 0, 1))).with_probed(probed)
    assert backwards.probed.dead_fraction.tolist() == [0.3, 0.1, 0.2]
    assert backwards.probed.saturated_fraction.tolist() == [0.6, 0.4, 0.5]
    assert backwards.frozen == backwards.probed.frozen == (False, True, False)
    assert run_evidence(setup=setup_record()).with_probed(probed).probed is probed
    assert replace(backwards, order=(2, 0, 1)).with_probed(None).probed is None


def test_norms_are_relative_to_weights(run_evidence):
    norms = np.tile([1.0, 2.0, 3.0], (100, 1))
    norms[:20] = 100.0
    found = run_evidence(norms=norms, weights=np.array([2.0, 8.0, 0.0]))
    assert found.relative_norms == pytest.approx([0.5, 0.25, math.nan], nan_ok=True)


def test_without_a_setup_a_layer_is_frozen_if_nothing_reaches_or_moves_it(run_evidence):
    ratios = (math.nan, math.nan, 0.01)
    assert run_evidence(norms=(0, 1, 0), ratios=ratios).frozen == (True, False, False)
    assert run_evidence(norms=(0, 0, 0), ratios=ratios, weights=np.array([0.0, 0.5, 9.0])).frozen \
        == (False, True, False)  # fmt: skip
    found = run_evidence(norms=(0, 0, 0), ratios=ratios)
    for unknown in ({"norms": found.norms[:0]}, {"update_ratios": found.update_ratios[:0]}):
        assert replace(found, **unknown).frozen == (False,) * 3
    norms, ratios = np.zeros((100, 3)), np.full((5, 3), math.nan)
    norms[50, 0], ratios[2, 1] = 1.0, 0.0
    assert run_evidence(norms=norms, ratios=ratios).frozen == (False, False, True)


def test_a_layer_is_frozen_if_none_of_its_parameters_is_trained(run_evidence, setup_record):
    trained = (False, False, True, False, True, True)
    found = run_evidence(setup=setup_record(requires_grad=trained))
    assert found.frozen == (True, False, False)
    assert [found.is_frozen(name) for name in ("first", "middle")] == [True, False]
    assert not run_evidence().is_frozen("first")


def test_parameters_are_counted_through_the_layers(run_evidence):
    found = run_evidence()
    assert [found.parameters_of(one) for one in found.layers] == [
        range(0, 2), range(2, 4), range(4, 6)
    ]  # fmt: skip
    assert found.parameters_of(replace(found.layers[1], depth=9)) == range(2, 4)
    with pytest.raises(KeyError, match="other"):
        found.parameters_of(replace(found.layers[1], name="other"))


def test_a_layer_is_moved_by_any_update_that_is_not_zero(run_evidence):
    ratios = np.array([[0.0, 0.0, math.nan]] * 5)
    ratios[3, 0] = 1e-9
    ratios[2, 1] = math.nan
    assert run_evidence(ratios=ratios).moved_by_updates.tolist() == [True, False, True]


def test_usual_updates_are_medians_of_those_measured(run_evidence):
    ratios = np.array([[1.0, math.nan, math.nan]] * 2 + [[3.0, 2.0, math.nan]] * 3)
    found = run_evidence(ratios=ratios).usual_update_ratios
    assert found == pytest.approx([3.0, 2.0, math.nan], nan_ok=True)
    assert np.isnan(nanmedian(np.empty((0, 2)))).tolist() == [True, True]


# Layers that stopped ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("still", "last_step", "since"),
    [
        (1, 1000, 0),  # one measurement is too few
        (2, 14, 5),  # from step 5 on: ten steps
        (2, 13, 0),
        (3, 14, 3),
        (5, 14, 1),
        (0, 14, 0),
    ],
)
def test_a_layer_that_the_optimizer_let_go_stands_still(
    run_evidence, setup_record, still, last_step, since
):
    """Measured at steps 1, 2, 3, 5 and 10 of a run of 40 or fewer."""
    ratios = np.full((5, 3), 0.01)
    ratios[5 - still :, 1] = 0.0
    without = setup_record(groups=(ParameterGroup((0, 1, 4, 5), 0.1),))
    found = replace(run_evidence(losses=FLAT, ratios=ratios, setup=without), last_step=last_step)
    assert found.still_since.tolist() == [0, since, 0]
    held = setup_record(groups=(ParameterGroup((0, 1, 3, 4, 5), 0.1),))
    assert not replace(found, setup=held).still_since.any()
    at_rest = setup_record(groups=(ParameterGroup(ALL, 0.0),))
    assert replace(found, setup=at_rest).still_since.tolist() == [0, since, 0]


def test_of_a_long_run_a_tenth_has_to_stand_still(run_evidence, setup_record):
    ratios = np.full((5, 3), 0.01)
    ratios[3:, 1] = 0.0  # from step 5 on
    without = setup_record(groups=(ParameterGroup((0, 1, 4, 5), 0.1),))
    found = run_evidence(losses=FLAT, ratios=ratios, setup=without)
    for steps, since in ((360, 5), (361, 0)):  # 36 steps from step 5 to step 40
        assert replace(found, steps=steps).still_since.tolist() == [0, since, 0]


def test_nothing_is_still_if_nothing_was_measured(run_evidence, setup_record):
    nothing = setup_record(groups=())
    found = run_evidence(ratios=(0, 0, 0), setup=nothing)
    assert found.still_since.tolist() == [1, 1, 1]
    unmeasured = replace(found, update_ratios=np.empty((0, 3)), record_steps=np.empty(0, int))
    assert unmeasured.still_since.tolist() == [0, 0, 0]
    assert run_evidence(ratios=(0, 0, 0)).still_since.tolist() == [0, 0, 0]


@pytest.mark.parametrize("steps_silent", [9, 10])
def test_a_layer_fell_silent_if_it_had_a_gradient_before(run_evidence, setup_record, steps_silent):
    assert SILENT_STEPS.value == 10
    norms = np.ones((100, 3))
    norms[100 - steps_silent :, 1] = 0.0
    norms[:, 2] = 0.0
    silent = (1,) if steps_silent == 10 else ()
    assert run_evidence(norms=norms).fell_silent == silent
    assert run_evidence(norms=norms, setup=setup_record()).fell_silent == silent
    for changes in (
        {"requires_grad": (True, True, False, False, True, True)},
        {"without_gradient": (3,)},
    ):
        assert run_evidence(norms=norms, setup=setup_record(**changes)).fell_silent == ()
    unseen = replace(run_evidence(norms=norms), silent_since=np.empty(0, int))
    assert unseen.fell_silent == ()
    assert replace(run_evidence(norms=norms), norms=np.empty((0, 3))).fell_silent == ()


def test_units_are_flat_only_where_gradients_exist(run_evidence, setup_record):
    found = run_evidence(setup=setup_record(without_gradient=(2,)))
    assert [found.has_flat_units(at) for at in range(3)] == [True, False, True]
    assert not run_evidence().has_flat_units(0)
    assert not run_evidence(setup=setup_record(requires_grad=())).has_flat_units(0)


def test_a_layer_is_moved_if_its_norm_changes(run_evidence):
    weights = np.array([[9.0, 9.0, 9.0]] * 4 + [[9.0, 9.1, 8.9]])
    found = run_evidence(weights=weights)
    assert [found.is_moved(at) for at in range(3)] == [False, True, True]
    assert replace(found, weight_norms=weights[-2:]).is_moved(1)
    assert not replace(found, weight_norms=weights[-1:]).is_moved(1)
    assert not replace(found, weight_norms=np.empty((0, 0))).is_moved(1)


# The optimizer ------------------------------------------------------------------------------


def test_rates_of_layers_are_those_of_their_parameters(run_evidence, setup_record):
    groups = (ParameterGroup((0, 1), 0.5), ParameterGroup((5,), 0.1))
    found = run_evidence(setup=setup_record(groups=groups))
    assert found.first_rates == {"first": 0.5, "last": 0.1}
    assert run_evidence().first_rates == {}


@pytest.mark.parametrize(
    ("seconds", "adaptive"), [((math.nan, 0.99), True), ((0.0, math.nan), False), ((), False)]
)
def test_an_optimizer_rescales_if_any_group_keeps_squares(
    run_evidence, setup_record, seconds, adaptive
):
    groups = tuple(
        ParameterGroup((at,), 0.1, second_momentum=one) for at, one in enumerate(seconds)
    )
    assert run_evidence(setup=setup_record(groups=groups)).is_adaptive == adaptive
    assert not run_evidence().is_adaptive


def test_a_layer_is_not_held_without_a_rate_for_what_is_trained_in_it(run_evidence, setup_record):
    still = np.full((5, 3), 9.0)
    setup = setup_record(
        groups=(ParameterGroup((0, 2), 0.1), ParameterGroup((4, 5), 0.0)),
        requires_grad=(True, True, False, True, True, True),
    )
    found = run_evidence(setup=setup, weights=still)
    assert found.not_held == (False, True, True)  # of the second only what is not trained is
    assert found.not_this_optimizers == (False, False, False)
    moved = still + np.linspace(0, 1, 5)[:, None]
    assert run_evidence(setup=setup, weights=moved).not_held == (False,) * 3
    frozen = setup_record(groups=(), requires_grad=(False,) * 6)
    assert run_evidence(setup=frozen, weights=still).not_held == (False,) * 3
    assert run_evidence(setup=frozen, weights=still).not_this_optimizers == (True,) * 3
    assert run_evidence().not_held == run_evidence().not_this_optimizers == (False,) * 3


def test_norm_layers_stand_still_if_no_rate_holds_them(run_evidence, setup_record):
    def still(groups, trained=(True,) * 6):
        setup = setup_record(groups=groups, requires_grad=trained)
        found = replace(run_evidence(setup=setup), still_elsewhere=("first", "last"))
        return found.still_without_matrix

    assert still((ParameterGroup(ALL, 0.1),)) == ()
    assert still((ParameterGroup(ALL, 0.0),)) == ("first", "last")
    assert still((ParameterGroup((0,), 0.1),)) == ("last",)
    assert still((ParameterGroup((5,), 0.1),)) == ("first",)
    assert still((), (False, False, True, True, True, True)) == ("last",)
    assert replace(run_evidence(), still_elsewhere=("first",)).still_without_matrix == ()


# The first weights --------------------------------------------------------------------------


def test_a_gain_is_the_root_mean_square_times_the_root_of_the_inputs(run_evidence, setup_record):
    found = run_evidence()
    layers = (
        LayerInfo("linear", "Linear", 0, (ParameterInfo("w", (4, 9)), ParameterInfo("b", (4,)))),
        LayerInfo("conv", "Conv2d", 1, (ParameterInfo("c", (4, 3, 2, 2)),)),
        LayerInfo("table", "Embedding", 2, (ParameterInfo("e", (50, 9)),)),
    )
    own = replace(found, layers=layers, info=replace(found.info, layers=layers),
                  weights=np.array([2.0, 3.0, 5.0]))  # fmt: skip
    expected = [2 / math.sqrt(40) * 3, 3 / math.sqrt(48) * math.sqrt(12), math.nan]
    assert own.initial_gains == pytest.approx(expected, nan_ok=True)
    seen = setup_record(weight_gains=(0.1, 0.2, 0.3))
    assert run_evidence(setup=seen).initial_gains.tolist() == [0.1, 0.2, 0.3]
    order = replace(run_evidence(setup=seen), layers=found.layers[::-1])
    assert order.initial_gains.tolist() == [0.3, 0.2, 0.1]
    flat = (replace(layers[0], parameters=layers[0].parameters[1:]), *layers[1:])
    assert math.isnan(replace(own, layers=flat).initial_gains[0])


def test_layers_of_a_matrix_have_two_axes_or_more():
    shapes = ((8,), (8, 8), (8, 8, 3, 3), ())
    layers = tuple(
        LayerInfo(f"l{at}", "Linear", at, (ParameterInfo("w", shape),))
        for at, shape in enumerate(shapes)
    )
    assert matrix_layers(layers) == [1, 2]
