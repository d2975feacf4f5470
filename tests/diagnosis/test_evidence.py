"""What evidence says of itself: which loss it is, how far it fell, which layers are trained."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.evidence import matrix_layers, nanmedian
from gradcli.diagnosis.limits import (
    AT_CHANCE,
    HAD_LEARNED,
    LEARNED_ANYWAY,
    LOSS_BLOWN_UP,
    LOSS_KEPT,
    LOSS_OF_GUESSING,
    SILENT_STEPS,
    SLOW_START,
)
from gradcli.records import FaultRecord, LayerInfo, ParameterGroup, ParameterInfo, TensorRange

LN_10 = math.log(10)
ALL = tuple(range(6))
FAULT = FaultRecord(101, 1, "loss", None, math.nan, ())
#: 40 steps at the loss of guessing, that is in a training that is not an own loop.
FLAT = np.full(40, LN_10)


def outputs(columns, low=-1.0, high=1.0) -> TensorRange:
    return TensorRange((64, *columns), 0.0, 0.3, low, high)


# Which loss it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "output_at", "shape", "classes"),
    [
        (("NllLoss", "LogSoftmax", "Addmm"), 2, (7,), 7),
        (("NllLoss", "LogSoftmax", "Addmm"), 2, (), 0),  # no axis of classes
        (("NllLoss", "LogSoftmax", "Addmm"), 0, (7,), 7),
        (("NllLoss", "LogSoftmax", "Addmm"), -1, (7,), 0),  # the output is not on the path
        (("NllLoss", "LogSoftmax", "Addmm", "Addmm"), 3, (7,), 0),  # a model behind the model
        (("LogSoftmax", "Addmm"), 1, (7,), 7),
        (("Mean", "BinaryCrossEntropyWithLogits", "Addmm"), 2, (1,), 2),
        (("MseLoss", "Addmm"), 1, (7,), 0),
        (("MseLoss", "Addmm", "LogSoftmax"), 1, (7,), 0),  # within the model
        ((), -1, (7,), 0),
    ],
)
def test_classes_of_an_own_loop_are_those_its_loss_tells_apart(
    run_evidence, setup_record, path, output_at, shape, classes
):
    setup = setup_record(loss_path=path, output_at=output_at, outputs=outputs(shape))
    assert run_evidence(own_loop=True, setup=setup).classes == classes
    assert run_evidence(setup=setup).classes == 10  # of the data


def test_classes_are_unknown_without_outputs(run_evidence, setup_record):
    assert run_evidence(own_loop=True).classes == 0
    assert run_evidence(own_loop=True, setup=setup_record(outputs=None)).classes == 0


def test_data_of_two_classes_are_classes_and_those_of_one_are_not(run_evidence, setup_record):
    found = run_evidence(setup=setup_record())
    for classes, known in ((2, 2), (1, 10), (0, 10)):
        data = replace(found.info.data, classes=classes)
        assert replace(found, info=replace(found.info, data=data)).classes == known


@pytest.mark.parametrize(
    ("first", "changes", "known"),
    [
        (0.0, {}, True),
        (-0.1, {}, False),
        (2.0 + LN_10, {}, True),  # outputs from -1 to 1
        (2.01 + LN_10, {}, False),
        (99.0, {"outputs": None}, None),
        (99.0, {"step": 1}, True),  # the loss is that of an earlier step
        (99.0, {"step": 0}, False),
    ],
)
def test_a_mean_cross_entropy_is_within_the_range_of_the_outputs(
    run_evidence, setup_record, first, changes, known
):
    setup = setup_record(**{"step": 0, **changes})
    losses = np.concatenate([[first], FLAT])
    own = run_evidence(own_loop=True, setup=setup, losses=losses)
    if known is None:
        assert math.isnan(own.loss_of_guessing)  # nor are the classes known
        return
    assert own.loss_of_guessing == (
        pytest.approx(LN_10) if known else pytest.approx(math.nan, nan_ok=True)
    )
    assert run_evidence(setup=setup, losses=losses).loss_of_guessing == pytest.approx(LN_10)


def test_of_two_classes_guessing_costs_ln_2(run_evidence, setup_record):
    two = setup_record(outputs=outputs((2,)))
    found = run_evidence(own_loop=True, setup=two)
    assert found.loss_of_guessing == pytest.approx(math.log(2))
    one = run_evidence(own_loop=True, setup=setup_record(outputs=outputs((1,))))
    assert math.isnan(one.loss_of_guessing)


def test_the_range_is_not_known_without_a_first_setup_or_losses(run_evidence, setup_record):
    found = run_evidence(own_loop=True, setup=setup_record(step=0), losses=FLAT * 9)
    assert math.isnan(found.loss_of_guessing)
    for changes in ({"first_setup": None}, {"losses": FLAT[:0]}):
        assert replace(found, **changes).loss_of_guessing == pytest.approx(LN_10)
    without = replace(found.first_setup, outputs=None)
    assert replace(found, first_setup=without).loss_of_guessing == pytest.approx(LN_10)


@pytest.mark.parametrize(
    ("losses", "of_classes", "of_another"),
    [
        ([2.0, 1.0, 0.5], True, True),
        ([2.0, 0.0, 0.5], True, False),  # rounded: certain of the batch
        ([0.0, 1.0, 0.5], False, False),
        ([2.0, -1.0, 0.5], False, False),
        ([], False, False),
    ],
)
def test_a_loss_is_judged_if_it_is_positive(
    run_evidence, setup_record, losses, of_classes, of_another
):
    classes = run_evidence(losses=losses, own_loop=True, setup=setup_record())
    another = run_evidence(losses=losses, own_loop=True, setup=setup_record(loss_path=("MseLoss",)))
    assert (classes.judges_loss, another.judges_loss) == (of_classes, of_another)


@pytest.mark.parametrize(
    ("path", "falls"),
    [
        (("NllLoss", "LogSoftmax", "Addmm"), True),
        (("Neg", "NllLoss", "LogSoftmax", "Addmm"), False),
        (("Rsub", "NllLoss", "LogSoftmax", "Addmm"), False),
        (("Mul", "NllLoss", "LogSoftmax", "Addmm"), True),
        (("Add", "NllLoss", "LogSoftmax", "Addmm"), True),
        (("Add", "Mul", "NllLoss", "LogSoftmax", "Addmm"), False),  # 5 - 1 * loss, in other words
        (("NllLoss", "LogSoftmax", "Neg", "Addmm"), True),  # of the model
    ],
)
def test_a_loss_of_classes_falls_unless_it_is_turned_around(
    run_evidence, setup_record, path, falls
):
    setup = setup_record(loss_path=path, output_at=len(path) - 1)
    found = run_evidence(own_loop=True, setup=setup)
    assert (found.classes, found.should_fall) == (10, falls)
    two = replace(setup, outputs=outputs((2,)))
    assert run_evidence(own_loop=True, setup=two).should_fall == falls
    assert run_evidence(setup=setup).should_fall  # it is not an own loop


@pytest.mark.parametrize(
    ("path", "falls"), [(("MseLoss", "Addmm"), True), (("Mean", "Addmm"), False), ((), False)]
)
def test_another_loss_falls_if_it_compares_with_targets(run_evidence, setup_record, path, falls):
    assert run_evidence(own_loop=True, setup=setup_record(loss_path=path)).should_fall == falls
    assert not run_evidence(own_loop=True).should_fall


@pytest.mark.parametrize(("step", "another"), [(10, False), (11, False), (12, True), (21, True),
                                               (22, False)])  # fmt: skip
@pytest.mark.parametrize(("one", "other"), [("NllLoss", "MseLoss"), ("MseLoss", "NllLoss")])
def test_another_loss_is_one_computed_in_another_way(
    run_evidence, setup_record, step, another, one, other
):
    """Observed before updates 0, 10 and 20, so at steps 1, 11 and 21."""
    paths = ((one,), (one,), (other,))
    setups = tuple(setup_record(step=10 * at, loss_path=path) for at, path in enumerate(paths))
    assert replace(run_evidence(), setups=setups).has_another_loss_from(step) == another
    assert not run_evidence().has_another_loss_from(step)


@pytest.mark.parametrize(("step", "another"), [(1, False), (2, True), (11, True), (12, False)])
def test_the_losses_observed_right_before_and_after_are_compared(
    run_evidence, setup_record, step, another
):
    setups = tuple(
        setup_record(step=step, loss_path=(name,))
        for step, name in ((0, "NllLoss"), (10, "MseLoss"), (20, "MseLoss"))
    )
    assert replace(run_evidence(), setups=setups).has_another_loss_from(step) == another


# How far it fell ----------------------------------------------------------------------------


def test_the_reference_is_the_lower_of_the_first_loss_and_guessing(run_evidence):
    for first, reference in ((9.0, LN_10), (1.0, 1.0)):
        found = run_evidence(losses=np.linspace(first, 0.5, 40))
        assert found.reference_loss == pytest.approx(reference)
        assert found.loss_kept == pytest.approx(found.convergence.last_loss / reference)
    assert math.isnan(run_evidence(losses=np.linspace(-1, -2, 40)).reference_loss)
    assert run_evidence(own_loop=True, losses=np.full(40, 9.0)).reference_loss == 9


def test_a_lasting_loss_is_the_median_of_five(run_evidence):
    losses = np.array([1.0, 1, 1, 9, 8, 1, 0.2, 0.1, 1, 1, 1, 4, 1, 4, 4, 0.5, 1, 0.5, 1, 0.5])
    found = run_evidence(losses=losses)
    assert found.highest_loss == 4
    assert found.lowest_loss_kept == 0.5
    few = run_evidence(losses=[2.0, 1.0, 4.0])
    assert (few.highest_loss, few.lowest_loss_kept) == (2.0, 1.0)


def test_the_loss_left_is_the_mean_of_the_second_half(run_evidence):
    losses = np.array([2.0, 9.0, 9.0, 1.0, 0.5, 0.3])
    assert run_evidence(losses=losses).loss_left == pytest.approx(1.8 / 3 / 2.0)
    assert run_evidence(losses=losses[:5]).loss_left == pytest.approx(10.5 / 3 / 2.0)
    assert math.isnan(run_evidence(losses=[]).loss_left)


@pytest.mark.parametrize(
    ("steps", "high", "last", "blown_up"),
    [
        (20, 1.01 * LOSS_BLOWN_UP.value, 1.0, True),
        (19, 1.01 * LOSS_BLOWN_UP.value, 1.0, False),
        (20, LOSS_BLOWN_UP.value, 1.0, False),
        (20, 9.0, LOSS_KEPT.value, False),
        (20, 9.0, 0.5, False),
        (20, 9.0, 1.01 * LOSS_KEPT.value, True),
    ],
)
def test_a_loss_has_blown_up_if_it_stayed_high(run_evidence, steps, high, last, blown_up):
    losses = np.array([1.0] + [high] * (steps - 6) + [last] * 5)
    assert run_evidence(losses=losses).blown_up == blown_up


def test_of_a_wreck_the_flow_is_that_of_the_first_step(run_evidence):
    sound = run_evidence()
    wreck = run_evidence(losses=np.array([1.0] + [9.0] * 30))
    assert sound.of_the_flow is sound
    for broken in (wreck, replace(sound, fault=FAULT)):
        flow = broken.of_the_flow
        assert flow.norms.tolist() == broken.norms[:1].tolist()
        assert flow.input_norms.tolist() == broken.input_norms[:1].tolist()


def test_limits_of_the_loss_are_not_crossed_by_reaching_them(run_evidence):
    def found(first, last):
        return run_evidence(losses=np.array([first] * 20 + [last] * 20))

    for times in (0.99, 1.01):
        assert found(times * LOSS_OF_GUESSING.value * LN_10, 1.0).began_exploded == (times > 1)
        assert found(1.0, times * LOSS_KEPT.value).has_learned == (times < 1)
        assert found(1.0, times * LOSS_KEPT.value).comes_from_high == (times < 1)
        assert found(1.0, times * LEARNED_ANYWAY.value).learned_anyway == (times < 1)
    assert found(1.0, LOSS_KEPT.value).has_learned
    assert not found(1.0, LOSS_KEPT.value).comes_from_high
    assert not replace(found(1.0, 0.01), fault=FAULT).learned_anyway


@pytest.mark.parametrize(("own_loop", "fewest"), [(False, 20), (True, int(SLOW_START.value))])
def test_an_own_loop_is_given_more_steps_to_learn(run_evidence, own_loop, fewest):
    for steps in (fewest - 1, fewest):
        found = run_evidence(own_loop=own_loop, losses=np.ones(steps))
        assert found.is_long_enough == (steps == fewest)


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
    assert run_evidence(losses=np.append(falling, [last] * 30)).is_on_its_way == on_its_way
    assert not run_evidence(losses=np.append(falling, [last] * 900)).is_on_its_way  # it stands


@pytest.mark.parametrize(
    ("lowest", "last", "fell_back"),
    [
        (0.99 * HAD_LEARNED.value, 1.0, True),
        (HAD_LEARNED.value, 1.0, False),
        (0.9, 1.0, False),
        (0.5, 1.01 * AT_CHANCE.value, True),
        (0.5, AT_CHANCE.value, False),
    ],
)
def test_a_loss_fell_back_if_it_was_low_for_five_steps(run_evidence, lowest, last, fell_back):
    losses = np.array([1.0] * 10 + [lowest] * 5 + [last] * 25)
    assert run_evidence(losses=losses).fell_back == fell_back


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
