"""A mean difference over seeds and test examples: its variance, and what its test promises."""

import math

import numpy as np
import pytest
from scipy import special, stats

from gradcli.comparison.statistics import compare_arms
from gradcli.comparison.statistics.crossed import DifferenceVariance, variance_from_examples

COMPARISONS = 400


def table_of(generator, seeds, examples, seed_std, example_std, rest_std, mean=0.0):
    return (
        mean
        + seed_std * generator.standard_normal((seeds, 1))
        + example_std * generator.standard_normal(examples)
        + rest_std * generator.standard_normal((seeds, examples))
    )


def test_the_parts_of_the_variance_are_estimated_without_bias():
    generator = np.random.default_rng(0)
    seeds, examples = 4, 60
    tables = [table_of(generator, seeds, examples, 0.2, 1.5, 1.0) for _ in range(2000)]
    from_examples = np.mean([variance_from_examples(table) for table in tables])
    assert from_examples == pytest.approx(1.5**2 / examples, rel=0.02)
    from_seeds = np.mean([table.mean(axis=1).var(ddof=1) / seeds for table in tables])
    truth = np.var([table.mean() for table in tables])
    assert from_seeds + from_examples == pytest.approx(truth, rel=0.1)


def test_examples_that_do_not_matter_leave_no_variance():
    alike = np.repeat([[0.1], [0.2], [-0.1]], 50, axis=1)
    assert variance_from_examples(alike) == pytest.approx(0.0, abs=1e-12)


def test_without_examples_it_is_students_test():
    variance = DifferenceVariance(seeds=4, from_seeds=0.09, from_examples=0.0)
    assert variance.critical(0.05) == pytest.approx(stats.t.ppf(0.975, 3))
    assert variance.p_value(0.6) == pytest.approx(2 * stats.t.sf(2, 3))
    shift = 0.6 / 0.3
    assert variance.power(0.6, 0.05) == pytest.approx(
        stats.nct.sf(stats.t.ppf(0.975, 3), 3, shift), rel=1e-6
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("mean", [0.5, 3.0, 40.0])
def test_the_p_value_is_the_level_at_which_the_mean_is_critical(share, mean):
    variance = DifferenceVariance(5, share, 1 - share)
    p = variance.p_value(mean)
    assert variance.critical(p) * variance.error == pytest.approx(mean, rel=1e-6)
    assert 2 * special.ndtr(-mean) <= p <= 2 * special.stdtr(4, -mean)


def test_nothing_that_varies_is_certain_and_no_difference_is_none():
    still = DifferenceVariance(3, 0.0, 0.0)
    assert (still.p_value(0.1), still.p_value(0.0), still.power(0.1, 0.05)) == (0.0, 1.0, 1.0)
    assert DifferenceVariance(3, 0.1, 0.1).p_value(0.0) == 1.0


def test_more_seeds_leave_the_part_of_the_examples():
    variance = DifferenceVariance(3, 0.06, 0.04)
    many = variance.with_seeds(300)
    assert many.from_seeds == pytest.approx(0.0006)
    assert many.from_examples == 0.04
    assert many.error == pytest.approx(math.sqrt(0.0406))


def draw(generator, arms, seeds, examples, liking, better_by=0.0):
    """Draw which examples are right: log odds of difficulty, liking and luck."""
    odds = (
        3.0
        + np.array([better_by, *[0.0] * (arms - 1)])[:, None, None]
        + 2.0 * generator.standard_normal(examples)
        + liking * generator.standard_normal((arms, 1, examples))
        + 0.1 * generator.standard_normal((arms, seeds, 1))
    )
    right = generator.random(odds.shape) < special.expit(odds)
    scores = {f"arm{arm}": table.mean(axis=1) for arm, table in enumerate(right)}
    return scores, {f"arm{arm}": list(table) for arm, table in enumerate(right)}


def share_with_a_verdict(seed, *, with_examples, better_by=0.0, seeds=5):
    generator = np.random.default_rng(seed)
    found = 0
    for _ in range(COMPARISONS):
        scores, correct = draw(generator, 3, seeds, 300, 1.5, better_by)
        known = correct if with_examples else None
        pairs = compare_arms(scores, resolution=1 / 300, by_example=known).pairs
        found += any(pair.verdict != "tie" for pair in pairs)
    return found / COMPARISONS


def test_equal_arms_get_a_verdict_rarely_with_seeds_and_examples_drawn_anew():
    """Of 400 comparisons at a true 5%, up to 7.75% have one, with a probability of 99%."""
    bound = stats.binom.ppf(0.99, COMPARISONS, 0.05) / COMPARISONS
    assert share_with_a_verdict(1, with_examples=True) <= bound
    # Over seeds alone, what these examples favour is taken for the truth.
    assert share_with_a_verdict(1, with_examples=False) > bound


def test_an_arm_that_is_better_everywhere_is_found():
    assert share_with_a_verdict(2, with_examples=True, better_by=2.0) > 0.8


def test_a_pair_says_what_its_verdict_holds_for():
    scores, correct = draw(np.random.default_rng(3), 2, 3, 200, 1.0)
    (pair,) = compare_arms(scores, by_example=correct).pairs
    (alone,) = compare_arms(scores).pairs
    assert (pair.tested_on, pair.examples) == ("seeds-and-examples", 200)
    assert (alone.tested_on, alone.examples) == ("seeds", 0)
    assert pair.difference == alone.difference
    assert pair.example_deviation > 0
    assert math.isnan(alone.example_deviation)
    low, high = pair.holm_interval
    assert (low < 0 < high) == (pair.verdict == "tie")


@pytest.mark.parametrize("lost", ["one seed", "another size", "one arm"])
def test_what_was_not_recorded_everywhere_is_not_used(lost):
    scores, correct = draw(np.random.default_rng(3), 2, 3, 200, 1.0)
    if lost == "one seed":
        correct["arm0"][1] = None
    elif lost == "another size":
        correct["arm0"] = [table[:100] for table in correct["arm0"]]
    else:
        del correct["arm1"]
    (pair,) = compare_arms(scores, by_example=correct).pairs
    assert pair == compare_arms(scores).pairs[0] or math.isnan(pair.example_deviation)
    assert pair.tested_on == "seeds"


def test_a_seed_at_which_an_arm_diverged_is_left_out():
    scores, correct = draw(np.random.default_rng(4), 2, 4, 200, 1.0)
    scores["arm0"][2] = -math.inf
    correct["arm0"][2] = None
    (pair,) = compare_arms(scores, by_example=correct).pairs
    assert (pair.seeds, pair.tested_on) == (3, "seeds-and-examples")


def test_no_number_of_seeds_makes_up_for_a_small_test_set():
    """The arms differ at a few examples, the same ones with every seed."""
    base = np.ones(200, dtype=bool)
    worse = base.copy()
    worse[:3] = False
    noise = np.random.default_rng(5).integers(10, 200, size=(2, 4))
    tables = {"a": [base.copy() for _ in range(4)], "b": [worse.copy() for _ in range(4)]}
    for arm, name in enumerate(tables):
        for seed, at in enumerate(noise[arm]):
            tables[name][seed][at] = False
    scores = {name: [table.mean() for table in rows] for name, rows in tables.items()}
    (pair,) = compare_arms(scores, resolution=1 / 200, by_example=tables).pairs
    (alone,) = compare_arms(scores, resolution=1 / 200).pairs
    assert (pair.verdict, pair.seeds_needed) == ("tie", None)
    assert alone.verdict == "a"


# By hand


@pytest.mark.parametrize(
    ("table", "between", "rest"),
    [
        # The means of the examples are 1 and 5, those of the seeds explain all that is left.
        ([[0.0, 4.0], [2.0, 6.0]], 2 * (2**2 + 2**2) / 1, 0.0),
        # The means of the examples are 1, 4 and 7, those of the seeds equal, and four cells are
        # one off.
        ([[0.0, 4.0, 8.0], [2.0, 4.0, 6.0]], 2 * (3**2 + 3**2) / 2, 4 / 2),
    ],
)
def test_the_part_of_the_examples_of_a_small_table(table, between, rest):
    table = np.array(table)
    assert variance_from_examples(table) == pytest.approx((between - rest) / table.size)


def test_the_critical_value_is_the_mean_of_both_weighted_by_their_parts():
    variance = DifferenceVariance(4, from_seeds=0.03, from_examples=0.01)
    t, z = stats.t.ppf(0.975, 3), stats.norm.ppf(0.975)
    assert variance.critical(0.05) == pytest.approx((3 * t + z) / 4)


def test_the_power_with_examples_has_satterthwaites_degrees_of_freedom():
    variance = DifferenceVariance(5, from_seeds=0.03, from_examples=0.01)
    freedom = 4 / 0.75**2
    expected = stats.nct.sf(variance.critical(0.05), freedom, 0.5 / 0.2)
    assert variance.power(0.5, 0.05) == pytest.approx(expected, rel=1e-6)
    assert variance.power(-0.5, 0.05) == variance.power(0.5, 0.05)
