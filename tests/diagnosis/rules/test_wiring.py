"""Rules on how a training is put together, each just within and just beyond its limits."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import DEPTH_FACTOR, DROPOUT, OUTPUT_GRADIENT, OUTPUT_GRADIENT_TINY
from gradcli.diagnosis.rules import wiring
from gradcli.records import FaultRecord, ParameterInfo

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
FAULT = FaultRecord(11, 1, "forward", "middle", math.nan, ())


# Gradients that are not cleared -------------------------------------------------------------


@pytest.mark.parametrize(
    ("watched", "kept", "seen"),
    [
        (4, 4, "before each of 4 updates"),
        (4, 3, "before 3 of 4 updates"),
        (2, 2, "before each of 2 updates"),
        (4, 2, None),
        (3, 2, None),
        (2, 1, None),
        (1, 1, None),
    ],
)
def test_gradients_kept_before_three_updates_or_all_of_two(
    run_evidence, setup_record, watched, kept, seen
):
    setup = setup_record(updates_watched=watched, not_cleared=kept)
    found = list(wiring.not_cleared(run_evidence(setup=setup)))
    assert len(found) == (seen is not None)
    for one in found:
        assert seen in one.message
        assert one.evidence == {"updates_watched": watched, "not_cleared": kept}
        always = watched == kept
        assert ("never cleared" in one.message) == always
        assert ("of all earlier steps" in one.message) == always
        assert ("not always cleared" in one.message) == (not always)
        assert one.severity == "error"


def test_without_a_record_of_the_setup_nothing_is_said_of_it(run_evidence):
    evidence = run_evidence(losses=FLAT)
    for rule in (
        wiring.not_cleared,
        wiring.batch_norm_mode,
        wiring.softmax_before_loss,
        wiring.broadcast_targets,
        wiring.loss_scale,
        wiring.dropout_too_high,
        wiring.frozen,
    ):
        assert not list(rule(evidence))


def kept_elsewhere(run_evidence, setup_record, *kept, first_step=1, weights=None):
    setups = tuple(
        setup_record(step=first_step + at, kept_elsewhere=one) for at, one in enumerate(kept)
    )
    evidence = run_evidence(setup=setups[-1], weights=weights, own_loop=True)
    return list(wiring.not_cleared(replace(evidence, setups=setups)))


def test_layers_of_another_optimizer_whose_gradients_are_never_cleared(run_evidence, setup_record):
    (found,) = kept_elsewhere(run_evidence, setup_record, (0, 1), (1,), (1, 2))
    assert (found.code, found.layer, found.severity) == ("not-cleared", "middle", "error")
    assert found.message.startswith("The gradients of middle are never cleared")
    assert "does not hold it;" in found.message
    assert found.evidence == {"updates_watched": 3, "not_cleared": 3}
    assert "the optimizer that holds middle too" in found.mend
    (found,) = kept_elsewhere(run_evidence, setup_record, (0, 1, 2), (0, 1, 2), (0, 1, 2))
    assert found.layer == "first"
    assert "gradients of 3 layers, first to last are never" in found.message
    assert "does not hold them;" in found.message


def test_it_takes_three_updates_that_all_found_the_layers_gradient(run_evidence, setup_record):
    assert not kept_elsewhere(run_evidence, setup_record, (1,), (1,))
    assert not kept_elsewhere(run_evidence, setup_record, (1,), (1,), (1,), first_step=0)
    assert not kept_elsewhere(run_evidence, setup_record, (1,), (), (1,))


def test_a_layer_that_nothing_moves_may_keep_its_gradient(run_evidence, setup_record):
    moves = np.linspace(9, 10, 5)[:, None]
    weights = np.where([True, False, True], moves, 9.0)
    assert not kept_elsewhere(run_evidence, setup_record, (1,), (1,), (1,), weights=weights)
    assert kept_elsewhere(run_evidence, setup_record, (2,), (2,), (2,), weights=weights)


# Batch norm ---------------------------------------------------------------------------------


def with_kinds(run_evidence, **kinds):
    return tuple(
        replace(one, kind=kinds.get(one.name, one.kind)) for one in run_evidence().info.layers
    )


@pytest.mark.parametrize("kind", ["BatchNorm2d", "SyncBatchNorm", "InstanceNorm1d"])
def test_normalising_layers_in_eval_mode_are_named(run_evidence, setup_record, kind):
    layers = with_kinds(run_evidence, middle=kind)
    setup = setup_record(eval_mode=("middle", "drop"))
    (found,) = wiring.batch_norm_mode(run_evidence(setup=setup, layers=layers))
    assert (found.code, found.severity, found.layer) == ("batch-norm-mode", "warning", "middle")
    assert found.message.startswith("middle is in eval mode")
    assert found.evidence == {"modules_in_eval_mode": 2}


def test_of_several_norm_layers_those_that_are_trained_are_named(run_evidence, setup_record):
    layers = with_kinds(run_evidence, first="BatchNorm1d", middle="BatchNorm1d", last="BatchNorm1d")
    setup = setup_record(
        eval_mode=("first", "middle", "last"), requires_grad=(False, False, True, True, True, True)
    )
    (found,) = wiring.batch_norm_mode(run_evidence(setup=setup, layers=layers))
    assert found.message.startswith("middle and last are in eval mode")


def test_other_modules_in_eval_mode_and_norm_layers_in_training_are_sound(
    run_evidence, setup_record
):
    layers = with_kinds(run_evidence, middle="BatchNorm1d")
    for eval_mode in ((), ("first", "drop")):
        setup = setup_record(eval_mode=eval_mode)
        assert not list(wiring.batch_norm_mode(run_evidence(setup=setup, layers=layers)))


# What comes before the loss -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "operation", "loss", "message", "mend"),
    [
        (
            ("Mul", "NllLoss2D", "Convolution"),
            "matrix product",
            "nll_loss",
            "falls below 0 without end",
            "Use cross_entropy",
        ),
        (
            ("NllLoss", "Mm"),
            "matrix product",
            "nll_loss",
            "The output of last goes into nll_loss as it is",
            "Use cross_entropy",
        ),
        (
            ("NllLoss", "Sigmoid", "Addmm"),
            "sigmoid",
            "nll_loss",
            "between -1 and 0",
            "Replace the sigmoid by log_softmax",
        ),
        (
            ("BinaryCrossEntropy", "Sigmoid", "Sigmoid", "Addmm"),
            "sigmoid",
            "binary_cross_entropy",
            "between 0.5 and 0.73",
            "Remove one sigmoid, or both and use binary_cross_entropy_with_logits.",
        ),
        (
            ("NllLoss", "LogSoftmax", "Relu", "Addmm"),
            "ReLU",
            "cross-entropy",
            "none can fall below 0",
            "Remove the ReLU from the model's output; cross-entropy takes logits.",
        ),
        (
            ("BinaryCrossEntropyWithLogits", "Relu"),
            "ReLU",
            "binary cross-entropy with logits",
            "none can fall below 0",
            "Remove the ReLU",
        ),
        (
            ("Mean", "BinaryCrossEntropyWithLogits", "Sigmoid"),
            "sigmoid",
            "binary cross-entropy with logits",
            "applies a sigmoid itself",
            "Remove the sigmoid",
        ),
        (
            ("NllLoss", "LogSoftmax", "Sigmoid"),
            "sigmoid",
            "cross-entropy",
            "applies a softmax itself",
            "Remove the sigmoid",
        ),
    ],
)
def test_each_operation_before_a_loss_has_its_words(
    run_evidence, setup_record, path, operation, loss, message, mend
):
    (found,) = wiring.softmax_before_loss(run_evidence(setup=setup_record(loss_path=path)))
    assert message in found.message
    assert mend in found.mend
    assert found.evidence == {"operation": operation, "loss": loss, "last_loss": pytest.approx(
        np.linspace(LN_10, 0.3, 100)[-10:].mean()
    )}  # fmt: skip
    assert found.severity == ("error" if operation == "matrix product" else "warning")
    assert found.layer == "last"
    assert "cannot fall below" not in found.message


@pytest.mark.parametrize(
    "path",
    [
        ("BinaryCrossEntropy", "Sigmoid", "Addmm"),
        ("BinaryCrossEntropy", "Sigmoid", "Relu"),
        ("BinaryCrossEntropy", "Relu", "Sigmoid", "Sigmoid"),
        ("NllLoss", "Relu", "Addmm"),
        ("Mean", "Addmm"),
        ("MseLoss", "Sigmoid", "Sigmoid"),
        ("Add", "Sigmoid", "Sigmoid"),
        ("BinaryCrossEntropyWithLogits", "Softmax"),
    ],
)
def test_what_is_as_it_should_be_before_a_loss(run_evidence, setup_record, path):
    assert not list(wiring.softmax_before_loss(run_evidence(setup=setup_record(loss_path=path))))


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.313), (10, 1.46), (1, None), (0, None)])
def test_the_floor_behind_a_softmax_needs_two_classes(run_evidence, setup_record, classes, floor):
    """ln(e + classes - 1) - 1: that of a model that is certain and right."""
    setup = setup_record(loss_path=("NllLoss", "LogSoftmax", "Softmax"))
    outputs = replace(setup.outputs, shape=(64, classes)) if classes else None
    setup = replace(setup, outputs=outputs)
    (found,) = wiring.softmax_before_loss(run_evidence(setup=setup, own_loop=True))
    if floor is None:
        assert "cannot fall below" not in found.message
    else:
        assert found.message.endswith(f"The loss cannot fall below {floor}.")


def test_targets_that_are_broadcast_against_outputs(run_evidence, setup_record):
    setup = setup_record(broadcast_to=(64, 32))
    (found,) = wiring.broadcast_targets(run_evidence(setup=setup, losses=FLAT, own_loop=True))
    assert (found.code, found.severity) == ("labels", "warning")
    assert "the targets of all 64 examples" in found.message
    assert "the output has shape (64, 10)" in found.message
    assert "differences of shape (64, 32)" in found.message
    assert found.evidence == {"rows": 64, "last_loss": pytest.approx(LN_10)}
    assert not list(wiring.broadcast_targets(run_evidence(setup=setup_record())))
    unseen = setup_record(broadcast_to=(64, 64), outputs=None)
    assert not list(wiring.broadcast_targets(run_evidence(setup=unseen)))


# The scale of the loss ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "size"),
    [
        (0.99 * OUTPUT_GRADIENT_TINY.value, "small"),
        (OUTPUT_GRADIENT_TINY.value, None),
        (OUTPUT_GRADIENT.value, None),
        (1.01 * OUTPUT_GRADIENT.value, "large"),
        (0.0, None),
        (math.nan, None),
    ],
)
def test_the_gradient_at_the_output_has_a_range(run_evidence, setup_record, norm, size):
    evidence = run_evidence(setup=setup_record(output_grad_norm=norm), losses=FLAT)
    found = list(wiring.loss_scale(evidence))
    assert len(found) == (size is not None)
    for one in found:
        assert f"far too {size}:" in one.message
        assert one.evidence == {"output_grad_norm": norm, "last_loss": pytest.approx(LN_10)}
        assert (one.code, one.severity) == ("loss-scale", "warning")


def test_it_is_the_gradient_of_the_first_step_that_counts(run_evidence, setup_record):
    small, usual = setup_record(output_grad_norm=1e-9), setup_record()
    for first, last, expected in ((small, usual, 1), (usual, small, 0), (None, small, 1)):
        evidence = replace(run_evidence(setup=last, losses=FLAT), first_setup=first)
        assert len(list(wiring.loss_scale(evidence))) == expected


@pytest.mark.parametrize("fault", [None, FAULT])
@pytest.mark.parametrize("count", [19, 20])
def test_a_scale_takes_twenty_steps_or_a_fault(run_evidence, setup_record, count, fault):
    setup = setup_record(output_grad_norm=1e-9)
    evidence = run_evidence(setup=setup, losses=FLAT[:count], fault=fault)
    assert bool(list(wiring.loss_scale(evidence))) == (count == 20 or fault is not None)


def test_a_scale_is_only_judged_with_classes_and_without_a_softmax(run_evidence, setup_record):
    small = setup_record(output_grad_norm=1e-9)
    two = replace(small, outputs=replace(small.outputs, shape=(64, 2)))
    assert list(wiring.loss_scale(run_evidence(setup=two, losses=FLAT, own_loop=True)))
    for setup in (
        replace(small, outputs=None),
        replace(small, outputs=replace(small.outputs, shape=(64, 1))),
        replace(small, loss_path=("NllLoss", "LogSoftmax", "Softmax")),
    ):
        assert not list(wiring.loss_scale(run_evidence(setup=setup, losses=FLAT, own_loop=True)))


def test_a_large_factor_that_the_rate_fits_does_no_harm_and_a_small_one_is_a_remark(
    run_evidence, setup_record
):
    well = np.geomspace(LN_10, 0.02, 100)
    large, small = setup_record(output_grad_norm=1e8), setup_record(output_grad_norm=1e-8)
    assert not list(wiring.loss_scale(run_evidence(setup=large, losses=well)))
    (found,) = wiring.loss_scale(run_evidence(setup=large, losses=well, fault=FAULT))
    assert found.severity == "warning"
    (found,) = wiring.loss_scale(run_evidence(setup=small, losses=well))
    assert found.severity == "info"
    (found,) = wiring.loss_scale(run_evidence(setup=large, losses=FLAT))
    assert found.severity == "warning"


def scaled_from(run_evidence, factor, *, norm=None, end=None):
    losses, norms = FLAT.copy(), np.ones((100, 3))
    losses[50:] *= factor
    norms[50:] *= factor if norm is None else norm
    losses[90:] = losses[90:] if end is None else end
    evidence = run_evidence(losses=losses, norms=norms)
    return list(wiring.loss_scale(replace(evidence, spikes=())))  # only the jump is of interest


@pytest.mark.parametrize("large", [False, True])
def test_a_factor_from_one_step_on(run_evidence, large):
    factor = 0.9 * DEPTH_FACTOR.value
    (found,) = scaled_from(run_evidence, 1 / factor if large else factor)
    assert (found.code, found.severity) == ("loss-scale", "warning")
    assert found.message.startswith("From step 51 on the loss is multiplied")
    assert ("far too large" in found.message) == large
    assert ("far too small" in found.message) == (not large)
    after = LN_10 / factor if large else LN_10 * factor
    assert found.evidence == pytest.approx(
        {"from_step": 51, "loss_before": LN_10, "loss_after": after, "last_loss": after}
    )
    norm = "1.92e+03" if large else "0.00156"  # the root of 3, times the factor
    assert f"the gradient from 1.73 to {norm}" in found.message
    assert "step 51" in found.mend


def test_a_factor_is_one_of_the_loss_and_of_its_gradient_that_stays(run_evidence):
    within, beyond = 1.1 * DEPTH_FACTOR.value, 0.9 * DEPTH_FACTOR.value
    assert not scaled_from(run_evidence, within)
    assert not scaled_from(run_evidence, 1 / within)
    assert scaled_from(run_evidence, 1 / beyond)
    assert not scaled_from(run_evidence, beyond, norm=within)
    assert not scaled_from(run_evidence, 1 / beyond, norm=1 / within)
    assert not scaled_from(run_evidence, beyond, end=LN_10)
    assert not scaled_from(run_evidence, beyond, norm=0.0)  # then it is the layers that died
    assert scaled_from(run_evidence, beyond, norm=beyond**2)


# Dropout and what is frozen -----------------------------------------------------------------


@pytest.mark.parametrize("beyond", [False, True])
def test_a_dropout_of_nearly_everything(run_evidence, setup_record, beyond):
    share = DROPOUT.value + (0.01 if beyond else 0.0)
    setup = setup_record(dropout=("drop", share))
    found = list(wiring.dropout_too_high(run_evidence(setup=setup, losses=FLAT)))
    assert len(found) == beyond
    for one in found:
        assert (one.code, one.severity, one.layer) == ("dropout-too-high", "warning", "drop")
        assert one.evidence == {"dropout": share, "last_loss": pytest.approx(LN_10)}
        assert "drop drops 81% of its values" in one.message
        assert one.override == "model.dropout=0.1"


@pytest.mark.parametrize(("count", "found"), [(19, 0), (20, 1)])
def test_dropout_is_judged_after_twenty_steps(run_evidence, setup_record, count, found):
    evidence = run_evidence(setup=setup_record(dropout=("drop", 0.9)), losses=FLAT[:count])
    assert len(list(wiring.dropout_too_high(evidence))) == found


def frozen_parameters(*indices):
    return tuple(index not in indices for index in range(6))


@pytest.mark.parametrize(
    ("indices", "words", "count", "layer"),
    [
        ((2, 3), "middle is frozen (requires_grad is off): its weights", 1, "middle"),
        ((0, 1, 2, 3), "first and middle are frozen (requires_grad is off): their", 2, None),
        ((0, 1, 2, 3, 4, 5), "3 layers, first to last, are frozen", 3, None),
        ((2,), "middle.weight is frozen", 1, "middle.weight"),
        ((0, 1, 4), "first and last.weight are frozen", 2, None),
    ],
)
def test_frozen_layers_and_matrices_are_named(
    run_evidence, setup_record, indices, words, count, layer
):
    norms = [0 if 2 * at in indices else 1 for at in range(3)]
    setup = setup_record(requires_grad=frozen_parameters(*indices))
    (found,) = wiring.frozen(run_evidence(setup=setup, norms=norms))
    assert (found.code, found.severity, found.layer) == ("frozen", "info", layer)
    assert found.message.startswith(words)
    assert found.evidence == {"layers": count}


def test_a_bias_alone_may_be_frozen(run_evidence, setup_record):
    setup = setup_record(requires_grad=frozen_parameters(1, 3, 5))
    assert not list(wiring.frozen(run_evidence(setup=setup)))


def test_every_frozen_matrix_of_a_layer_is_named(run_evidence, setup_record):
    first, *others = run_evidence().info.layers
    both = (ParameterInfo("first.a", (16, 16)), ParameterInfo("first.b", (16, 16)))
    layers = (replace(first, parameters=(*both, ParameterInfo("first.c", (16,)))), *others)
    setup = setup_record(requires_grad=(False, False, True, *(True,) * 4))
    evidence = replace(run_evidence(setup=setup_record()), setup=setup)
    evidence = replace(evidence, layers=layers, info=replace(evidence.info, layers=layers))
    (found,) = wiring.frozen(evidence)
    assert found.message.startswith("first.a and first.b are frozen")


@pytest.mark.parametrize(("since", "told"), [(1, False), (2, True), (41, True)])
def test_what_is_frozen_midway_is_dated(run_evidence, setup_record, since, told):
    norms = np.ones((100, 3))
    norms[since - 1 :, :2] = 0
    setup = setup_record(requires_grad=frozen_parameters(0, 1, 2, 3))
    (found,) = wiring.frozen(run_evidence(setup=setup, norms=norms))
    assert found.message.startswith(f"From step {since} on, first and middle") == told
    assert found.evidence == {"layers": 2, **({"since_step": since} if told else {})}


def test_layers_frozen_at_different_steps_or_beside_a_matrix_have_no_date(
    run_evidence, setup_record
):
    norms = np.ones((100, 3))
    norms[40:, 0] = norms[60:, 1] = 0
    setup = setup_record(requires_grad=frozen_parameters(0, 1, 2, 3))
    (found,) = wiring.frozen(run_evidence(setup=setup, norms=norms))
    assert found.evidence == {"layers": 2}
    setup = setup_record(requires_grad=frozen_parameters(0, 1, 2))
    (found,) = wiring.frozen(run_evidence(setup=setup, norms=norms))
    assert found.evidence == {"layers": 2}
