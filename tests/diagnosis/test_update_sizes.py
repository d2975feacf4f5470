"""How large updates are, compared with what PyTorch's own optimizers do."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradcli.diagnosis.limits import (
    LOSS_THROWN_UP,
    SETTLED_TOO_LARGE,
    SETTLED_TOO_LARGE_SGD,
    SMALL_WEIGHTS,
    UPDATE_JUMP,
    UPDATES_TOGETHER,
)
from gradcli.diagnosis.update_sizes import (
    first_jump,
    harmful_jump,
    settled_together,
    settled_update,
    updates_too_large,
    updates_too_large_together,
)
from gradcli.records import ParameterGroup

FLAT = np.full(100, math.log(10))
#: An optimizer, and what its parameter group holds: momentum, and the decay of the mean of squares.
OPTIMIZERS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1), math.nan, math.nan),
    "SGD with momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 0.9, math.nan),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.99), 0.0, 0.99),
    "Adam": (lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.999)), 0.9, 0.999),
}


def step_sizes(make, count):
    """The lengths of the steps under a gradient that stays the same."""
    weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer, sizes = make([weight]), []
    for _ in range(count):
        before = weight.detach().clone()
        weight.grad = torch.full_like(weight, 0.5)
        optimizer.step()
        sizes.append(float((weight.detach() - before).norm()))
    return sizes


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_settle_where_those_of_the_optimizer_do(run_evidence, setup_record, name):
    make, momentum, second = OPTIMIZERS[name]
    sizes = step_sizes(make, 2000)
    group = ParameterGroup(
        tuple(range(6)), 0.1, momentum=momentum, second_momentum=second, epsilon=1e-8
    )
    evidence = run_evidence(
        setup=setup_record(groups=(group,)),
        ratios=(sizes[0] / 100,) * 3,
        optimizer=name.partition(" ")[0],
    )
    assert settled_update(evidence) == pytest.approx(sizes[-1] / 100, rel=1e-3)


def test_a_warm_up_is_seen_through(run_evidence, setup_record):
    group = ParameterGroup(tuple(range(6)), 0.1)
    evidence = run_evidence(setup=setup_record(groups=(group,)), ratios=(0.002,) * 3)
    assert settled_update(evidence) == pytest.approx(0.002)
    warming_up = replace(evidence, rate_of_first_update=0.01)
    assert settled_update(warming_up) == pytest.approx(0.02)
    assert settled_update(replace(evidence, rate_of_first_update=math.nan)) == 0  # not known


@pytest.mark.parametrize(
    ("second", "ratio", "too_large"),
    [(0.999, 0.19, False), (0.999, 0.21, True), (math.nan, 0.9, False), (math.nan, 1.1, True)],
)
def test_what_is_too_large_depends_on_whether_gradients_are_rescaled(
    run_evidence, setup_record, second, ratio, too_large
):
    group = ParameterGroup(tuple(range(6)), 0.1, second_momentum=second)
    evidence = run_evidence(
        setup=setup_record(groups=(group,)),
        ratios=(ratio,) * 3,
    )
    assert updates_too_large(evidence) == too_large


def test_the_first_updates_of_a_rescaling_optimizer_may_be_large(run_evidence, setup_record):
    ratios = np.full((5, 3), 0.01)
    ratios[0, 1], ratios[4, 2] = 0.9, 0.4  # at steps 1 and 10
    for second, harm in ((0.99, (10, 2, 0.4)), (math.nan, (1, 1, 0.9))):
        group = ParameterGroup(tuple(range(6)), 0.1, second_momentum=second)
        evidence = run_evidence(
            setup=setup_record(groups=(group,)),
            ratios=ratios,
            losses=FLAT,
        )
        assert first_jump(evidence) == (1, 1, 0.9)
        assert harmful_jump(evidence) == harm


def test_updates_of_all_layers_add_up(run_evidence, setup_record):
    group = ParameterGroup(tuple(range(6)), 0.1)
    evidence = run_evidence(setup=setup_record(groups=(group,)), ratios=(0.4,) * 3)
    assert not updates_too_large(evidence)
    assert updates_too_large_together(evidence)
    one_layer = run_evidence(setup=setup_record(groups=(group,)), ratios=(0.4, 0.01, 0.01))
    assert not updates_too_large_together(one_layer)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_too_large_for_float32_is_computed(run_evidence, setup_record, name):
    """As the one of a smaller rate is, in proportion."""
    make, momentum, second = OPTIMIZERS[name]
    group = ParameterGroup(
        tuple(range(6)), 0.1, momentum=momentum, second_momentum=second, epsilon=1e-8
    )
    weights, gradient, count = 9.5, 0.5, 272
    # `step_sizes` has four weights and a gradient of norm 1.
    first = step_sizes(make, 1)[0] * (math.sqrt(count / 4) if second > 0 else gradient)
    known = {"setup": setup_record(groups=(group,)), "optimizer": name.partition(" ")[0]}
    norms = np.full((100, 3), gradient)
    expected = run_evidence(**known, norms=norms, ratios=(first / weights,) * 3)
    infinite = run_evidence(**known, norms=norms, ratios=(math.inf,) * 3)
    assert settled_update(infinite) == pytest.approx(settled_update(expected), rel=1e-3)
    assert first_jump(infinite) == (1, 0, math.inf)


def test_an_update_too_large_for_float32_is_unknown_without_gradients(run_evidence, setup_record):
    infinite = run_evidence(setup=setup_record(), ratios=(math.inf,) * 3)
    assert 0 < settled_update(infinite) < math.inf
    assert settled_update(replace(infinite, norms=infinite.norms[:0])) == 0.0


# Which updates are counted ------------------------------------------------------------------


@pytest.fixture
def under(run_evidence, setup_record):
    """Return a function that gives evidence of a run under one parameter group."""

    def collect(ratios=(0.01,) * 3, *, setup=None, losses=None, **changes):
        info = {key: changes.pop(key) for key in ("optimizer", "batch_size") if key in changes}
        group = ParameterGroup(tuple(range(6)), 0.1, **changes)
        setup = setup_record(groups=(group,), **(setup or {}))
        return run_evidence(setup=setup, ratios=ratios, losses=losses, **info)

    return collect


@pytest.mark.parametrize("times", [1.0, 1.01])
def test_a_jump_is_an_update_above_its_limit(under, times):
    ratios = np.full((5, 3), 0.01)
    ratios[0, 0] = math.nan  # not measured
    ratios[2, 1] = times * UPDATE_JUMP.value
    ratios[3, 0] = 2.0
    first = first_jump(under(ratios))
    assert first == ((3, 1, ratios[2, 1]) if times > 1 else (5, 0, 2.0))  # steps 1, 2, 3, 5 and 10


def test_without_a_large_update_there_is_no_jump(under):
    assert first_jump(under()) is None
    assert harmful_jump(under()) is None
    assert harmful_jump(under(second_momentum=0.99)) is None


@pytest.mark.parametrize(
    ("thrown_up_to", "batch_size", "step"),
    [
        (LOSS_THROWN_UP.value * 1.01, 5, 1),
        (LOSS_THROWN_UP.value * 1.01, 4, 10),  # the loss of so few examples jumps anyway
        (LOSS_THROWN_UP.value * 1.01, 1, 10),
        (LOSS_THROWN_UP.value, 5, 10),
        (1.0, 5, 10),
        (1.0, 4, 10),
    ],
)
def test_first_updates_of_rmsprop_do_harm_if_they_throw_the_loss_up(
    under, thrown_up_to, batch_size, step
):
    ratios = np.full((5, 3), 0.01)
    ratios[[0, 3, 4], 2] = 0.9  # at steps 1, 5 and 10
    losses = 2.0 * np.array([1.0] + [thrown_up_to] * 10 + [1.0] * 40)
    for second, expected in ((0.99, step), (math.nan, 1)):
        found = under(ratios, losses=losses, batch_size=batch_size, second_momentum=second)
        assert harmful_jump(found) == (expected, 2, 0.9)


def test_of_batches_of_unknown_size_the_loss_is_believed(under):
    ratios = np.full((5, 3), 0.9)
    losses = np.array([1.0] + [9.0] * 10 + [1.0] * 40)
    found = under(ratios, losses=losses, batch_size=0, second_momentum=0.99, setup={"inputs": None})
    assert harmful_jump(found) == (1, 0, 0.9)


# What they settle at ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("momentum", "times"),
    [(math.nan, 1), (-0.5, 1), (0.0, 1), (0.5, 2), (0.999, 1000), (0.9999, 1000), (1.0, 1000)],
)
def test_momentum_adds_updates_up_to_a_thousand_of_them(under, momentum, times):
    found = under((1e-4, 2e-4, 3e-4), momentum=momentum)
    assert settled_update(found) == pytest.approx(times * 3e-4)
    assert settled_together(found) == pytest.approx(times * 6e-4)


@pytest.mark.parametrize(
    ("optimizer", "share"), [("rmsprop", 0.2), ("RMSprop", 0.2), ("adam", 1), ("sadam", 1)]
)
def test_only_those_of_rmsprop_begin_larger(under, optimizer, share):
    """Its mean of squares holds 1 - alpha of the first square: its root is a tenth, for 0.99.

    Momentum of 0.5 then makes twice as much of it; Adam corrects for both.
    """
    found = under((0.1,) * 3, optimizer=optimizer, momentum=0.5, second_momentum=0.99)
    assert settled_update(found) == pytest.approx(0.1 * share)


def test_only_the_first_update_tells_where_they_settle(under):
    assert settled_update(under(np.array([[0.02] * 3] + [[0.5] * 3] * 4))) == pytest.approx(0.02)


def test_momentum_is_that_of_the_first_group(run_evidence, setup_record):
    groups = (ParameterGroup((0, 1, 2), 0.1, momentum=0.5), ParameterGroup((3, 4, 5), 0.1))
    found = run_evidence(setup=setup_record(groups=groups), ratios=(0.02,) * 3)
    assert settled_update(found) == pytest.approx(0.04)


def test_what_is_not_known_is_zero(under, run_evidence, setup_record):
    for unknown in (
        run_evidence(),
        replace(under(), rate_of_first_update=0.0),
        replace(under(), update_ratios=np.empty((0, 3))),
        under((math.nan,) * 3),
    ):
        assert settled_update(unknown) == 0
        assert settled_together(unknown) == 0
        assert not updates_too_large(unknown)
    without_groups = run_evidence(setup=setup_record(groups=()))
    assert settled_update(without_groups) == pytest.approx(0.01)  # as without momentum


@pytest.mark.parametrize(("gain", "counts"), [(SMALL_WEIGHTS.value, True), (0.099, False)])
def test_updates_of_weights_that_begin_near_zero_are_not_counted(under, gain, counts):
    found = under((0.5, 0.01, math.nan), setup={"weight_gains": (gain, 1.0, 1.0)})
    assert settled_update(found) == pytest.approx(0.5 if counts else 0.01)
    assert settled_together(found) == pytest.approx(0.51 if counts else 0.01)


def test_of_weights_of_unknown_scale_all_updates_count(under):
    found = under((0.5, 0.01, math.nan), setup={"weight_gains": (math.nan,) * 3})
    assert settled_together(found) == pytest.approx(0.51)


def test_nor_are_those_of_recurrent_weights_beside_others(under):
    found = under((0.5, 0.01, 0.01))
    recurrent = tuple(replace(layer, kind="LSTM") for layer in found.layers)
    assert settled_update(replace(found, layers=(recurrent[0], *found.layers[1:]))) == 0.01
    assert settled_update(replace(found, layers=recurrent)) == 0.5  # there are no others


@pytest.mark.parametrize(
    ("second", "limit", "within"),
    [(0.999, SETTLED_TOO_LARGE, 0.99), (math.nan, SETTLED_TOO_LARGE_SGD, 1.0)],
)
def test_an_update_at_the_limit_is_not_too_large(under, second, limit, within):
    for times in (within, 1.01):
        found = under((times * limit.value, 0.0, 0.0), second_momentum=second)
        assert updates_too_large(found) == (times > 1)


def test_updates_at_the_limit_are_not_too_large_together(under):
    half, quarter = UPDATES_TOGETHER.value / 2, UPDATES_TOGETHER.value / 4
    assert not updates_too_large_together(under((half, quarter, quarter)))
    assert updates_too_large_together(under((half, quarter, quarter * 1.01)))
