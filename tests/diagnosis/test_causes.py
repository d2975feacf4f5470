"""Causes are named before their symptoms, and what is done on purpose is no fault."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import diagnose
from gradcli.records import EvalRecord, FaultRecord, ParameterGroup, TensorRange

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)


def codes(evidence) -> list[str]:
    return [finding.code for finding in diagnose(evidence)]


def test_a_sound_set_up_is_healthy(run_evidence, setup_record):
    assert codes(run_evidence(setup=setup_record())) == ["healthy"]
    assert codes(run_evidence(setup=setup_record(), own_loop=True)) == ["healthy"]
    assert codes(run_evidence()) == ["healthy"]  # a run from before set-ups were recorded


# How the training is put together -----------------------------------------------------------


def test_gradients_are_not_cleared_if_several_updates_found_earlier_ones(
    run_evidence, setup_record
):
    ill = diagnose(run_evidence(setup=setup_record(not_cleared=4), own_loop=True))
    assert [finding.code for finding in ill] == ["not-cleared"]
    assert "zero_grad()" in ill[0].mend
    some = diagnose(run_evidence(setup=setup_record(not_cleared=3), own_loop=True))
    assert some[0].code == "not-cleared"
    assert "3 of 4 updates" in some[0].message
    assert codes(run_evidence(setup=setup_record(not_cleared=2))) == ["healthy"]


def test_not_cleared_explains_a_loss_that_blows_up(run_evidence, setup_record):
    losses = np.concatenate([[LN_10], np.geomspace(3, 90, 99)])
    found = diagnose(
        run_evidence(losses=losses, ratios=(1, 1, 1), setup=setup_record(not_cleared=4))
    )
    assert found[0].code == "not-cleared"
    assert "lr-too-high" not in [finding.code for finding in found]


@pytest.mark.parametrize(
    ("path", "squashing"),
    [
        (("NllLoss", "LogSoftmax", "Softmax", "Addmm"), "softmax"),
        (("NllLoss", "LogSoftmax", "Sigmoid", "Addmm"), "sigmoid"),
        (("Mean", "BinaryCrossEntropyWithLogits", "Sigmoid"), "sigmoid"),
        (("NllLoss", "Softmax", "Addmm"), "softmax"),  # probabilities without a logarithm
        (("NllLoss", "LogSoftmax", "LogSoftmax", "Addmm"), None),  # the same as once
        (("NllLoss", "Log", "Softmax", "Addmm"), None),  # as it should be
        (("BinaryCrossEntropy", "Sigmoid"), None),
        ((), None),
    ],
)
def test_what_squashes_logits_before_a_loss_of_logits(run_evidence, setup_record, path, squashing):
    found = diagnose(run_evidence(setup=setup_record(loss_path=path), own_loop=True))
    if squashing is None:
        assert [finding.code for finding in found] == ["healthy"]
    else:
        assert found[0].code == "softmax-before-loss"
        assert squashing in found[0].mend


def test_raw_outputs_in_a_loss_of_log_probabilities(run_evidence, setup_record):
    losses = np.concatenate([[0.0], -np.geomspace(0.1, 1e9, 99)])
    setup = setup_record(loss_path=("NllLoss", "Addmm"), output_at=1)
    found = diagnose(run_evidence(losses=losses, ratios=(1, 1, 1), setup=setup, own_loop=True))
    assert (found[0].code, found[0].layer) == ("softmax-before-loss", "last")
    assert "cross_entropy" in found[0].mend


def test_the_floor_of_a_loss_behind_a_softmax_is_that_of_certain_and_right(
    run_evidence, setup_record
):
    path = ("NllLoss", "LogSoftmax", "Softmax")
    message = diagnose(run_evidence(setup=setup_record(loss_path=path)))[0].message
    certain = np.zeros(10)
    certain[3] = 1.0
    floor = -np.log(np.exp(certain) / np.exp(certain).sum())[3]
    assert f"{floor:.2f}" in message


@pytest.mark.parametrize(("norm", "tiny"), [(1e-8, True), (1e8, False)])
def test_a_factor_before_the_loss(run_evidence, setup_record, norm, tiny):
    found = diagnose(run_evidence(losses=FLAT, setup=setup_record(output_grad_norm=norm)))
    assert found[0].code == "loss-scale"
    assert ("small" in found[0].message) == tiny


@pytest.mark.parametrize("norm", [0.9, 0.05, 200.0])
def test_no_factor_is_seen_in_a_mean_or_a_sum_over_the_batch(run_evidence, setup_record, norm):
    assert codes(run_evidence(setup=setup_record(output_grad_norm=norm))) == ["healthy"]


def test_a_layer_that_the_optimizer_does_not_hold(run_evidence, setup_record):
    held = setup_record(groups=(ParameterGroup((0, 1, 4, 5), 0.1),))
    still = {"ratios": (0.01, 0.0, 0.01), "weights": np.array([9.0, 9.5, 9.0]) * np.ones((5, 1))}
    found = diagnose(run_evidence(setup=held, own_loop=True, **still))
    assert [(one.code, one.layer) for one in found] == [("not-updated", "middle")]
    assert "does not hold" in found[0].message
    # Of a run without a record of its set-up, the update ratio tells as much.
    assert codes(run_evidence(own_loop=True, **still)) == ["not-updated"]


def test_a_layer_that_a_second_optimizer_moves_is_not_this_ones_business(
    run_evidence, setup_record
):
    held = setup_record(groups=(ParameterGroup((0, 1, 4, 5), 0.1),))
    weights = np.linspace(9, 10, 5)[:, None] * np.ones(3)
    moved = run_evidence(setup=held, ratios=(0.01, 0.0, 0.01), weights=weights, own_loop=True)
    assert codes(moved) == ["healthy"]
    no_gradient = run_evidence(
        setup=held, ratios=(0.01, 0.0, 0.01), weights=weights, norms=(1, 0, 1), own_loop=True
    )
    assert codes(no_gradient) == ["healthy"]


def test_a_rate_of_zero_is_told_apart_from_a_missing_group(run_evidence, setup_record):
    groups = (ParameterGroup((0, 1), 0.0), ParameterGroup((2, 3, 4, 5), 0.1))
    still = np.array([9.5, 9.0, 9.0]) * np.ones((5, 1))
    found = diagnose(run_evidence(setup=setup_record(groups=groups), ratios=(0, 0.01, 0.01),
                                  weights=still))  # fmt: skip
    assert [(one.code, one.layer) for one in found] == [("not-updated", "first")]
    assert "rate" in found[0].message
    nothing = (ParameterGroup(tuple(range(6)), 0.0),)
    found = diagnose(
        run_evidence(setup=setup_record(groups=nothing), ratios=(0, 0, 0), weights=still,
                     losses=FLAT, learning_rate=0.0)
    )  # fmt: skip
    assert [(one.code, one.layer) for one in found] == [("not-updated", None)]


def test_frozen_layers_are_one_remark_beside_healthy(run_evidence, setup_record):
    frozen = setup_record(requires_grad=(False,) * 4 + (True,) * 2)
    found = diagnose(run_evidence(setup=frozen, norms=(0, 0, 1), ratios=(math.nan, math.nan, 0.01)))
    assert [(one.code, one.severity) for one in found] == [("frozen", "info"), ("healthy", "info")]


def test_batch_norm_in_eval_mode_is_a_fault_unless_it_is_frozen(run_evidence, setup_record):
    evidence = run_evidence()
    kinds = tuple(replace(one, kind="BatchNorm1d") if one.name == "middle" else one
                  for one in evidence.info.layers)  # fmt: skip
    ill = run_evidence(setup=setup_record(eval_mode=("middle",)), layers=kinds)
    assert diagnose(ill)[0].code == "batch-norm-mode"
    all_norms = tuple(replace(one, kind="BatchNorm1d") for one in evidence.info.layers)
    backwards = setup_record(eval_mode=("middle", "last", "first"), call_order=(2, 1, 0))
    assert diagnose(run_evidence(setup=backwards, layers=all_norms))[0].layer == "last"
    frozen = setup_record(
        eval_mode=("middle",), requires_grad=(True,) * 2 + (False,) * 2 + (True,) * 2
    )
    assert "batch-norm-mode" not in codes(run_evidence(setup=frozen, layers=kinds))


# What it starts from ------------------------------------------------------------------------


def test_raw_pixels_are_named_unless_a_normalising_layer_comes_first(run_evidence, setup_record):
    pixels = TensorRange((64, 784), 33.3, 78.6, 0.0, 255.0)
    found = diagnose(
        run_evidence(setup=setup_record(inputs=pixels), losses=np.linspace(13, 2, 100))
    )
    assert (found[0].code, found[0].layer) == ("unscaled-inputs", "first")
    assert found[0].override == "data.normalize=mean_std"
    assert codes(run_evidence(setup=setup_record(inputs=replace(pixels, whole=True)))) == [
        "healthy"
    ]
    normalised = run_evidence().info.layers
    layers = (replace(normalised[0], kind="BatchNorm1d"), *normalised[1:])
    assert codes(run_evidence(setup=setup_record(inputs=pixels), layers=layers)) == ["healthy"]


def test_weights_far_too_large_are_the_cause_of_a_wild_first_loss(run_evidence, setup_record):
    large = run_evidence(
        setup=setup_record(), weights=np.full((5, 3), 160.0), losses=np.linspace(400, 40, 100)
    )
    found = diagnose(large)
    assert (found[0].code, found[0].layer) == ("initial-scale", "first")
    assert all(one.follows_from == "initial-scale" for one in found[1:])
    small = run_evidence(setup=setup_record(), weights=np.full((5, 3), 0.01), losses=FLAT)
    assert diagnose(small)[0].code == "initial-scale"
    # Zero at the start on purpose, as in an adapter: it learns.
    adapter = run_evidence(
        setup=setup_record(), weights=np.array([16.0, 0.0, 16.0]) * np.ones((5, 1))
    )
    assert codes(adapter) == ["healthy"]


# The optimizer's settings -------------------------------------------------------------------


def test_a_decay_that_outweighs_the_gradient_and_shrinks_the_weights(run_evidence, setup_record):
    decaying = setup_record(groups=(ParameterGroup(tuple(range(6)), 0.1, weight_decay=1.0),))
    shrinking = np.geomspace(9.5, 0.01, 5)[:, None] * np.ones(3)
    found = diagnose(run_evidence(setup=decaying, weights=shrinking, losses=FLAT))
    assert found[0].code == "weight-decay-too-strong"
    # The decay pulls 9.5 times as hard as a gradient of 1; a hundredth as hard is 1/950.
    assert found[0].override == "optimizer.weight_decay=0.001"
    assert "weight-decay-too-strong" not in codes(run_evidence(setup=decaying, losses=FLAT))
    well = np.geomspace(LN_10, 0.02, 100)
    assert codes(run_evidence(setup=decaying, weights=shrinking, losses=well)) == ["healthy"]


def test_a_decoupled_decay_is_judged_by_its_share_of_the_update(run_evidence, setup_record):
    shrinking = np.geomspace(9.5, 0.01, 5)[:, None] * np.ones(3)
    for decay, ill in ((1.0, True), (0.01, False)):
        group = ParameterGroup(tuple(range(6)), 0.1, weight_decay=decay, decoupled=True)
        ratio = 0.1 * decay + 0.01
        found = codes(run_evidence(setup=setup_record(groups=(group,)), weights=shrinking,
                                   ratios=(ratio,) * 3, losses=FLAT))  # fmt: skip
        assert ("weight-decay-too-strong" in found) == ill


def test_too_much_momentum_needs_harm(run_evidence, setup_record):
    heavy = setup_record(groups=(ParameterGroup(tuple(range(6)), 0.1, momentum=0.999),))
    growing = np.geomspace(0.01, 0.5, 5)[:, None] * np.ones(3)
    found = diagnose(run_evidence(setup=heavy, losses=FLAT, ratios=growing))
    assert found[0].code == "momentum-too-high"
    assert found[0].override == "optimizer.momentum=0.9"
    well = np.geomspace(LN_10, 0.02, 100)
    assert codes(run_evidence(setup=heavy, ratios=growing, losses=well)) == ["healthy"]


def test_an_epsilon_that_is_the_denominator(run_evidence, setup_record):
    group = ParameterGroup(tuple(range(6)), 0.002, momentum=0.9, epsilon=10.0)
    slow = {"losses": FLAT * 0.99, "ratios": (1e-5,) * 3, "optimizer": "adam"}
    found = diagnose(run_evidence(setup=setup_record(groups=(group,)), **slow))
    assert found[0].code == "epsilon-too-large"
    assert found[0].override == "optimizer.eps=1e-8"
    usual = setup_record(groups=(replace(group, epsilon=1e-8),))
    assert "epsilon-too-large" not in codes(run_evidence(setup=usual, **slow))


# What happened when -------------------------------------------------------------------------


def test_a_collapse_is_dated_and_its_cause_is_the_update_before_it(run_evidence, setup_record):
    norms = np.ones((100, 3))
    norms[3:, :2] = 0.0  # from step 4 on
    jumps = np.array([[1.7, 0.2, 0.1], *[[0.0, 0.0, 0.001]] * 4])
    found = diagnose(run_evidence(setup=setup_record(), norms=norms, ratios=jumps, losses=FLAT))
    assert [(one.code, one.layer, one.follows_from) for one in found] == [
        ("lr-too-high", "first", None),
        ("dead-units", "middle", "lr-too-high"),
    ]
    assert "at step 1" in found[0].message
    assert "170%" in found[0].message
    assert "step 4" in found[0].message
    assert found[1].evidence["since_step"] == 4


@pytest.mark.parametrize("own_loop", [True, False])
def test_healthy_is_never_said_of_a_net_whose_layers_died(run_evidence, setup_record, own_loop):
    rng = np.random.default_rng(0)
    for since in range(1, 90, 11):
        norms = np.ones((100, 3))
        norms[since:, rng.integers(3)] = 0.0
        for losses in (FLAT, np.linspace(15, 2.0, 100), np.linspace(2.3, 0.2, 100)):
            evidence = run_evidence(
                setup=setup_record(), norms=norms, losses=losses, own_loop=own_loop
            )
            found = diagnose(evidence)
            assert "healthy" not in [one.code for one in found]
            assert not any("reach every" in one.message for one in found)


def test_a_layer_that_is_unused_in_some_steps_is_healthy(run_evidence, setup_record):
    norms = np.ones((100, 3))
    norms[::2, 1] = 0.0
    assert codes(run_evidence(setup=setup_record(), norms=norms)) == ["healthy"]


def test_what_is_not_finite_follows_from_updates_that_were_too_large(run_evidence, setup_record):
    fault = FaultRecord(101, 1, "loss", None, math.nan, ())
    found = diagnose(
        run_evidence(setup=setup_record(), ratios=(3.0, 1.0, 1.0), fault=fault, losses=FLAT)
    )
    assert [(one.code, one.follows_from) for one in found] == [
        ("lr-too-high", None),
        ("non-finite", "lr-too-high"),
    ]


# Any loss -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "losses",
    [
        np.concatenate([[0.0], np.linspace(0.3, 0.1, 99)]),
        np.linspace(-1.0, -30.0, 100),
        np.zeros(100),
        np.linspace(0.7, 5.0, 100),  # a generator's, by design
    ],
)
def test_any_loss_of_a_users_own_is_judged_by_its_gradients(run_evidence, setup_record, losses):
    own = setup_record(loss_path=("Mean",), outputs=None)
    found = diagnose(run_evidence(losses=losses, setup=own, own_loop=True))
    assert "healthy" in [one.code for one in found]
    assert all(one.severity == "info" for one in found)


# The data -----------------------------------------------------------------------------------


def test_labels_that_do_not_belong_to_the_inputs(run_evidence, setup_record):
    assert codes(run_evidence(losses=FLAT, setup=setup_record())) == ["labels"]
    assert codes(run_evidence(losses=FLAT, setup=setup_record(), own_loop=True)) == ["labels"]
    by_heart = EvalRecord(100, 1, "val", 4.0, 0.11, 0.3, 1.0, 1.0)
    assert "labels" in codes(run_evidence(setup=setup_record(), evals=[by_heart]))
    well = replace(by_heart, score=0.9)
    assert codes(run_evidence(setup=setup_record(), evals=[well])) == ["healthy"]


def test_a_loss_that_only_came_down_to_that_of_guessing_is_not_called_healthy(
    run_evidence, setup_record
):
    losses = np.concatenate([np.linspace(4.0, LN_10, 20), np.linspace(LN_10, 0.95 * LN_10, 80)])
    for rest in (0.95, 1.0):
        losses[20:] = np.linspace(LN_10, rest * LN_10, 80)
        found = diagnose(run_evidence(losses=losses, setup=setup_record(), own_loop=True))
        assert found and "healthy" not in [one.code for one in found]
        assert not any("was not moved" in one.message for one in found)


def test_classes_that_come_one_after_the_other(run_evidence, setup_record):
    block = np.concatenate([[5.0], np.geomspace(2.0, 0.01, 19)])
    found = diagnose(run_evidence(losses=np.tile(block, 5), setup=setup_record()))
    assert found[0].code == "data-order"
    assert "shuffle" in found[0].mend.lower()


def with_targets(run_evidence, setup_record, targets, rows, *, apart):
    """Evidence of batches, so many steps apart, with these commonest labels among `rows` labels."""
    setups = tuple(
        setup_record(step=apart * at, usual_target=one, targets_seen=rows)
        for at, one in enumerate(targets)
    )
    return replace(run_evidence(setup=setups[-1]), setups=setups)


@pytest.mark.parametrize(
    ("targets", "rows", "found"),
    [
        ([(3, 1.0), (3, 1.0), (7, 0.95)], 64, "data-order"),
        ([(3, 0.9), (1, 0.9)], 16, "data-order"),
        ([(3, 1.0), (3, 1.0), (3, 0.95)], 64, "healthy"),  # most examples are of one class
        ([(3, 0.2), (7, 0.89), (1, 0.92)], 64, "healthy"),
        ([(3, 1.0), (7, 1.0)], 15, "healthy"),  # by chance
        ([(-1, math.nan)] * 3, 64, "healthy"),  # not known
    ],
)
def test_batches_that_hold_one_class_each(run_evidence, setup_record, targets, rows, found):
    (told,) = diagnose(with_targets(run_evidence, setup_record, targets, rows, apart=10))
    assert told.code == found
    if found == "data-order":
        first, second = targets[0], targets[-1]
        assert f"nearly all of step 1 are of class {first[0]}," in told.message
        assert f"all of step {10 * len(targets) - 9} of class {second[0]}." in told.message
        assert "shuffle=True" in told.mend


def test_with_tiny_batches_larger_ones_are_advised_before_a_lower_rate(run_evidence, setup_record):
    many = {"losses": FLAT, "ratios": (1.0, 0.5, 0.5), "setup": setup_record()}
    of_two, of_five = (diagnose(run_evidence(**many, batch_size=size))[0] for size in (2, 5))
    assert of_two.code == of_five.code == "lr-too-high"
    assert of_two.override == "batch_size=64"
    assert of_two.mend.startswith("Use batches of 64 examples")
    assert of_two.mend.endswith(of_five.mend)
    assert of_five.override.startswith("optimizer.lr=")
    blown_up = {**many, "losses": np.concatenate([[LN_10], np.geomspace(3, 90, 99)])}
    assert diagnose(run_evidence(**blown_up, batch_size=2))[0].override == of_five.override


# A backward pass written by hand ------------------------------------------------------------

BY_HAND = (("Mine", 1),)


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (FLAT, "wrong-gradient"),
        (np.linspace(LN_10, 0.7 * LN_10, 100), "wrong-gradient"),  # others do what they can
        (np.linspace(LN_10, 0.6 * LN_10, 100), "healthy"),
        (np.concatenate([[LN_10], np.geomspace(3, 90, 99)]), "wrong-gradient"),
    ],
)
def test_a_backward_pass_written_by_hand_is_doubted_if_little_is_learned(
    run_evidence, setup_record, losses, found
):
    setup = setup_record(own_functions=BY_HAND)
    told = diagnose(run_evidence(losses=losses, setup=setup, own_loop=True))
    assert told[0].code == found
    if found == "wrong-gradient":
        assert told[0].layer == "middle"
        assert "Mine" in told[0].message and "may be wrong" in told[0].message
        assert "gradcheck" in told[0].mend
        assert "labels" not in [one.code for one in told]


def test_nor_is_it_doubted_in_few_steps_nor_when_the_rate_or_nothing_explains_more(
    run_evidence, setup_record
):
    setup = setup_record(own_functions=BY_HAND)
    for changes in (
        {"losses": FLAT[:59]},
        {"losses": FLAT, "ratios": (3.0, 3.0, 3.0)},
        {"losses": FLAT, "ratios": (1e-6, 1e-6, 1e-6)},
        {"losses": FLAT, "setup": setup_record()},
    ):
        told = diagnose(run_evidence(**{"setup": setup, "own_loop": True, **changes}))
        assert "wrong-gradient" not in [one.code for one in told]


def test_it_explains_a_value_that_is_not_finite_only_if_the_loss_had_grown(
    run_evidence, setup_record
):
    setup = setup_record(own_functions=BY_HAND)
    fault = FaultRecord(31, 1, "forward", "middle", math.nan, ())
    grown = np.concatenate([[LN_10], np.geomspace(3, 900, 29)])
    told = diagnose(run_evidence(losses=grown, setup=setup, own_loop=True, fault=fault))
    assert [(one.code, one.follows_from) for one in told][:2] == [
        ("wrong-gradient", None),
        ("non-finite", "wrong-gradient"),
    ]
    told = diagnose(run_evidence(losses=FLAT[:30], setup=setup, own_loop=True, fault=fault))
    assert told[0].code == "non-finite"


@pytest.mark.parametrize(
    ("ratio", "words"), [(3.0, "by 300% of their norm."), (1.5e9, "by 1.50e+09 times their norm.")]
)
def test_an_update_is_told_in_percent_or_as_a_multiple(run_evidence, setup_record, ratio, words):
    (found, *_) = diagnose(
        run_evidence(losses=FLAT, ratios=(ratio, 0.5, 0.5), setup=setup_record())
    )
    assert found.code == "lr-too-high"
    assert words in found.message


@pytest.mark.parametrize("own_loop", [True, False])
def test_a_rate_that_rises_until_the_loss_turns_is_dated(run_evidence, setup_record, own_loop):
    losses = np.concatenate([np.linspace(LN_10, 0.5, 50), np.linspace(0.5, 4.0, 50)])
    rising = np.linspace(0.01, 1.0, 100)
    cases = {"losses": losses, "ratios": (0.5, 0.2, 0.2), "setup": setup_record()}
    found = diagnose(run_evidence(**cases, rates=rising, own_loop=own_loop))[0]
    assert found.code == "lr-too-high"
    assert "The loss fell until step 49, when the rate had risen to 0.490" in found.message
    assert (found.mend == "Let the schedule rise to 0.16 at most.") is own_loop
    steady = diagnose(run_evidence(**cases, rates=np.full(100, 0.01), own_loop=own_loop))[0]
    assert steady.code == "lr-too-high" and "The loss fell until" not in steady.message


@pytest.mark.parametrize(
    ("targets", "rows", "found"),
    [
        ([(3, 1.0)] * 3, 16, "labels"),
        ([(3, 1.0)] * 2, 16, "healthy"),  # too few, and too early
        ([(3, 1.0)] * 3, 15, "healthy"),
        ([(3, 0.99)] * 3, 64, "healthy"),
        ([(-1, math.nan)] * 3, 64, "healthy"),
    ],
)
def test_labels_of_one_class(run_evidence, setup_record, targets, rows, found):
    (told,) = diagnose(with_targets(run_evidence, setup_record, targets, rows, apart=25))
    assert told.code == found
    early = with_targets(run_evidence, setup_record, targets, rows, apart=24)
    assert codes(early) == ["healthy"]  # other classes may have come later
    if found == "labels":
        assert "of class 3, in each of the 3 batches" in told.message


def test_if_next_to_nothing_is_trained_it_is_said_how_much(run_evidence, setup_record):
    only_one_bias = setup_record(requires_grad=(*(False,) * 5, True))
    evidence = run_evidence(setup=only_one_bias)
    assert "are trained" not in diagnose(evidence)[0].message  # 16 of 816 are a fiftieth
    first, *others = evidence.info.layers
    large = replace(first, parameters=(replace(first.parameters[0], shape=(64, 64)),) * 2)
    told = diagnose(replace(evidence, info=replace(evidence.info, layers=(large, *others))))[0]
    assert told.code == "frozen"
    assert told.message.endswith("Only 16 of 8,736 parameters are trained.")


def test_of_a_sum_of_losses_it_is_said_that_its_terms_were_not_seen(run_evidence, setup_record):
    path = ("Add", "NllLoss", "LogSoftmax", "Addmm")
    (found,) = diagnose(run_evidence(setup=setup_record(loss_path=path), own_loop=True))
    assert found.code == "healthy" and "The loss is a sum" in found.message
    (found,) = diagnose(run_evidence(setup=setup_record(), own_loop=True))
    assert "The loss is a sum" not in found.message
