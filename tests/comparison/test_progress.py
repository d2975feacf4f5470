"""How far a comparison is."""

import math

import numpy as np
import pytest

from gradcli.comparison.live import RunningTrial
from gradcli.comparison.progress import progress
from gradcli.comparison.trials import TrialSnapshot


@pytest.fixture
def of(make_comparison_info):
    """Return a function that gives the progress of some arms, and that of each."""

    def compute(*arms, snapshots=(), curves=None, **info):
        header = make_comparison_info(**info)
        found = progress(arms, header, snapshots, curves or {}, seconds_elapsed=7.0)
        return found, found.arms

    return compute


def snapshot(arm, curve, pace=4.0):
    running = RunningTrial("id", arm, 0.1, 1, "tuning", len(curve[0]), 100, 1.0, 2.0)
    return TrialSnapshot(running, *curve, pace)


def test_trials_are_counted_as_done_once_they_have_ended(of, make_arm, make_result):
    tuning = [
        make_result(status=one) for one in ("finished", "diverged", "stopped", "failed", "running")
    ]
    measuring = [make_result(), make_result(status="waiting")]
    found, (arm,) = of(make_arm(tuning=tuning, measuring=measuring))
    assert (arm.trials_done, arm.trials_total) == (5, 7)
    assert (found.trials_done, found.trials_total) == (5, 7)
    assert (arm.diverged, arm.failed) == (1, 1)
    assert found.seconds_elapsed == 7.0


def test_an_arm_that_is_not_measured_yet_will_be_unless_it_is_hopeless(of, make_arm, make_result):
    tuning = [make_result(status="diverged")]
    found, (to_come, hopeless) = of(
        make_arm("a", tuning), make_arm("b", tuning, chosen=None, stage="done"), seeds=(1, 2, 3)
    )
    assert (to_come.trials_total, hopeless.trials_total) == (1 + 3, 1)
    assert found.trials_total == 5
    assert hopeless.seconds_left == 0.0


def test_the_time_left_is_that_of_the_trials_left_shared_by_the_jobs(of, make_arm, make_result):
    measuring = [make_result(seconds=12.0), make_result(seconds=99.0, status="diverged")]
    tuning = [
        make_result(seconds=20.0),
        make_result(status="waiting"),
        make_result(status="running"),
    ]
    found, arms = of(
        make_arm("a", tuning, measuring), make_arm("b", measuring=[make_result()] * 2), jobs=2
    )
    of_a_trial = (12.0 + 20.0 + 10.0 + 10.0) / 4
    assert [one.seconds_left for one in arms] == [pytest.approx(2 * of_a_trial / 2), 0.0]
    assert found.seconds_left == pytest.approx(of_a_trial)


def test_no_time_is_known_before_a_trial_has_ended(of, make_arm, make_result):
    found, (arm,) = of(make_arm(measuring=[make_result(status="running")]))
    assert math.isnan(arm.seconds_left)
    assert math.isnan(found.seconds_left)


def test_accuracies_are_those_of_the_trials_that_finished(of, make_arm, make_result):
    measuring = [
        make_result(val_score=0.9, test_score=0.8),
        make_result(val_score=0.7, test_score=0.6),
        make_result(val_score=0.1, test_score=0.1, status="diverged"),
    ]
    _, (arm,) = of(make_arm(measuring=measuring))
    assert (arm.val_score.count, arm.val_score.mean) == (2, pytest.approx(0.8))
    assert (arm.test_score.count, arm.test_score.mean) == (2, pytest.approx(0.7))


def test_a_trial_that_diverged_counts_for_the_steps_to_the_target(of, make_arm, make_result):
    def reached(steps, status="finished"):
        return make_result(
            status=status, measured={"steps_to_target": steps, "steps_per_second": 1.0}
        )

    measuring = [reached(10.0), reached(math.inf, "diverged"), reached(5.0, "failed")]
    _, (arm,) = of(make_arm(measuring=measuring))
    assert arm.steps_to_target == 10.0  # half of the two that count
    _, (arm,) = of(make_arm(measuring=[*measuring, reached(math.inf)]))
    assert arm.steps_to_target == math.inf
    _, (arm,) = of(make_arm(measuring=[*measuring, reached(20.0)]))
    assert arm.steps_to_target == 20.0


def test_the_speed_is_that_of_the_trials_that_finished(of, make_arm, make_result, curve):
    def of_speed(speed, status="finished"):
        measured = {"steps_per_second": speed, "steps_to_target": 1.0}
        return make_result(status=status, measured=measured)

    running = [snapshot("a", curve(3), pace=4.0), snapshot("a", curve(3), pace=6.0)]
    ended = [of_speed(10.0), of_speed(20.0), of_speed(90.0, "diverged")]
    _, (arm,) = of(make_arm(measuring=ended), snapshots=running)
    assert arm.steps_per_second == 15.0
    _, (arm,) = of(make_arm(measuring=ended[2:]), snapshots=running)
    assert arm.steps_per_second == 5.0
    _, (arm,) = of(make_arm(measuring=ended[2:]))
    assert math.isnan(arm.steps_per_second)


def test_curves_are_of_the_running_trial_once_it_has_made_a_step(of, make_arm, curve):
    earlier, older, now, begun = curve(9), curve(2), curve(4), curve(0)
    running = [snapshot("a", older), snapshot("a", now), snapshot("a", begun)]
    found, (arm, other, third) = of(
        make_arm("a"),
        make_arm("b"),
        make_arm("c"),
        snapshots=[*running, snapshot("b", begun)],
        curves={"a": earlier, "b": earlier},
    )
    assert arm.losses == tuple(now[0])
    assert arm.grad_norms == (1.0, 2.0, 3.0, 4.0)
    assert (arm.grad_norm, arm.clipped_fraction) == (4.0, 1.0)
    assert other.losses == tuple(earlier[0])
    assert other.grad_norm == 9.0
    assert (third.losses, third.grad_norms) == ((), ())
    assert np.isnan([third.grad_norm, third.clipped_fraction]).all()
    assert found.running == tuple(one.trial for one in (*running, snapshot("b", begun)))


@pytest.mark.parametrize(("scores", "leads"), [((0.9, 0.1), "a"), ((0.5, 0.5), None)])
def test_an_arm_leads_by_a_verdict(of, make_arm, make_result, scores, leads):
    arms = [
        make_arm(name, measuring=[make_result(name, test_score=score)] * 2)
        for name, score in zip("ab", scores, strict=True)
    ]
    _, found = of(*arms, test=10_000)
    assert [one.name for one in found if one.leads] == ([leads] if leads else [])


def test_nobody_leads_before_two_arms_are_measured(of, make_arm, make_result):
    _, (one, other) = of(
        make_arm("a", measuring=[make_result("a")] * 2),
        make_arm("b", measuring=[make_result("b", status="running", test_score=math.nan)] * 2),
    )
    assert not one.leads and not other.leads


def test_an_arm_leads_another_that_only_diverged(of, make_arm, make_result):
    _, found = of(
        make_arm("a", measuring=[make_result("a")] * 5),
        make_arm("b", measuring=[make_result("b", status="diverged")] * 5),
        seeds=(1, 2, 3, 4, 5),
    )
    assert [one.leads for one in found] == [True, False]


def test_the_learning_rate_is_unknown_until_it_is_chosen(of, make_arm):
    _, (chosen, open_) = of(make_arm("a", chosen=0.1), make_arm("b", chosen=None))
    assert chosen.learning_rate == 0.1
    assert math.isnan(open_.learning_rate)
