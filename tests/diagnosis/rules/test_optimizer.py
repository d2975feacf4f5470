"""Rules on the optimizer's weight decay, momentum and epsilon."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import (
    DECAY_OVERSHOOTS,
    DECAY_PULL,
    EPSILON_SHARE,
    FIRST_TOO_LARGE,
    HALF_LEFT,
    MOMENTUM,
    SETTLED_LEFT,
    USUAL_EPSILON,
    WEIGHTS_LEFT,
)
from gradcli.diagnosis.rules import optimizer
from gradcli.records import FaultRecord, ParameterGroup

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
WELL = np.geomspace(LN_10, 0.02, 100)
FAULT = FaultRecord(11, 1, "forward", "middle", math.nan, ())
ALL = tuple(range(6))


# Weight decay -------------------------------------------------------------------------------


def decayed(
    run_evidence,
    setup_record,
    *,
    pull=1.0,
    left=(0.1, 0.1, 0.1),
    losses=FLAT,
    fault=None,
    groups=None,
    start=10.0,
    **info,
):
    """Weights of norm 10 that shrink to `left`, under gradients of 1: a decay pulls 10 times."""
    weights = np.array([np.full(3, start)] * 4 + [start * np.array(left)])
    groups = groups or (ParameterGroup(ALL, 0.1, weight_decay=pull / 10),)
    setup = setup_record(groups=groups)
    return run_evidence(setup=setup, losses=losses, weights=weights, fault=fault, **info)


def too_strong(*arguments, **more):
    return list(optimizer.weight_decay_too_strong(decayed(*arguments, **more)))


def test_a_strong_decay_is_described_as_it_is(run_evidence, setup_record):
    (found,) = too_strong(run_evidence, setup_record, left=(0.5, 0.1, 0.2))
    assert (found.code, found.layer) == ("weight-decay-too-strong", "middle")
    assert found.evidence == pytest.approx(
        {"weight_decay": 0.1, "pull": 1.0, "weights_left": 0.1, "last_loss": LN_10}
    )
    assert found.message == (
        "The weight decay of 0.1 is too strong: at the start it pulls 1.00 times as hard as the "
        "gradient, and the weights of middle shrink to 0.100 times their size. The loss ends at "
        "2.30."
    )
    assert found.override == "optimizer.weight_decay=0.001"
    assert found.mend == "Lower weight_decay to 0.001 or less."


@pytest.mark.parametrize(
    ("pull", "left", "found"),
    [
        (1.01 * DECAY_PULL.value, 0.1, 1),
        (1.01 * DECAY_PULL.value, 0.0, 1),  # nothing is left
        (DECAY_PULL.value, 0.1, 0),
        (1.0, 0.99 * WEIGHTS_LEFT.value, 1),
        (1.0, 1.01 * WEIGHTS_LEFT.value, 0),
        (0.0, 0.1, 0),
        (math.nan, 0.1, 0),
    ],
)
def test_a_decay_is_too_strong_if_it_pulls_and_weights_shrink(
    run_evidence, setup_record, pull, left, found
):
    assert len(too_strong(run_evidence, setup_record, pull=pull, left=(left,) * 3)) == found


@pytest.mark.parametrize(
    ("losses", "severity"), [(FLAT, "error"), (FLAT * 0.99, "error"), (WELL, None)]
)
def test_it_is_graver_if_nothing_is_learned(run_evidence, setup_record, losses, severity):
    found = too_strong(run_evidence, setup_record, losses=losses)
    assert [one.severity for one in found] == ([severity] if severity else [])
    some = np.linspace(LN_10, 0.5 * LN_10, 100)
    assert too_strong(run_evidence, setup_record, losses=some)[0].severity == "warning"


def test_a_decay_takes_a_record_of_the_setup_and_measured_weights(run_evidence, setup_record):
    evidence = decayed(run_evidence, setup_record)
    assert not list(optimizer.weight_decay_too_strong(replace(evidence, setup=None)))
    unmeasured = replace(evidence, weight_norms=np.empty((0, 3)))
    assert not list(optimizer.weight_decay_too_strong(unmeasured))


@pytest.mark.parametrize(("count", "fault"), [(19, None), (20, None), (19, FAULT)])
def test_a_decay_is_judged_after_twenty_steps_or_a_fault(run_evidence, setup_record, count, fault):
    found = too_strong(run_evidence, setup_record, losses=FLAT[:count], fault=fault)
    assert len(found) == (count == 20 or fault is not None)


@pytest.mark.parametrize(
    ("pull", "fault", "overshoots"),
    [
        (1.01 * DECAY_OVERSHOOTS.value, FAULT, True),
        (DECAY_OVERSHOOTS.value, FAULT, False),
        (1.01 * DECAY_OVERSHOOTS.value, None, False),
    ],
)
def test_a_decay_that_turns_weights_over(run_evidence, setup_record, pull, fault, overshoots):
    grown = too_strong(run_evidence, setup_record, pull=pull, left=(9.0, 5.0, 9.0), fault=fault)
    assert len(grown) == overshoots
    for one in grown:
        assert (one.code, one.severity, one.layer) == ("weight-decay-too-strong", "error", "middle")
        assert one.evidence == pytest.approx({"weight_decay": pull / 10, "pull": pull})
        assert "pulls 20.2 times as hard as the gradient, so that each update throws" in one.message
        assert one.override == "optimizer.weight_decay=0.001"
        assert one.mend == "Lower weight_decay to 0.001 or less."


def test_a_group_without_decay_hides_none_after_it(run_evidence, setup_record):
    groups = (ParameterGroup((0, 1), 0.1), ParameterGroup((2, 3, 4, 5), 0.1, weight_decay=0.1))
    (found,) = too_strong(run_evidence, setup_record, groups=groups, left=(1.0, 0.1, 0.1))
    assert found.evidence["weight_decay"] == 0.1
    evidence = decayed(run_evidence, setup_record, groups=groups)
    assert optimizer.decay_pulls(evidence) == pytest.approx([math.nan, 1.0, 1.0], nan_ok=True)


def test_of_several_groups_the_decay_that_pulls_hardest_is_named(run_evidence, setup_record):
    groups = (
        ParameterGroup((0, 1), 0.1, weight_decay=0.1),
        ParameterGroup((2, 3), 0.1, weight_decay=0.2),
        ParameterGroup((4, 5), 0.1, weight_decay=0.0),
    )
    (found,) = too_strong(run_evidence, setup_record, groups=groups, left=(0.3, 0.5, 0.01))
    assert found.layer == "middle"
    assert found.evidence["weight_decay"] == 0.2
    assert found.evidence["pull"] == pytest.approx(2.0)


def test_groups_of_one_decay_are_judged_by_their_median(run_evidence, setup_record):
    groups = tuple(ParameterGroup((2 * at, 2 * at + 1), 0.1, weight_decay=0.1) for at in range(3))
    # In the median, the weights of two thirds of the layers keep their size.
    assert not too_strong(run_evidence, setup_record, groups=groups, left=(0.1, 0.8, 0.9))
    assert too_strong(run_evidence, setup_record, groups=groups, left=(0.1, 0.6, 0.9))


def test_only_the_layers_of_a_decay_count(run_evidence, setup_record):
    groups = (
        ParameterGroup((0, 1), 0.1, weight_decay=0.1),
        ParameterGroup((2, 3, 4, 5), 0.1, weight_decay=0.0),
    )
    assert not too_strong(run_evidence, setup_record, groups=groups, left=(1.0, 0.1, 0.1))
    (found,) = too_strong(run_evidence, setup_record, groups=groups, left=(0.1, 1.0, 1.0))
    assert found.layer == "first"


def test_weights_that_begin_at_zero_cannot_shrink(run_evidence, setup_record):
    assert not too_strong(run_evidence, setup_record, start=0.0)


@pytest.mark.parametrize(("decays", "since"), [((0.0, 0.0, 0.1), 21), ((0.1, 0.1, 0.1), 0)])
def test_a_decay_that_began_midway_is_dated(run_evidence, setup_record, decays, since):
    evidence = decayed(run_evidence, setup_record)
    setups = tuple(
        setup_record(step=10 * at, groups=(ParameterGroup(ALL, 0.1, weight_decay=one),))
        for at, one in enumerate(decays)
    )
    (found,) = optimizer.weight_decay_too_strong(replace(evidence, setups=setups))
    assert found.evidence.get("since_step", 0) == since
    dated = "from step 21 on if not before, is too strong: it pulls 1.00 times as hard as the "
    assert (dated + "gradient did at the start" in found.message) == bool(since)
    assert ("at the start it pulls" in found.message) == (not since)


def test_the_pull_of_a_decay_is_relative_to_the_early_gradient(run_evidence, setup_record):
    norms = np.full((100, 3), 100.0)
    norms[:10] = [1.0, 2.0, 0.0]  # the first tenth of the steps
    setup = setup_record(groups=(ParameterGroup(ALL, 0.1, weight_decay=0.1),))
    evidence = run_evidence(setup=setup, norms=norms, weights=np.full((5, 3), 10.0))
    assert optimizer.decay_pulls(evidence) == pytest.approx([1.0, 0.5, math.nan], nan_ok=True)
    growing = np.arange(1.0, 101.0)[:, None] * np.ones(3)
    for count, gradient in ((100, 5.5), (40, 2.5), (5, 1.0)):  # of five steps, the first one
        pulls = optimizer.decay_pulls(replace(evidence, norms=growing[:count]))
        assert pulls == pytest.approx([1 / gradient] * 3)
    nothing = optimizer.decay_pulls(replace(evidence, norms=norms[:0]))
    assert np.isnan(nothing).all()
    assert np.isnan(optimizer.decay_pulls(replace(evidence, setup=None))).all()


def test_a_decoupled_decay_pulls_by_its_share_of_the_update(run_evidence, setup_record):
    group = ParameterGroup((0, 1, 2, 3), 0.1, weight_decay=0.5, decoupled=True)
    evidence = run_evidence(setup=setup_record(groups=(group,)), ratios=(0.15, 0.0500001, 0.1))
    # At a rate of 0.1 the decay takes 0.05 of the weights; the rest is the gradient's.
    pulls = optimizer.decay_pulls(evidence)
    assert pulls == pytest.approx([0.5, 1000.0, math.nan], nan_ok=True)
    ratios = np.array([0.11, 0.12, 0.15, 0.2, 0.3, 9.0])[:, None] * np.ones(3)  # the first five
    assert optimizer.decay_pulls(replace(evidence, update_ratios=ratios))[0] == pytest.approx(0.5)


def test_a_pull_that_is_nearly_all_of_the_update_is_told_as_a_bound(run_evidence, setup_record):
    group = ParameterGroup(ALL, 0.1, weight_decay=1.0, decoupled=True)
    (found,) = too_strong(run_evidence, setup_record, groups=(group,), ratios=(0.1,) * 3)
    assert "it pulls at least 1.00e+03 times as hard" in found.message
    (found,) = too_strong(run_evidence, setup_record, groups=(group,), ratios=(0.2,) * 3)
    assert "it pulls 1.00 times as hard" in found.message


# Momentum -----------------------------------------------------------------------------------


def heavy(run_evidence, setup_record, momentum=0.999, **more):
    groups = (
        ParameterGroup((4, 5), 0.1),  # has no momentum
        ParameterGroup((0, 1), 0.1, momentum=0.5),
        ParameterGroup((2, 3), 0.1, momentum=momentum),
    )
    ratios = more.pop("ratios", np.geomspace(0.01, 0.5, 5)[:, None] * np.ones(3))
    setup = setup_record(groups=groups)
    evidence = run_evidence(setup=setup, **{"losses": FLAT, "ratios": ratios, **more})
    return list(optimizer.momentum_too_high(evidence))


@pytest.mark.parametrize(
    ("momentum", "steps"),
    [
        (MOMENTUM.value, None),
        (0.98, "for about 50 steps"),
        (0.999, "for about 1000 steps"),
        (1.0, "for ever"),
    ],
)
def test_the_largest_momentum_of_the_groups_counts(run_evidence, setup_record, momentum, steps):
    found = heavy(run_evidence, setup_record, momentum)
    assert len(found) == (steps is not None)
    for one in found:
        assert (one.code, one.severity, one.layer) == ("momentum-too-high", "error", None)
        assert one.evidence == pytest.approx(
            {
                "momentum": momentum,
                "first_update_ratio": 0.01,
                "largest_update_ratio": 0.5,
                "last_loss": LN_10,
            }
        )
        assert f"keeps going {steps}, so" in one.message
        assert "(from 0.0100 of the weights at first to 0.500)" in one.message
        assert one.override == "optimizer.momentum=0.9"


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({"losses": FLAT[:20]}, "error"),
        ({"losses": FLAT[:19]}, None),
        ({"losses": np.linspace(LN_10, 0.5 * LN_10, 100)}, "warning"),
        ({"losses": np.r_[LN_10, np.full(99, 1.01 * SETTLED_LEFT.value * LN_10)]}, "warning"),
        ({"losses": np.r_[LN_10, np.full(99, 0.99 * SETTLED_LEFT.value * LN_10)]}, None),
        ({"ratios": (math.nan,) * 3}, None),
        ({"ratios": (0.1, FIRST_TOO_LARGE.value, 0.1)}, "error"),
        ({"ratios": (0.1, 1.01 * FIRST_TOO_LARGE.value, 0.1)}, None),
    ],
)
def test_what_momentum_needs_to_be_blamed(run_evidence, setup_record, changes, severity):
    found = heavy(run_evidence, setup_record, **changes)
    assert [one.severity for one in found] == ([severity] if severity else [])


def test_without_momentum_or_a_record_of_it_none_is_too_high(run_evidence, setup_record):
    no_groups = run_evidence(setup=setup_record(groups=()), losses=FLAT)
    assert not list(optimizer.momentum_too_high(no_groups))
    assert not list(optimizer.momentum_too_high(run_evidence(losses=FLAT)))


# Epsilon ------------------------------------------------------------------------------------


def small_steps(run_evidence, setup_record, epsilon=10.0, **more):
    """Gradients of norm 1 in layers of 16 * 17 parameters: an rms of 0.0606."""
    groups = more.pop("groups", (ParameterGroup(ALL, 0.1, epsilon=epsilon),))
    given = {"losses": FLAT, "optimizer": "adam", **more}
    evidence = run_evidence(setup=setup_record(groups=groups), **given)
    return list(optimizer.epsilon_too_large(evidence))


RMS = 1 / math.sqrt(16 * 17)


@pytest.mark.parametrize(("share", "found"), [(0.99, 0), (1.01, 1)])
def test_an_epsilon_is_a_share_of_the_denominator(run_evidence, setup_record, share, found):
    limit = EPSILON_SHARE.value
    epsilon = share * RMS * limit / (1 - limit)
    told = small_steps(run_evidence, setup_record, epsilon)
    assert len(told) == found
    for one in told:
        assert (one.code, one.severity, one.layer) == ("epsilon-too-large", "warning", None)
        part = epsilon / (epsilon + RMS)
        assert one.evidence == pytest.approx(
            {"epsilon": epsilon, "share_of_denominator": part, "last_loss": LN_10}
        )
        assert "makes up 90% of what the gradient is divided by" in one.message
        assert f"epsilon of {epsilon:g} is" in one.message
        assert (one.override, one.mend) == ("optimizer.eps=1e-8", "Lower eps to 1e-8.")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"losses": FLAT[:20]}, 1),
        ({"losses": FLAT[:19]}, 0),
        ({"optimizer": "Adadelta"}, 0),
        ({"optimizer": "Adafactor"}, 0),
        ({"groups": ()}, 0),
        ({"norms": (0, 0, 0)}, 0),
        ({"losses": np.r_[LN_10, np.full(99, (HALF_LEFT.value + 0.01) * LN_10)]}, 1),
        ({"losses": np.r_[LN_10, np.full(99, (HALF_LEFT.value - 0.01) * LN_10)]}, 0),
        ({"epsilon": math.nan}, 0),
    ],
)
def test_what_an_epsilon_needs_to_be_blamed(run_evidence, setup_record, changes, found):
    assert len(small_steps(run_evidence, setup_record, **changes)) == found


@pytest.mark.parametrize(("share", "found"), [(0.5, 0), (1.0, 0), (1.01, 1)])
def test_a_usual_epsilon_leaves_the_blame_to_the_gradient(run_evidence, setup_record, share, found):
    epsilon = share * USUAL_EPSILON.value
    tiny = {"norms": np.full((100, 3), 1e-9)}
    assert len(small_steps(run_evidence, setup_record, epsilon, **tiny)) == found


def test_an_epsilon_takes_gradients_and_a_setup(run_evidence, setup_record):
    group = ParameterGroup(ALL, 0.1, epsilon=10.0)
    evidence = run_evidence(setup=setup_record(groups=(group,)), losses=FLAT)
    assert list(optimizer.epsilon_too_large(evidence))
    assert not list(optimizer.epsilon_too_large(replace(evidence, setup=None)))
    assert not list(optimizer.epsilon_too_large(replace(evidence, norms=evidence.norms[:0])))


def test_epsilon_is_judged_by_the_median_layer_of_those_that_have_one(run_evidence, setup_record):
    large, small = (
        ParameterGroup((0, 1), 0.1, epsilon=10.0),
        ParameterGroup((2, 3), 0.1, epsilon=1e-8),
    )
    none = ParameterGroup((4, 5), 0.1)
    assert not small_steps(run_evidence, setup_record, groups=(large, small, none))
    (found,) = small_steps(run_evidence, setup_record, groups=(none, large))
    assert found.evidence["epsilon"] == 10.0
    groups = (large, small, replace(large, parameters=(4, 5), epsilon=0.0))
    assert not small_steps(run_evidence, setup_record, groups=groups)
    (found,) = small_steps(run_evidence, setup_record, groups=(large, replace(large, epsilon=0.0)))
    assert found.evidence["epsilon"] == 10.0


def test_epsilon_is_compared_with_the_gradient_of_the_first_tenth(run_evidence, setup_record):
    norms = np.full((100, 3), 1e6)
    norms[:10] = 1.0
    (found,) = small_steps(run_evidence, setup_record, norms=norms)
    assert found.evidence["share_of_denominator"] == pytest.approx(10 / (10 + RMS))
    norms = np.full((40, 3), 1e6)
    norms[:4, :] = np.array([1.0, 2.0, 4.0, 8.0])[:, None]  # 3 in the median
    (found,) = small_steps(run_evidence, setup_record, norms=norms, losses=FLAT[:40])
    assert found.evidence["share_of_denominator"] == pytest.approx(10 / (10 + 3 * RMS))
