"""How large updates are, compared with what PyTorch's own optimizers do."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradcli.diagnosis.update_sizes import (
    first_jump,
    harmful_jump,
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
