"""Which loss a training minimises: the classes, what guessing costs, whether it should fall."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.which_loss import (
    classes_told_apart,
    has_another_loss_from,
    judges_loss,
    loss_of_guessing,
    should_fall,
)
from gradcli.records import TensorRange

LN_10 = math.log(10)
#: 40 steps at the loss of guessing, that is in a training that is not an own loop.
FLAT = np.full(40, LN_10)


def outputs(columns, low=-1.0, high=1.0) -> TensorRange:
    return TensorRange((64, *columns), 0.0, 0.3, low, high)


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
    assert classes_told_apart(run_evidence(own_loop=True, setup=setup)) == classes
    assert classes_told_apart(run_evidence(setup=setup)) == 10  # of the data


def test_classes_are_unknown_without_outputs(run_evidence, setup_record):
    assert classes_told_apart(run_evidence(own_loop=True)) == 0
    assert classes_told_apart(run_evidence(own_loop=True, setup=setup_record(outputs=None))) == 0


def test_data_of_two_classes_are_classes_and_those_of_one_are_not(run_evidence, setup_record):
    found = run_evidence(setup=setup_record())
    for classes, known in ((2, 2), (1, 10), (0, 10)):
        data = replace(found.info.data, classes=classes)
        assert classes_told_apart(replace(found, info=replace(found.info, data=data))) == known


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
        assert math.isnan(loss_of_guessing(own))  # nor are the classes known
        return
    assert loss_of_guessing(own) == (
        pytest.approx(LN_10) if known else pytest.approx(math.nan, nan_ok=True)
    )
    assert loss_of_guessing(run_evidence(setup=setup, losses=losses)) == pytest.approx(LN_10)


def test_of_two_classes_guessing_costs_ln_2(run_evidence, setup_record):
    two = setup_record(outputs=outputs((2,)))
    found = run_evidence(own_loop=True, setup=two)
    assert loss_of_guessing(found) == pytest.approx(math.log(2))
    one = run_evidence(own_loop=True, setup=setup_record(outputs=outputs((1,))))
    assert math.isnan(loss_of_guessing(one))


def test_the_range_is_not_known_without_a_first_setup_or_losses(run_evidence, setup_record):
    found = run_evidence(own_loop=True, setup=setup_record(step=0), losses=FLAT * 9)
    assert math.isnan(loss_of_guessing(found))
    for changes in ({"first_setup": None}, {"losses": FLAT[:0]}):
        assert loss_of_guessing(replace(found, **changes)) == pytest.approx(LN_10)
    without = replace(found.first_setup, outputs=None)
    assert loss_of_guessing(replace(found, first_setup=without)) == pytest.approx(LN_10)


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
    assert (judges_loss(classes), judges_loss(another)) == (of_classes, of_another)


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
    assert (classes_told_apart(found), should_fall(found)) == (10, falls)
    two = replace(setup, outputs=outputs((2,)))
    assert should_fall(run_evidence(own_loop=True, setup=two)) == falls
    assert should_fall(run_evidence(setup=setup))  # it is not an own loop


@pytest.mark.parametrize(
    ("path", "falls"), [(("MseLoss", "Addmm"), True), (("Mean", "Addmm"), False), ((), False)]
)
def test_another_loss_falls_if_it_compares_with_targets(run_evidence, setup_record, path, falls):
    assert should_fall(run_evidence(own_loop=True, setup=setup_record(loss_path=path))) == falls
    assert not should_fall(run_evidence(own_loop=True))


@pytest.mark.parametrize(("step", "another"), [(10, False), (11, False), (12, True), (21, True),
                                               (22, False)])  # fmt: skip
@pytest.mark.parametrize(("one", "other"), [("NllLoss", "MseLoss"), ("MseLoss", "NllLoss")])
def test_another_loss_is_one_computed_in_another_way(
    run_evidence, setup_record, step, another, one, other
):
    """Observed before updates 0, 10 and 20, so at steps 1, 11 and 21."""
    paths = ((one,), (one,), (other,))
    setups = tuple(setup_record(step=10 * at, loss_path=path) for at, path in enumerate(paths))
    assert has_another_loss_from(replace(run_evidence(), setups=setups), step) == another
    assert not has_another_loss_from(run_evidence(), step)


@pytest.mark.parametrize(("step", "another"), [(1, False), (2, True), (11, True), (12, False)])
def test_the_losses_observed_right_before_and_after_are_compared(
    run_evidence, setup_record, step, another
):
    setups = tuple(
        setup_record(step=step, loss_path=(name,))
        for step, name in ((0, "NllLoss"), (10, "MseLoss"), (20, "MseLoss"))
    )
    assert has_another_loss_from(replace(run_evidence(), setups=setups), step) == another
