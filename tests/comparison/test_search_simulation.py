"""Equal budgets give no arm an advantage: `benchmarks/search_simulation.py`, with fewer draws."""

import math

import numpy as np
import pytest
from scipy import stats
from search_simulation import (
    ARMS,
    BATCH,
    EQUAL_TASKS,
    SETTINGS,
    Objective,
    arm_of,
    compared,
    most_by_luck,
    objectives,
    p_of_equal_chances,
    searched,
)

from gradcli.comparison.protocol import Protocol
from gradcli.comparison.search import TPE, FullGrid, Range, Sobol

EQUAL = [SETTINGS] * len(ARMS)


def simulated(searcher, landscape, comparisons, *, halving=False, settings=EQUAL):
    return [
        compared(landscape, searcher, seed, halving=halving, settings=settings)
        for seed in range(comparisons)
    ]


def check_verdicts(results):
    """False verdicts are as rare as they should be."""
    false = np.mean([one.false_verdicts > 0 for one in results])
    assert false <= most_by_luck(len(results))


def check_fair(results):
    """Each arm comes first equally often, too."""
    check_verdicts(results)
    firsts = [sum(one.first == place for one in results) for place in range(len(ARMS))]
    assert p_of_equal_chances(firsts) > 0.001


@pytest.mark.parametrize("landscape", EQUAL_TASKS)
def test_sobol_is_fair(landscape):
    halving = landscape in ("one bowl", "cliffs")
    check_fair(simulated(Sobol(), landscape, 60, halving=halving))


def test_verdicts_are_true_where_arms_search_more_keys_than_others():
    check_verdicts(simulated(Sobol(), "more keys", 40))


@pytest.mark.parametrize(("landscape", "halving"), [("flat", True), ("own bowls", False)])
def test_tpe_is_fair(landscape, halving):
    pytest.importorskip("optuna", reason="it is in the extra `search`")
    check_fair(simulated(TPE(startup=8), landscape, 20, halving=halving))


def test_any_verdict_between_settings_that_are_equal_is_a_false_one():
    results = simulated(Sobol(), "flat", 60)
    assert [one.verdicts for one in results] == [one.false_verdicts for one in results]
    assert sum(one.verdicts for one in results) > 0, "the verdicts are made with luck in them"


def test_a_larger_budget_is_an_advantage_that_the_simulation_sees():
    """Otherwise that equal budgets give none would say little."""
    results = simulated(Sobol(), "own bowls", 40, settings=[64, 4, 4])
    firsts = sum(one.first == 0 for one in results)
    assert stats.binomtest(firsts, 40, 1 / len(ARMS), alternative="greater").pvalue < 0.001


@pytest.mark.parametrize("searcher", [Sobol(), FullGrid(), TPE(startup=4)])
def test_every_arm_gets_its_budget_and_no_more(searcher):
    if isinstance(searcher, TPE):
        pytest.importorskip("optuna", reason="it is in the extra `search`")
    truths = dict(zip(ARMS, objectives("own bowls", np.random.default_rng(0)), strict=True))
    arms = [arm_of(name, truths[name], searcher, SETTINGS, 0) for name in ARMS]
    outcomes, states = searched(arms, truths, searcher, Protocol((0,), (1, 2), 0, 0, ()), 0)
    for state in states:
        assert len({one.setting for one in state.candidates}) == SETTINGS
        assert len(state.arm.search.batches) == SETTINGS // BATCH
        best = max(state.tuning, key=lambda trial: outcomes[trial.id].merit)
        assert state.chosen.setting == best.setting
    assert len(outcomes) == len(ARMS) * (SETTINGS + 2)


def test_an_accuracy_is_highest_at_the_optimum():
    truth = Objective((Range("lr", 1e-4, 1.0),), (0.25,), (0.4,), cliff=0.8)
    assert truth.accuracy((("lr", 1e-3),)) == pytest.approx(0.95)
    assert truth.accuracy((("lr", 1e-1),)) == pytest.approx(0.95 - 0.4 * 0.5**2)
    assert truth.accuracy((("lr", 0.5),)) == -math.inf


@pytest.mark.parametrize("comparisons", [60, 500])
def test_the_limit_is_what_luck_exceeds_in_one_of_a_hundred_simulations(comparisons):
    limit = round(most_by_luck(comparisons) * comparisons)
    assert stats.binom.sf(limit, comparisons, 0.05) <= 0.01
    assert stats.binom.sf(limit - 1, comparisons, 0.05) > 0.01


def test_the_test_of_equal_chances_is_pearsons():
    assert p_of_equal_chances([30, 20, 10]) == pytest.approx(stats.chisquare([30, 20, 10]).pvalue)
