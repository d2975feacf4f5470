"""Sets of runs, against the tests of `scipy.stats` on fixed scores."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.statistics import DIVERGED, holm
from gradcli.comparison.statistics.set_tests import Scored, WelchVariance, compare_sets

A = [0.971, 0.974, 0.969, 0.977, 0.972]
B = [0.969, 0.975, 0.961, 0.970, 0.966]
C = [0.981, 0.979, 0.983, 0.980, 0.978, 0.976, 0.984]
SIMULATED = 2000


def scored(scores, first_seed=0):
    return Scored(tuple(scores), tuple(range(first_seed, first_seed + len(scores))))


def without_seeds(scores):
    return Scored(tuple(scores), (None,) * len(scores))


def only_pair(sets, **options):
    _, (pair,) = compare_sets(sets, **options)
    return pair


def test_sets_of_the_same_seeds_are_compared_by_students_paired_test():
    pair = only_pair({"a": scored(A), "b": scored(B)})
    expected = stats.ttest_rel(A, B)
    assert pair.is_paired
    assert pair.result.p_adjusted == pytest.approx(expected.pvalue, rel=1e-9)
    ends = expected.confidence_interval(0.95)
    assert pair.result.ci95 == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_the_order_of_the_runs_makes_no_difference_to_pairs():
    order = [3, 0, 4, 1, 2]
    mixed = Scored(tuple(B[at] for at in order), tuple(order))
    assert only_pair({"a": scored(A), "b": mixed}) == only_pair({"a": scored(A), "b": scored(B)})


@pytest.mark.parametrize(
    "sets",
    [
        {"a": scored(A), "b": scored(B, first_seed=5)},
        {"a": without_seeds(A), "b": without_seeds(B)},
        {"a": scored(A), "b": scored(C)},
        {"a": scored(A), "b": Scored(tuple(B), (0, 0, 1, 2, 3))},
    ],
    ids=["other seeds", "unknown seeds", "more runs", "a seed twice"],
)
def test_other_sets_are_compared_by_welchs_test(sets):
    pair = only_pair(sets)
    better, worse = sets[pair.result.a].scores, sets[pair.result.b].scores
    expected = stats.ttest_ind(better, worse, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert not pair.is_paired
    assert pair.runs == (len(better), len(worse))
    assert pair.result.difference == pytest.approx(np.mean(better) - np.mean(worse))
    assert pair.result.p_adjusted == pytest.approx(expected.pvalue, rel=1e-9)
    assert pair.result.ci95 == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_pairs_can_be_asked_for_at_the_seeds_that_both_have_or_refused():
    sets = {"a": scored(A), "b": scored(C, first_seed=2)}
    pair = only_pair(sets, pairing="seed")
    expected = stats.ttest_rel(C[:3], A[2:])
    assert pair.is_paired
    assert (pair.result.a, pair.result.seeds) == ("b", 3)
    assert pair.result.p_adjusted == pytest.approx(expected.pvalue, rel=1e-9)
    same = {"a": scored(A), "b": scored(B)}
    assert not only_pair(same, pairing="none").is_paired


def test_the_pairs_of_several_sets_are_corrected_for_one_another():
    sets = {"a": scored(A), "b": scored(B), "c": scored(C)}
    ranked, pairs = compare_sets(sets)
    assert [one.name for one in ranked] == ["c", "a", "b"]
    alone = []
    for x, y in itertools.combinations("cab", 2):
        one, other = sets[x].scores, sets[y].scores
        test = (
            stats.ttest_rel(one, other)
            if len(one) == len(other)
            else stats.ttest_ind(one, other, equal_var=False)
        )
        alone.append(test.pvalue)
    assert [pair.result.p_adjusted for pair in pairs] == pytest.approx(list(holm(alone)), rel=1e-9)
    for pair in pairs:
        low, high = pair.result.holm_interval
        assert (pair.result.verdict == "tie") == (low <= 0 <= high)


def test_lower_scores_win_if_they_are_better():
    pair = only_pair({"a": without_seeds(A), "c": without_seeds(C)}, direction="minimize")
    assert (pair.result.a, pair.result.verdict) == ("a", "a")


def test_runs_that_happen_to_agree_prove_nothing_finer_than_their_scores():
    """Two runs each of 0.934 and of 0.936, of 500 examples: within rounding of one another."""
    sets = {"a": without_seeds([0.936, 0.936]), "b": without_seeds([0.934, 0.934])}
    assert only_pair(sets, resolution=0.002).result.verdict == "tie"
    exact = only_pair(sets)
    assert exact.result.p_adjusted == 0


def test_a_single_run_has_no_verdict():
    pair = only_pair({"a": without_seeds([0.97]), "b": without_seeds(B)})
    assert (pair.result.evidence, pair.result.verdict) == ("none", "tie")
    assert pair.result.p_adjusted == 1
    assert pair.result.ci95 == (-math.inf, math.inf)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 5), (4, 1)])
def test_divergence_is_tested_by_the_greatest_chance_of_it(n, m):
    good, bad = [0.9 + 0.01 * at for at in range(n)], [DIVERGED] * m
    pair = only_pair({"good": without_seeds(good), "bad": without_seeds(bad)})
    grid = np.linspace(0, 1, 100_001)
    chance = np.max(grid**n * (1 - grid) ** m + grid**m * (1 - grid) ** n)
    assert pair.result.evidence == "divergence"
    assert pair.result.p_adjusted == pytest.approx(min(chance, 1), abs=1e-4)
    assert pair.result.verdict == ("a" if chance < 0.05 else "tie")


def test_runs_that_diverged_are_left_out_of_the_means():
    pair = only_pair({"a": without_seeds([*A, DIVERGED]), "b": without_seeds(B)})
    expected = stats.ttest_ind(A, B, equal_var=False)
    assert pair.runs == (5, 5)
    assert pair.result.p_adjusted == pytest.approx(expected.pvalue, rel=1e-9)


def test_welch_freedom_and_power():
    one = WelchVariance((5, 7), (np.var(A, ddof=1), np.var(C, ddof=1)))
    expected = stats.ttest_ind(A, C, equal_var=False)
    assert one.freedom == pytest.approx(expected.df, rel=1e-9)
    # Of equal variances and counts, the power is that of the two-sample t-test.
    even = WelchVariance((9, 9), (1.0, 1.0))
    critical = stats.t.ppf(0.975, 16)
    expected_power = stats.nct.sf(critical, 16, 1.2 / math.sqrt(2 / 9))
    assert even.power(1.2, 0.05) == pytest.approx(expected_power, rel=1e-6)


def test_equal_sets_are_seldom_told_apart():
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(SIMULATED):
        sets = {
            "a": without_seeds(rng.normal(0.9, 0.01, 4)),
            "b": without_seeds(rng.normal(0.9, 0.03, 7)),
        }
        false += only_pair(sets).result.verdict != "tie"
    assert false / SIMULATED < 0.05 + 3 * math.sqrt(0.05 * 0.95 / SIMULATED)
