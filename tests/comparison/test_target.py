"""The score that a comparison times, set by its own tuning."""

import math
from dataclasses import replace

import pytest

from gradcli.comparison.protocol import Outcome, Trial
from gradcli.comparison.target import is_chosen, target_from_tuning
from gradcli.records import ACCURACY, Metric

MSE = Metric("mse", "minimize")
R2 = Metric("r2", "maximize")


@pytest.fixture
def tuned(make_arm):
    """Return a function that makes the states of arms whose chosen trials were so good early."""

    def make(*arms, metric=ACCURACY):
        states, outcomes = [], {}
        for number, scores in enumerate(arms):
            trials = []
            for rate in (0.1, 0.2):
                for seed, score in enumerate(scores):
                    trial = Trial(f"{number} {rate} {seed}", str(number), rate, seed, "tuning", {})
                    trials.append(trial)
                    # The rate that is not chosen must not count.
                    early = metric.merit(score) if rate == 0.1 else 1e9
                    outcomes[trial.id] = Outcome("finished", early=early)
            state = make_arm(str(number), chosen=0.1, rates=(0.1, 0.2)).state
            states.append(replace(state, tuning=tuple(trials)))
        return states, outcomes

    return make


@pytest.mark.parametrize(
    ("arms", "metric", "target"),
    [
        ([[0.95], [0.9], [0.97]], ACCURACY, 0.95),
        ([[0.95], [0.9]], ACCURACY, 0.9),  # of two middle ones the one that is easier
        ([[0.9687], [0.9685], [0.9681]], ACCURACY, 0.968),  # rounded to the easier side
        ([[0.95, 0.96], [0.9, 0.91]], ACCURACY, 0.91),
        ([[3.21], [4.568], [9.0]], MSE, 4.57),
        ([[0.012341], [0.02]], MSE, 0.02),
        ([[1234.5], [1234.6], [1300.0]], MSE, 1240.0),
        ([[-0.5432], [0.1], [-0.6]], R2, -0.544),
        ([[0.0], [0.0]], MSE, 0.0),
        ([[math.nan], [0.9]], ACCURACY, 0.9),
    ],
)
def test_half_of_the_chosen_trials_had_reached_it(tuned, arms, metric, target):
    states, outcomes = tuned(*arms, metric=metric)
    assert target_from_tuning(states, outcomes, metric) == target


@pytest.mark.parametrize("seed", range(5))
def test_at_least_half_reach_it_whatever_the_scores(tuned, seed):
    import random

    draw = random.Random(seed)
    for metric in (ACCURACY, MSE):
        scores = [[draw.lognormvariate(0, 3)] for _ in range(draw.randint(1, 9))]
        target = target_from_tuning(*tuned(*scores, metric=metric), metric)
        reached = [metric.merit(score) >= metric.merit(target) for (score,) in scores]
        assert sum(reached) >= len(scores) / 2


def test_without_tuning_there_is_none(make_arm):
    assert math.isnan(target_from_tuning([make_arm().state], {}, ACCURACY))


def test_it_is_known_when_all_arms_are_chosen(make_arm):
    measuring, done, tuning, waiting = (
        make_arm(stage=stage).state for stage in ("measuring", "done", "tuning", "waiting")
    )
    assert is_chosen([measuring, done])
    assert not is_chosen([measuring, tuning])
    assert not is_chosen([measuring, waiting])
