"""Estimates, verdicts and power against `scipy.stats`, closed forms and simulations.

The code computes with `scipy.special`; here stand the independent implementations: the tests of
`scipy.stats`, formulas for few degrees of freedom, and repeated experiments with a fixed seed.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.statistics import (
    DIVERGED,
    LEVEL,
    MOST_SEEDS,
    POWER,
    compare_arms,
    holm,
    power,
    seeds_to_separate,
    separable_effect,
    summarise_scores,
)
from gradcli.comparison.verdicts import Selection

NAN = math.nan
A = [0.971, 0.974, 0.969, 0.977, 0.972]
B = [0.969, 0.975, 0.961, 0.970, 0.966]
C = [0.981, 0.979, 0.983, 0.980, 0.978]
COMPARISONS = 2000


def compare(**scores):
    return compare_arms(scores)


def pair_of(comparison, *names):
    return next(pair for pair in comparison.pairs if {pair.a, pair.b} == set(names))


def binomial_bound(probability, trials=COMPARISONS):
    """The shares between which 99% of experiments fall."""
    return stats.binom.ppf([0.005, 0.995], trials, probability) / trials


def simulated_scores(arms, seeds, generator, noise=0.003):
    """Scores of equal arms: a seed makes all better or worse, and each has its own noise."""
    seed_effect = generator.normal(0.97, 0.01, size=seeds)
    return seed_effect + generator.normal(0, noise, size=(arms, seeds))


# Pairs


def test_a_pair_agrees_with_the_paired_t_test_of_scipy():
    pair = pair_of(compare(a=A, b=B), "a", "b")
    expected = stats.ttest_rel(A, B)
    assert (pair.a, pair.b, pair.seeds, pair.evidence) == ("a", "b", 5, "scores")
    assert pair.difference == pytest.approx(np.mean(A) - np.mean(B))
    assert pair.p_adjusted == pytest.approx(expected.pvalue)
    assert pair.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert pair.holm_interval == pytest.approx(pair.ci95)


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        # One degree of freedom is the Cauchy distribution; t = 2.
        ([1.0, 3.0], lambda t: 1 - 2 / math.pi * math.atan(t)),
        # Two: P(|T| > t) = 1 - t / √(2 + t²).
        ([1.0, 2.0, 3.0], lambda t: 1 - t / math.sqrt(2 + t * t)),
    ],
)
def test_few_degrees_of_freedom_have_a_closed_form(differences, p_value):
    pair = compare(a=differences, b=[0.0] * len(differences)).pairs[0]
    t = 2 / (np.std(differences, ddof=1) / math.sqrt(len(differences)))
    assert pair.p_adjusted == pytest.approx(p_value(t))


def test_pairs_use_the_seeds_at_which_both_have_a_score():
    comparison = compare(a=[*A, 0.99, DIVERGED, NAN], b=[*B, DIVERGED, 0.9, 0.9])
    alone = compare(a=A, b=B)
    assert comparison.pairs == alone.pairs


def test_several_pairs_are_corrected_for_one_another():
    comparison = compare(a=A, b=B, c=C)
    raw = [stats.ttest_rel(*both).pvalue for both in ((C, A), (C, B), (A, B))]
    names = [("c", "a"), ("c", "b"), ("a", "b")]
    assert [(pair.a, pair.b) for pair in comparison.pairs] == names
    assert [pair.p_adjusted for pair in comparison.pairs] == pytest.approx(holm(raw))


def test_the_holm_interval_says_what_the_verdict_says():
    generator = np.random.default_rng(1)
    verdicts = set()
    for _ in range(200):
        scores = simulated_scores(4, 5, generator) + 0.003 * np.arange(4)[:, None]
        for pair in compare_arms(dict(zip("abcd", scores, strict=True))).pairs:
            low, high = pair.holm_interval
            expected = "a" if low > 0 else "b" if high < 0 else "tie"
            assert pair.verdict == expected
            assert low <= pair.ci95[0] <= pair.difference <= pair.ci95[1] <= high
            verdicts.add(pair.verdict)
    assert verdicts >= {"a", "tie"}


def test_a_verdict_may_go_to_the_lower_ranked_arm():
    """The mean that ranks is over all seeds, the difference over those that both have."""
    a = [0.80, 0.81, 0.80, 0.82, 0.99, 0.99, 0.99, 0.99]
    b = [0.85, 0.87, 0.86, 0.86, *[DIVERGED] * 4]
    pair = compare(a=a, b=b).pairs[0]
    assert (pair.a, pair.b, pair.verdict) == ("a", "b", "b")
    assert pair.difference < 0


def test_the_verdicts_turn_when_every_score_changes_its_sign():
    better = {(p.a, p.b): p for p in compare(a=A, b=B, c=C).pairs if p.verdict == "a"}
    worse = compare(a=np.negative(A), b=np.negative(B), c=np.negative(C)).pairs
    turned = {(pair.b, pair.a): pair for pair in worse if pair.verdict == "a"}
    assert better.keys() == turned.keys() != set()
    for names, pair in better.items():
        assert pair.p_adjusted == pytest.approx(turned[names].p_adjusted)


def test_the_order_of_arms_and_of_seeds_does_not_matter():
    comparison = compare(a=A, b=B, c=C)
    assert compare(c=C, b=B, a=A) == comparison
    order = [3, 1, 4, 0, 2]
    a, b, c = np.array([A, B, C])[:, order]
    shuffled = compare(a=a, b=b, c=c)
    for pair, other in zip(comparison.pairs, shuffled.pairs, strict=True):
        assert pair.p_adjusted == pytest.approx(other.p_adjusted)


def test_identical_arms_under_different_names_tie_with_identical_numbers():
    comparison = compare(one=A, two=A, other=C)
    one, two = comparison.arms[1:]
    assert (one.score, one.rank, one.diverged) == (two.score, two.rank, two.diverged)
    tie = pair_of(comparison, "one", "two")
    assert (tie.verdict, tie.p_adjusted, tie.difference) == ("tie", 1.0, 0.0)
    assert tie.ci95 == tie.holm_interval == (0.0, 0.0)
    assert tie.seeds_needed is None
    first, second = (pair_of(comparison, name, "other") for name in ("one", "two"))
    assert first.p_adjusted == second.p_adjusted
    assert first.holm_interval == second.holm_interval


def test_an_arm_with_a_crippled_learning_rate_loses():
    generator = np.random.default_rng(2)
    sgd, adam = simulated_scores(2, 5, generator)
    comparison = compare(sgd=sgd, crippled=generator.normal(0.11, 0.01, size=5), adam=adam)
    assert comparison.arms[-1].name == "crippled"
    for name in ("sgd", "adam"):
        pair = pair_of(comparison, name, "crippled")
        assert (pair.a, pair.verdict, pair.seeds_needed) == (name, "a", None)


def test_a_constant_difference_is_certain_unless_scores_are_rounded():
    a, b = [0.5, 0.75, 0.625], [0.375, 0.625, 0.5]
    exact = compare_arms({"a": a, "b": b}).pairs[0]
    assert (exact.verdict, exact.p_adjusted, exact.ci95) == ("a", 0.0, (0.125, 0.125))
    rounded = compare_arms({"a": a, "b": b}, resolution=0.125).pairs[0]
    assert rounded.deviation == pytest.approx(0.125 / math.sqrt(6))
    t = 0.125 / (rounded.deviation / math.sqrt(3))
    assert rounded.p_adjusted == pytest.approx(2 * stats.t.sf(t, 2))
    assert rounded.verdict == "tie"


def test_a_resolution_matters_only_if_the_seeds_vary_less():
    assert compare_arms({"a": A, "b": B}, resolution=1e-4) == compare(a=A, b=B)


@pytest.mark.parametrize("scores", [[0.9], [NAN, 0.9, DIVERGED]])
def test_one_seed_makes_no_verdict(scores):
    pair = compare(a=scores, b=[0.1] * len(scores)).pairs[0]
    assert (pair.seeds, pair.verdict, pair.evidence, pair.p_adjusted) == (1, "tie", "none", 1.0)
    assert pair.difference == pytest.approx(0.8)
    assert pair.holm_interval == (-math.inf, math.inf)
    assert pair.seeds_needed is None


def test_no_pair_and_no_seed_are_not_an_error():
    assert compare(a=A).pairs == ()
    assert compare(a=[], b=[]).pairs[0].verdict == "tie"


def test_arms_of_different_seeds_are_refused():
    with pytest.raises(ValueError, match="shape"):
        compare(a=A, b=B[:3])


# Divergence


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_the_p_value_of_divergence_is_that_of_barnards_exact_test(seeds):
    pair = compare(a=[0.9] * seeds, b=[DIVERGED] * seeds).pairs[0]
    expected = stats.barnard_exact([[0, seeds], [seeds, 0]]).pvalue
    assert (pair.a, pair.evidence) == ("a", "divergence")
    assert pair.p_adjusted == pytest.approx(expected) == 2 / 4**seeds
    assert pair.verdict == ("a" if seeds >= 3 else "tie")
    assert math.isnan(pair.difference)


def test_an_arm_that_always_diverged_loses_to_those_that_never_did():
    comparison = compare(dead=[DIVERGED] * 5, a=A, b=B)
    for name in "ab":
        pair = pair_of(comparison, name, "dead")
        assert (pair.a, pair.verdict) == (name, "a")
    scored = pair_of(comparison, "a", "b")
    assert scored.p_adjusted == pytest.approx(stats.ttest_rel(A, B).pvalue)


def test_too_few_divergences_say_how_many_would_do():
    comparison = compare(dead=[DIVERGED] * 3, a=[0.9, 0.91, 0.92], b=[0.9, 0.92, 0.91])
    pair = pair_of(comparison, "a", "dead")
    assert (pair.verdict, pair.p_adjusted) == ("tie", pytest.approx(3 * 2 / 4**3))
    assert pair.seeds_needed == 4


def test_seeds_without_a_result_are_not_evidence_of_divergence():
    pair = compare(a=[*A[:3], NAN, NAN], b=[DIVERGED] * 5).pairs[0]
    assert pair.p_adjusted == 2 / 4**3
    failed = compare(a=A, b=[NAN] * 5).pairs[0]
    assert (failed.evidence, failed.verdict) == ("none", "tie")


def test_divergence_may_speak_against_the_higher_ranked_arm():
    pair = compare(a=[0.9, *[DIVERGED] * 5], b=[NAN, *[0.5] * 5]).pairs[0]
    assert (pair.a, pair.verdict, pair.p_adjusted) == ("a", "b", 2 / 4**5)


def test_two_arms_that_always_diverged_tie():
    pair = compare(a=[DIVERGED] * 5, b=[DIVERGED] * 5).pairs[0]
    assert (pair.verdict, pair.evidence, pair.p_adjusted) == ("tie", "none", 1.0)


# Holm


def test_holm_on_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_is_the_closed_test_of_bonferronis():
    """A hypothesis falls when every set that contains it does, each tested by Bonferroni."""
    generator = np.random.default_rng(3)
    for size in range(1, 6):
        p = generator.uniform(0, 0.3, size=size)
        sets = [s for n in range(1, size + 1) for s in itertools.combinations(range(size), n)]
        for index, adjusted in enumerate(holm(p)):
            closed = max(min(1, len(s) * min(p[list(s)])) for s in sets if index in s)
            assert adjusted == pytest.approx(closed)


# The promise: false verdicts and power


@pytest.mark.parametrize("seeds", [3, 5])
def test_false_verdicts_on_three_equal_arms_are_as_rare_as_promised(seeds):
    generator = np.random.default_rng(4)
    wrong = 0
    for _ in range(COMPARISONS):
        scores = simulated_scores(3, seeds, generator)
        pairs = compare_arms(dict(zip("abc", scores, strict=True))).pairs
        wrong += any(pair.verdict != "tie" for pair in pairs)
    low, high = binomial_bound(LEVEL)
    assert low <= wrong / COMPARISONS <= high


def test_a_loser_among_them_makes_false_verdicts_on_the_others_no_more_frequent():
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(COMPARISONS):
        a, b, c = simulated_scores(3, 5, generator)
        wrong += pair_of(compare(a=a, b=b, worst=c - 0.5), "a", "b").verdict != "tie"
    assert wrong / COMPARISONS <= binomial_bound(LEVEL)[1]


@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_divergence_adds_no_false_verdicts(chance):
    generator = np.random.default_rng(6)
    wrong = 0
    for _ in range(COMPARISONS):
        scores = simulated_scores(2, 4, generator)
        scores[generator.random(scores.shape) < chance] = DIVERGED
        wrong += compare(a=scores[0], b=scores[1]).pairs[0].verdict != "tie"
    assert wrong / COMPARISONS <= binomial_bound(LEVEL + 2 / 4**4)[1]


def test_rounded_scores_need_their_resolution():
    """On 500 test images two seeds easily agree on a difference."""
    generator = np.random.default_rng(7)
    wrong = {0.0: 0, 0.002: 0}
    for _ in range(COMPARISONS):
        a, b = np.round(simulated_scores(2, 2, generator, noise=0.0015) / 0.002) * 0.002
        for resolution in wrong:
            pair = compare_arms({"a": a, "b": b}, resolution=resolution).pairs[0]
            wrong[resolution] += pair.verdict != "tie"
    high = binomial_bound(LEVEL)[1]
    assert wrong[0.0] / COMPARISONS > high
    assert wrong[0.002] / COMPARISONS <= high


@pytest.mark.parametrize("pairs", [1, 3, 55])
def test_the_power_table_agrees_with_the_definition_of_the_non_central_t(pairs):
    """T = (Z + c) / √(V / d), Z normal, V chi-squared: P(T > t) = E[Φ(c - t √(V / d))]."""
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    for seeds in (2, 3, 4, 5, 6, 8, 10, 20):
        root = np.sqrt(stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1))
        critical = stats.t.isf(LEVEL / pairs / 2, seeds - 1)
        for effect in (0, 0.5, 1, 1.5, 2, 3, 5):
            expected = np.mean(stats.norm.cdf(effect * math.sqrt(seeds) - critical * root))
            assert power(effect, seeds, LEVEL / pairs) == pytest.approx(expected, abs=1e-5)


def test_power_agrees_with_scipy():
    critical = stats.t.isf(LEVEL / 2, 4)
    expected = stats.nct.sf(critical, 4, 2 * math.sqrt(5))
    assert power(2.0, 5) == pytest.approx(expected, abs=1e-6)


def test_the_power_table_has_the_known_numbers():
    """One pair: ten seeds find a difference of one deviation with 80%, five one of two with 91%."""
    effects = (0.5, 1.0, 1.5, 2.0, 3.0)
    table = {n: [round(power(effect, n), 2) for effect in effects] for n in (3, 5, 10, 20)}
    assert table == {
        3: [0.08, 0.18, 0.32, 0.47, 0.75],
        5: [0.14, 0.40, 0.71, 0.91, 1.00],
        10: [0.29, 0.80, 0.99, 1.00, 1.00],
        20: [0.56, 0.99, 1.00, 1.00, 1.00],
    }


@pytest.mark.parametrize(("effect", "seeds"), [(1.0, 5), (1.0, 10), (2.0, 3), (2.0, 5)])
def test_a_true_difference_is_found_as_often_as_the_power_says(effect, seeds):
    generator = np.random.default_rng(8)
    found = 0
    for _ in range(COMPARISONS):
        a, b = simulated_scores(2, seeds, generator)
        pair = compare(better=a + effect * 0.003 * math.sqrt(2), b=b).pairs[0]
        found += (pair.a if pair.verdict == "a" else pair.b) == "better" and pair.verdict != "tie"
    low, high = binomial_bound(power(effect, seeds))
    assert low <= found / COMPARISONS <= high


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("level", [LEVEL, LEVEL / 10])
def test_the_seeds_to_separate_are_the_fewest_that_do(effect, level):
    seeds = seeds_to_separate(effect, level)
    first = next(n for n in itertools.count(2) if power(effect, n, level) >= POWER)
    assert seeds == first


def test_no_number_of_seeds_separates_equal_arms():
    assert seeds_to_separate(0.0) is None
    assert seeds_to_separate(0.01) is None
    assert power(0.01, MOST_SEEDS) < POWER


@pytest.mark.parametrize(("seeds", "level"), [(2, 0.05), (2, 0.001), (5, 0.05 / 3), (100, 0.05)])
def test_the_separable_effect_has_the_wanted_power(seeds, level):
    assert power(separable_effect(seeds, level), seeds, level) == pytest.approx(POWER, abs=1e-4)


def test_one_seed_separates_nothing():
    assert separable_effect(1) == math.inf


def test_a_tie_names_the_seeds_that_would_separate_it():
    pair = compare(a=A, b=B).pairs[0]
    effect = pair.difference / pair.deviation
    assert pair.verdict == "tie"
    assert pair.deviation == pytest.approx(np.std(np.subtract(A, B), ddof=1))
    assert pair.seeds_needed == seeds_to_separate(effect) > 5


def test_a_tie_among_several_pairs_is_held_to_the_level_at_which_holm_stopped():
    """Two of three pairs are clear, so that the last is tested at the full level."""
    comparison = compare(a=A, b=B, worst=np.subtract(A, [0.5, 0.49, 0.51, 0.5, 0.52]))
    tie = pair_of(comparison, "a", "b")
    assert [pair.verdict for pair in comparison.pairs] == ["tie", "a", "a"]
    assert tie.holm_interval == pytest.approx(tie.ci95)
    assert tie.seeds_needed == compare(a=A, b=B).pairs[0].seeds_needed


def test_a_selection_sets_the_fresh_scores_beside_the_selected_one():
    selection = Selection("adam", 0.9294, summarise_scores([0.9244, 0.9234, 0.9224]))
    assert selection.optimism == pytest.approx(0.006)
    low, high = selection.ci95
    assert (low + high) / 2 == pytest.approx(0.006)
    assert high - low == pytest.approx(selection.fresh.ci95[1] - selection.fresh.ci95[0])


def test_the_best_of_ten_equal_settings_is_lucky_by_the_expected_maximum():
    """The mean of the largest of ten standard normal values is 1.5388 (Harter 1961)."""
    generator = np.random.default_rng(9)
    optimism = [
        Selection("a", max(tuning), summarise_scores(fresh)).optimism
        for tuning, fresh in zip(
            generator.normal(size=(COMPARISONS, 10)),
            generator.normal(size=(COMPARISONS, 5)),
            strict=True,
        )
    ]
    error = np.std(optimism) / math.sqrt(COMPARISONS)
    assert abs(np.mean(optimism) - 1.5388) < 3 * error
