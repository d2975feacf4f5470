"""Times to a target: an exact test for censored times, its level, and the places it leaves."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.statistics import LEVEL, compare_times, rank_sum_p

INF, NAN = math.inf, math.nan


def by_enumeration(a, b):
    """The two-sided p-value over all choices of the ranks of `a`, with SciPy's mean ranks."""
    ranks = stats.rankdata([*a, *b])
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, len(a))]
    mean = len(a) * ranks.mean()
    observed = abs(ranks[: len(a)].sum() - mean)
    return np.mean([abs(one - mean) >= observed - 1e-9 for one in sums])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2, 3], [4, 5, 6]),
        ([1, 4, 2, 9], [3, 5, 6, 8]),
        ([64, 64, 96, 96, 128], [96, 128, 128, 160, 160]),
        ([64, 96, INF, INF, 128], [96, INF, INF, INF, INF]),
        ([INF, INF, INF], [INF, INF, INF]),
        ([10, 20], [20, 30, 40, INF]),
        ([5], [7, 7, 3]),
    ],
)
def test_the_p_value_counts_all_ways_in_which_the_ranks_could_have_fallen(a, b):
    assert rank_sum_p(a, b) == pytest.approx(by_enumeration(a, b), rel=1e-12)
    assert rank_sum_p(a, b) == pytest.approx(rank_sum_p(b, a), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (8, 6), (20, 20)])
def test_without_ties_it_is_scipys_exact_test(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(0.5, size=m)
    expected = stats.mannwhitneyu(a, b, method="exact").pvalue
    assert rank_sum_p(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("step", [1.0, 20.0])
def test_many_times_are_tested_as_scipy_tests_them(step):
    rng = np.random.default_rng(3)
    a, b = (np.floor(rng.normal(shift, 100, 150) / step) for shift in (0, 25))
    expected = stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=True).pvalue
    assert rank_sum_p(a, b) == pytest.approx(expected, rel=1e-6)
    assert rank_sum_p(np.full(150, np.inf), np.full(150, np.inf)) == 1.0


def test_five_seeds_that_are_all_sooner_are_as_clear_as_five_can_be():
    assert rank_sum_p([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)


def drawn_times(rng, count, *, shift=0.0, spread=0.3, alike=0.0, budget=300, every=11):
    """Times of two arms whose seeds have a share of their luck in common, seen every few steps."""
    common = rng.normal(size=count)
    found = []
    for ahead in (0.0, shift):
        own = rng.normal(size=count)
        luck = math.sqrt(alike) * common + math.sqrt(1 - alike) * own
        steps = np.ceil(200 * np.exp(spread * luck + ahead) / every) * every
        found.append(np.where(steps > budget, INF, steps))
    return found


@pytest.mark.parametrize("budget", [150, 200, 400])
@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_equal_arms_get_a_verdict_no_more_often_than_the_level(alike, budget):
    rng = np.random.default_rng(7)
    trials = 1500
    found = [
        rank_sum_p(*drawn_times(rng, 5, alike=alike, budget=budget)) < LEVEL for _ in range(trials)
    ]
    # Three standard errors: a test at its level fails here once in 700 times.
    assert np.mean(found) < LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / trials)


def test_no_pair_of_four_equal_arms_gets_a_verdict_more_often_than_the_level():
    rng = np.random.default_rng(3)
    trials = 500
    wrong = 0
    for _ in range(trials):
        times = dict(zip("abcd", (*drawn_times(rng, 6), *drawn_times(rng, 6)), strict=True))
        pairs = compare_times(times, dict.fromkeys(times, 300)).pairs
        wrong += any(pair.verdict != "tie" for pair in pairs)
    assert wrong / trials < LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / trials)


def test_arms_that_differ_are_told_apart():
    rng = np.random.default_rng(5)
    found = [rank_sum_p(*drawn_times(rng, 5, shift=-0.7)) < LEVEL for _ in range(300)]
    assert np.mean(found) > 0.8


def test_arms_are_placed_by_their_verdicts_and_listed_by_their_medians():
    times = {
        "slow": [200, 220, 210, 230, 240, 250],
        "never": [INF] * 6,
        "quick": [20, 30, 40, 35, 25, 45],
        "also": [30, 35, 20, 25, 45, 50],
    }
    found = compare_times(times, dict.fromkeys(times, 300))
    assert [arm.name for arm in found.arms] == ["quick", "also", "slow", "never"]
    assert [arm.places for arm in found.arms] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [arm.reached for arm in found.arms] == [6, 6, 6, 0]
    assert [arm.median for arm in found.arms] == [32.5, 32.5, 225, INF]
    verdicts = {(pair.a, pair.b): pair.verdict for pair in found.pairs}
    assert verdicts.pop(("quick", "also")) == "tie"
    assert set(verdicts.values()) == {"a"}
    # 2 / C(12, 6) for each of the five clear pairs, and Holm's factors 6 to 2.
    clear = [pair.p_adjusted for pair in found.pairs if pair.verdict == "a"]
    assert clear == pytest.approx([6 * 2 / 924] * 5)


def test_a_trial_without_a_result_is_left_out_and_an_arm_without_any_has_no_place():
    times = {"a": [10, NAN, 30], "none": [NAN, NAN, NAN], "b": [20, 20, 20]}
    found = compare_times(times, dict.fromkeys(times, 100))
    by_name = {arm.name: arm for arm in found.arms}
    assert (by_name["a"].seeds, by_name["a"].median) == (2, 20)
    assert (by_name["none"].seeds, by_name["none"].places) == (0, None)
    assert all(pair.verdict == "tie" for pair in found.pairs)
    assert {pair.p_adjusted for pair in found.pairs if "none" in (pair.a, pair.b)} == {1.0}


def test_arms_with_other_budgets_are_compared_up_to_the_smaller_one():
    """With half the steps an arm cannot be late: what is beyond its end is unknown."""
    early, late = [90, 95, 99, INF, INF], [91, 96, 98, 150, 180]
    cut = {"short": early, "long": [91, 96, 98, INF, INF]}
    found = compare_times({"short": early, "long": late}, {"short": 100, "long": 200})
    same = compare_times(cut, dict.fromkeys(cut, 100))
    assert found.pairs[0].p_adjusted == same.pairs[0].p_adjusted == 1.0
    assert {arm.name: arm.reached for arm in found.arms} == {"short": 3, "long": 5}


@pytest.mark.parametrize(
    ("arms", "seeds", "needed"), [(2, 5, None), (2, 3, 4), (3, 5, None), (10, 5, 7), (1, 2, None)]
)
def test_too_few_seeds_for_any_verdict_are_named(arms, seeds, needed):
    times = {str(arm): [float(100 * arm + seed) for seed in range(seeds)] for arm in range(arms)}
    found = compare_times(times, dict.fromkeys(times, 1e9))
    assert found.seeds_needed == needed
    if arms > 1:
        decided = any(pair.verdict != "tie" for pair in found.pairs)
        assert decided == (needed is None)
