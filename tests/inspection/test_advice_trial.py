"""How a trial of an advice is judged, and how long it is."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.inspection.advice_trial import AdviceTrial, TrialScore, judged, steps_of_trial

EMPTY = AdviceTrial("refused", "plateau", "optimizer.lr=0.1", steps=100)


def score(correct):
    correct = np.asarray(correct, dtype=bool)
    return TrialScore(100, 400, float(correct.mean()), 0.5, example_scores=correct)


def diverged(step):
    return TrialScore(step - 1, 400, math.nan, math.nan, diverged_at=step)


def pair(both, only_without, only_with, neither):
    """Two scores by how many examples each gets right."""
    counts = (both, only_without, only_with, neither)
    return (
        score(np.repeat([True, True, False, False], counts)),
        score(np.repeat([True, False, True, False], counts)),
    )


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ((250, 0, 0, 250), "no-difference"),
        ((250, 0, 3, 247), "no-difference"),
        ((250, 0, 5, 245), "helps"),
        ((250, 5, 0, 245), "worse"),
        ((200, 40, 55, 205), "no-difference"),
        ((200, 40, 65, 195), "helps"),
        ((0, 500, 0, 0), "worse"),
    ],
)
def test_only_the_examples_on_which_they_disagree_count(counts, outcome):
    trial = judged(EMPTY, *pair(*counts))
    assert trial.outcome == outcome
    _, only_without, only_with, _ = counts
    assert trial.difference == pytest.approx((only_with - only_without) / 500)
    # The variance of a mean of -1, 0 and 1.
    squares = (only_with + only_without) / 500
    variance = (squares - trial.difference**2) * 500 / 499
    assert trial.margin == pytest.approx(2 * math.sqrt(variance / 500), abs=1e-12)


def test_equal_models_differ_in_one_of_twenty_trials():
    drawn = np.random.default_rng(0)
    said = [
        judged(EMPTY, score(drawn.random(500) < 0.9), score(drawn.random(500) < 0.9)).outcome
        for _ in range(4000)
    ]
    wrong = 1 - said.count("no-difference") / len(said)
    assert 0.03 < wrong < 0.06  # 0.0455 of a normal distribution, and its error


@pytest.mark.parametrize(
    ("only_without", "only_with", "loss", "outcome"),
    [
        (0, 1, 1.0, "not-sure"),  # an example more, and the loss doubled
        (0, 1, 0.54, "no-difference"),
        (0, 1, 0.56, "not-sure"),
        (0, 1, 0.4, "not-sure"),  # the loss is lower, which the accuracy does not show
        (0, 20, 1.0, "not-sure"),
        (0, 20, 0.2, "helps"),
        (20, 0, 1.0, "worse"),
        (20, 0, 0.2, "not-sure"),
    ],
)
def test_what_the_score_says_counts_unless_the_loss_says_something_else(
    only_without, only_with, loss, outcome
):
    without, with_advice = pair(250, only_without, only_with, 250)
    assert judged(EMPTY, without, replace(with_advice, loss=loss)).outcome == outcome


def test_of_a_metric_without_examples_the_loss_alone_makes_nobody_sure():
    one = TrialScore(100, 400, 0.5, 0.5)
    assert judged(EMPTY, one, replace(one, score=0.6)).outcome == "no-difference"
    assert judged(EMPTY, one, replace(one, score=0.6, loss=1.0)).outcome == "not-sure"


@pytest.mark.parametrize(
    ("without", "with_advice", "outcome"),
    [
        (diverged(12), score([True, False]), "helps"),
        (score([True, False]), diverged(12), "worse"),
        (diverged(3), diverged(40), "no-difference"),
    ],
)
def test_a_divergence_is_worse_than_any_score(without, with_advice, outcome):
    trial = judged(EMPTY, without, with_advice)
    assert trial.outcome == outcome
    assert math.isnan(trial.difference)


@pytest.mark.parametrize(
    ("made", "total", "event", "steps"),
    [
        (4000, 4000, 0, 1000),
        (189, 189, 0, 100),
        (40, 40, 0, 40),
        (4000, 4000, 1500, 3000),
        (4000, 4000, 3900, 4000),
        (12, 100_000, 13, 100),  # diverged early
        (200, 100_000, 0, 100),  # interrupted: no more than the evidence is worth
    ],
)
def test_the_length_follows_what_the_run_has_made(made, total, event, steps):
    assert steps_of_trial(made, total, event) == steps
