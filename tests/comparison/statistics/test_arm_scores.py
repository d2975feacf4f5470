"""The summary of an arm's scores, and the order of arms, against `scipy.stats`."""

import math

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.statistics import (
    DIVERGED,
    compare_arms,
    summarise_scores,
)
from gradcli.records import ACCURACY, Metric

NAN = math.nan
A = [0.971, 0.974, 0.969, 0.977, 0.972]
B = [0.969, 0.975, 0.961, 0.970, 0.966]
C = [0.981, 0.979, 0.983, 0.980, 0.978]
COMPARISONS = 2000


def compare(**scores):
    return compare_arms(scores)


def binomial_bound(probability, trials=COMPARISONS):
    """The shares between which 99% of experiments fall."""
    return stats.binom.ppf([0.005, 0.995], trials, probability) / trials


def test_a_summary_agrees_with_scipy():
    summary = summarise_scores(A)
    assert summary.count == 5
    assert summary.mean == pytest.approx(sum(A) / 5)
    assert summary.std == pytest.approx(stats.tstd(A))
    expected = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert summary.ci95 == pytest.approx(tuple(expected))


def test_an_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [summarise_scores(generator.normal(3, 2, size=4)).ci95 for _ in range(COMPARISONS)]
    low, high = binomial_bound(0.95)
    assert low <= np.mean([left < 3 < right for left, right in intervals]) <= high


def test_diverged_and_missing_trials_are_counted_and_never_averaged_in():
    arm = compare(a=[*A, DIVERGED, DIVERGED, NAN]).arms[0]
    assert arm.score == summarise_scores(A)
    assert (arm.diverged, arm.missing) == (2, 1)


@pytest.mark.parametrize("scores", [[], [NAN, DIVERGED], [0.9], [0.9, DIVERGED]])
def test_fewer_than_two_scores_leave_every_mean_possible(scores):
    summary = summarise_scores(scores)
    assert summary.ci95 == (-math.inf, math.inf)
    assert math.isnan(summary.std)
    assert math.isnan(summary.mean) == (summary.count == 0)


def test_arms_are_ranked_by_their_mean_and_those_without_a_score_come_last():
    dead = [DIVERGED] * 5
    arms = compare(dead=dead, b=B, c=C, twin=B, a=A, failed=[NAN] * 5).arms
    assert [(arm.name, arm.rank) for arm in arms] == [
        ("c", 1),
        ("a", 2),
        ("b", 3),
        ("twin", 3),
        ("dead", None),
        ("failed", None),
    ]


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        (Metric("mse", "minimize"), [1.14e6, 3.77e6]),
        (Metric("cross_entropy", "minimize"), [0.01, 0.9]),
        (ACCURACY, [0.98, 0.999]),
        (ACCURACY, [0.01, 0.03]),
    ],
)
def test_an_interval_ends_where_scores_end(metric, scores):
    low, high = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert low < metric.bounds[0] or high > metric.bounds[1]  # else nothing would be cut
    expected = (max(low, metric.bounds[0]), min(high, metric.bounds[1]))
    assert summarise_scores(scores, metric.bounds).ci95 == pytest.approx(expected)
    (arm,) = compare_arms({"a": scores}, bounds=metric.bounds).arms
    assert arm.score.ci95 == pytest.approx(expected)


def test_a_score_beyond_the_bounds_shows_that_they_do_not_hold():
    percent = [97.0, 99.0]  # an accuracy of one's own
    expected = stats.ttest_1samp(percent, 0).confidence_interval(0.95)
    assert summarise_scores(percent, ACCURACY.bounds).ci95 == pytest.approx(tuple(expected))


@pytest.mark.parametrize("metric", [Metric("loss", "minimize"), Metric("mse", "maximize")])
def test_a_metric_that_only_shares_a_name_has_no_bounds(metric):
    assert metric.bounds == (-math.inf, math.inf)


def test_scores_that_agree_exactly_have_no_interval():
    summary = summarise_scores([0.96, 0.96, 0.96, NAN])
    assert (summary.count, summary.std, summary.ci95) == (3, 0.0, (-math.inf, math.inf))
