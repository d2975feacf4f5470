"""From the states of arms and the results of their trials to the summary."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison import summary
from gradcli.comparison.statistics import ScoreComparison
from gradcli.comparison.verdicts import ArmResult, PairResult, Summary
from gradcli.records import ACCURACY

EVERYTHING = (-math.inf, math.inf)


def pair(a, b, verdict):
    return PairResult(a, b, 3, 0.0, 0.0, EVERYTHING, EVERYTHING, 1.0, verdict, "scores", None)


def compared(names, verdicts, without_score=()):
    """A comparison of arms in this order; `verdicts` names the pairs that are no ties."""
    arms = tuple(
        ArmResult(
            place, name, Summary(0 if name in without_score else 3, 0.9, 0.0, EVERYTHING), 0, 0
        )
        for place, name in enumerate(names, 1)
    )
    pairs = [
        pair(a, b, verdicts.get(a + b, "tie"))
        for at, a in enumerate(names)
        for b in names[at + 1 :]
    ]
    return ScoreComparison(arms, tuple(pairs))


@pytest.mark.parametrize(
    ("stage", "chosen", "hopeless"),
    [("done", None, True), ("done", 0.1, False), ("waiting", None, False)],
)
def test_an_arm_is_hopeless_once_it_is_done_without_a_learning_rate(
    make_arm, stage, chosen, hopeless
):
    assert make_arm(stage=stage, chosen=chosen).is_hopeless is hopeless


def test_validation_is_that_of_the_trials_that_finished(make_arm, make_result):
    arm = make_arm(
        measuring=[
            make_result(val_score=0.9),
            make_result(val_score=0.8),
            make_result(val_score=0.1, status="diverged"),
        ]
    )
    validation = arm.validation(ACCURACY)
    assert (validation.count, validation.mean) == (2, pytest.approx(0.85))


def test_the_score_of_a_trial_that_diverged_is_below_every_other(make_arm, make_result):
    arm = make_arm(
        measuring=[make_result(test_score=0.7), make_result(status="diverged")],
    )
    assert arm.test_scores(2) == [0.7, -math.inf]


def test_an_arm_that_is_not_measured_has_no_score_at_any_seed(make_arm):
    assert np.isnan(make_arm().test_scores(3)).tolist() == [True] * 3


def test_arms_are_compared_by_their_test_accuracies(make_arm, make_result, make_comparison_info):
    def arm(name, *scores):
        return make_arm(name, measuring=[make_result(name, test_score=one) for one in scores])

    found = summary.compare_results(
        [arm("low", 0.80, 0.81), arm("high", 0.90, 0.91)], make_comparison_info()
    )
    assert [one.name for one in found.arms] == ["high", "low"]
    assert found.pairs[0].difference == pytest.approx(0.1)


@pytest.mark.parametrize(("test", "resolution"), [(50, 1 / 50), (1, 1.0), (0, 1.0)])
def test_the_scores_are_as_coarse_as_the_test_set(
    make_arm, make_result, make_comparison_info, test, resolution
):
    """Seeds that agree leave only the variance of rounding, resolution² / 6."""
    arms = [
        make_arm(name, measuring=[make_result(name, test_score=score)] * 2)
        for name, score in (("a", 0.9), ("b", 0.5))
    ]
    (found,) = summary.compare_results(arms, make_comparison_info(test=test)).pairs
    low, high = found.ci95
    critical = 12.7062  # Student's t at 97.5% with one degree of freedom
    assert (high - low) / 2 == pytest.approx(
        critical * resolution / math.sqrt(6) / math.sqrt(2), rel=1e-4
    )


def test_verdicts_use_which_examples_were_right(make_arm, make_result, make_comparison_info):
    generator = np.random.default_rng(0)

    def arm(name):
        right = generator.random((2, 500)) < 0.8
        return make_arm(
            name,
            measuring=[
                make_result(name, test_score=one.mean(), example_scores=one) for one in right
            ],
        )

    (found,) = summary.compare_results([arm("a"), arm("b")], make_comparison_info()).pairs
    assert (found.tested_on, found.examples) == ("seeds-and-examples", 500)


@pytest.mark.parametrize(
    ("verdicts", "places"),
    [
        ({}, {"a": (1, 3), "b": (1, 3), "c": (1, 3)}),
        ({"ac": "a"}, {"a": (1, 2), "b": (1, 3), "c": (2, 3)}),
        ({"ab": "a", "ac": "a"}, {"a": (1, 1), "b": (2, 3), "c": (2, 3)}),
        ({"ab": "b"}, {"a": (2, 3), "b": (1, 2), "c": (1, 3)}),
        ({"ac": "a", "bc": "a"}, {"a": (1, 2), "b": (1, 2), "c": (3, 3)}),
    ],
)
def test_verdicts_leave_some_places_open(verdicts, places):
    assert summary.possible_places(compared("abc", verdicts)) == places


def test_an_arm_without_a_score_takes_no_place():
    found = summary.possible_places(compared("abc", {"ab": "a", "bc": "a"}, without_score="c"))
    assert found == {"a": (1, 1), "b": (2, 2)}


@pytest.mark.parametrize(
    ("verdicts", "leader"),
    [
        ({"ab": "a", "ac": "a"}, "a"),
        ({"ab": "a"}, None),
        ({"ab": "a", "ac": "a", "bc": "a"}, "a"),
        ({"bc": "a"}, None),
        ({"ab": "b", "ac": "a"}, None),
    ],
)
def test_the_leader_is_better_than_every_other(verdicts, leader):
    assert summary.leader(compared("abc", verdicts)) == leader


def test_an_arm_alone_leads_nobody():
    assert summary.leader(compared("a", {})) is None


def test_an_arm_without_any_learning_rate_is_warned_of_once(
    make_arm, make_result, make_comparison_info
):
    arms = [
        make_arm("well", measuring=[make_result("well", seed=seed) for seed in (1, 2)]),
        make_arm(
            "lost",
            measuring=[make_result("lost"), make_result(status="failed", test_score=math.nan)],
        ),
        make_arm(
            "hopeless", [make_result("hopeless", status="diverged")], chosen=None, stage="done"
        ),
    ]
    found = summary.warn(arms, summary.compare_results(arms, make_comparison_info()), ACCURACY)
    of_arms = [(one.code, one.arms) for one in found if one.code in ("missing", "no-result")]
    assert of_arms == [("missing", ("lost",)), ("no-result", ("hopeless",))]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([], "waiting"),
        (["waiting", "waiting"], "waiting"),
        (["finished", "finished"], "finished"),
        (["finished", "waiting"], "running"),
        (["running", "waiting"], "running"),
        (["finished", "stopped"], "stopped"),
        (["stopped", "failed"], "failed"),
        (["finished", "diverged", "failed"], "diverged"),
    ],
)
def test_the_state_of_a_learning_rate_is_that_of_its_trials(
    make_arm, make_result, statuses, status
):
    tuning = [make_result(seed=seed, status=one) for seed, one in enumerate(statuses)]
    (cell,) = summary.grid(make_arm(tuning=tuning))
    assert (cell.learning_rate, cell.status) == (0.1, status)


def test_the_accuracy_of_a_learning_rate_is_the_mean_of_those_known_so_far(make_arm, make_result):
    accuracies = {0.1: [0.8, math.nan, 0.6], 1.0: [math.nan]}
    arm = make_arm(
        tuning=[
            make_result(rate=rate, val_score=one, status="stopped")
            for rate, values in accuracies.items()
            for one in values
        ],
        rates=(0.1, 1.0),
    )
    first, second = summary.grid(arm)
    assert first.val_score == pytest.approx(0.7)
    assert math.isnan(second.val_score)


def test_every_learning_rate_that_was_tried_is_reported(make_arm, make_result):
    tuning = [
        make_result(rate=0.01, val_score=0.5),
        make_result(rate=0.1, val_score=0.8),
        make_result(rate=0.1, val_score=0.6),
        make_result(rate=1.0, val_score=0.9),
        make_result(rate=1.0, status="diverged"),
        make_result(rate=1.0, status="diverged"),
    ]
    arm = make_arm(tuning=tuning, rates=(0.01, 0.1, 1.0, 10.0), optimizer="sgd")
    tried = summary.grid_results([arm, make_arm("b")])
    assert [(one.arm, one.optimizer, one.learning_rate) for one in tried] == [
        ("a", "sgd", 0.01),
        ("a", "sgd", 0.1),
        ("a", "sgd", 1.0),
    ]
    assert [(one.status, one.diverged, one.chosen) for one in tried] == [
        ("finished", 0, False),
        ("finished", 0, True),
        ("diverged", 2, False),
    ]
    assert tried[1].val_score == pytest.approx(0.7)
    assert math.isnan(tried[2].val_score)


def test_halving_says_what_it_saved(make_arm, make_result):
    tuning = [
        make_result(steps=100),
        make_result(status="stopped", steps=25),
        make_result(status="stopped", steps=50),
    ]
    other = [make_result("b", status="stopped", steps=30)]
    found = summary.halving([make_arm(tuning=tuning), make_arm("b", other, steps=200)])
    assert (found.stopped, found.trials) == (3, 4)
    assert found.steps_spent == 25 + 50 + 30
    assert found.steps_saved == 75 + 50 + 170
    assert found.steps_without == 3 * 100 + 200


def test_an_arm_is_ranked_with_everything_known_of_it(make_arm, make_result, make_comparison_info):
    accuracies = {0.1: 0.7, 1.0: 0.9, 10.0: 0.6}
    measured = {"train_loss": 0.1, "steps_to_target": 50.0, "seconds_to_target": 2.0,
                "grad_norm": 1.0, "clipped_fraction": 0.0, "steps_per_second": 10.0}  # fmt: skip
    measuring = [
        make_result(rate=1.0, seed=seed, val_score=0.8, measured=measured) for seed in (1, 2)
    ]
    tuned = make_arm(
        tuning=[make_result(rate=rate, val_score=one) for rate, one in accuracies.items()],
        measuring=measuring,
        rates=tuple(accuracies),
        chosen=1.0,
    )
    given = make_arm("given", measuring=[replace(one, test_score=0.1) for one in measuring])
    hopeless = make_arm("hopeless", chosen=None, stage="done")
    arms = [hopeless, given, tuned]
    first, second, last = summary.rank(
        arms,
        summary.compare_results(arms, make_comparison_info(test=10_000)),
        make_comparison_info(),
    )
    assert [one.name for one in (first, second, last)] == ["a", "given", "hopeless"]
    assert [one.rank for one in (first, second, last)] == [1, 2, None]
    assert [one.places for one in (first, second, last)] == [(1, 1), (2, 2), None]
    assert (first.learning_rate, first.seeds) == (1.0, (1, 2))
    assert (first.selection.selected_score, first.selection.fresh.mean) == (0.9, 0.8)
    assert first.sensitivity.best == 1.0
    assert not first.learning_rate_at_edge
    assert first.measured == measured
    assert (second.selection, second.sensitivity) == (None, None)
    assert math.isnan(last.learning_rate)


def test_an_arm_tuned_in_vain_has_no_selection(make_arm, make_result, make_comparison_info):
    tuning = [make_result(rate=rate, status="diverged") for rate in (0.1, 1.0)]
    arm = make_arm(tuning=tuning, rates=(0.1, 1.0), chosen=None, stage="done")
    (found,) = summary.rank(
        [arm], summary.compare_results([arm], make_comparison_info()), make_comparison_info()
    )
    assert found.selection is None
    assert math.isnan(found.sensitivity.best)
