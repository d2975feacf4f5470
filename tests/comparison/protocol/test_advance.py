"""The protocol as a function of outcomes: grids, widening, halving, and equal budgets for all."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison.protocol import (
    Arm,
    Candidate,
    Grid,
    Outcome,
    Protocol,
    advance,
    grid_around,
    make_trial,
    with_rate,
)
from gradcli.comparison.results import ArmInfo

SHA = "data"
QUICK = Protocol(tuning_seeds=(0,), seeds=(1, 2, 3), widenings=1, widen_by=2, rungs=())


def arm(name, centre=0.1, count=5, steps=100, rates=None):
    grid = grid_around(centre, count, 3)
    return Arm(
        info=ArmInfo(name, name, (), rates or grid.rates),
        config={"data": {"name": "d", "folder": None}, "optimizer": {"kind": name, "lr": 1.0}},
        grid=None if rates else grid,
        steps=steps,
    )


def peak_at(best):
    """An accuracy that falls with the distance from `best`, in decades."""
    return lambda trial: 0.9 - 0.1 * abs(math.log10(trial.learning_rate / best))


def play(arms, protocol, accuracies, order=None):
    """Run the protocol to its end; return the last states and the trials that were run."""
    outcomes, run = {}, []
    generator = np.random.default_rng(order)
    while True:
        states = advance(arms, protocol, SHA, outcomes)
        wanted = [(state.arm.name, *one) for state in states for one in state.wanted]
        if not wanted:
            return states, run
        if order is not None:
            wanted = [wanted[generator.integers(len(wanted))]]
        for name, trial, until in wanted:
            earlier = outcomes.get(trial.id, Outcome("waiting"))
            accuracy = accuracies[name](trial)
            run.append((name, trial, until))
            if accuracy is None:
                outcomes[trial.id] = Outcome("diverged")
            elif until is None:
                outcomes[trial.id] = Outcome("finished", accuracy, earlier.rungs)
            else:
                outcomes[trial.id] = Outcome("waiting", rungs={**earlier.rungs, until: accuracy})


def test_a_grid_is_logarithmic_and_readable():
    rates = grid_around(0.5, 5, 3).rates
    assert rates == (0.11, 0.23, 0.5, 1.1, 2.3)
    assert np.diff(np.log10(rates)) == pytest.approx(1 / 3, abs=0.03)


def test_the_best_of_the_grid_is_measured_with_fresh_seeds():
    (state,), run = play([arm("a")], QUICK, {"a": peak_at(0.1)})
    assert state.chosen.learning_rate == 0.1
    assert not state.at_edge
    tuning = [trial for _, trial, _ in run if trial.stage == "tuning"]
    measuring = [trial for _, trial, _ in run if trial.stage == "measuring"]
    assert {trial.seed for trial in tuning} == {0}
    assert [trial.seed for trial in measuring] == [1, 2, 3]
    assert {trial.learning_rate for trial in measuring} == {0.1}
    assert len({trial.id for trial in tuning + measuring}) == 5 + 3


def test_a_best_at_an_edge_widens_the_grids_of_all_alike():
    states, run = play([arm("a"), arm("b")], QUICK, {"a": peak_at(1.0), "b": peak_at(0.1)})
    beyond, between = (set(state.rates) - set(state.arm.rates) for state in states)
    assert states[0].chosen.learning_rate == 1.0
    assert min(beyond) > max(states[0].arm.rates)
    assert len(beyond) == len(between) == QUICK.widen_by
    assert all(0.04 < rate < 0.22 for rate in between)
    counts = {name: sum(1 for one, *_ in run if one == name) for name in "ab"}
    assert counts["a"] == counts["b"]


def test_widening_has_its_limit():
    (state,), _ = play([arm("a")], QUICK, {"a": peak_at(1e6)})
    assert len(state.rates) == 5 + 2
    assert state.chosen.learning_rate == max(state.rates)
    assert state.at_edge


def test_a_list_of_learning_rates_is_never_widened():
    (state,), _ = play([arm("a", rates=(0.1, 1.0))], QUICK, {"a": peak_at(10)})
    assert state.rates == (0.1, 1.0)
    assert state.at_edge


def test_one_learning_rate_is_not_tuned():
    (state,), run = play([arm("a", rates=(0.3,))], QUICK, {"a": peak_at(1)})
    assert [trial.stage for _, trial, _ in run] == ["measuring"] * 3
    assert state.chosen.learning_rate == 0.3
    assert not state.at_edge


def test_a_learning_rate_that_diverges_with_one_seed_is_not_chosen():
    protocol = Protocol((0, 1), (2,), 0, 2, ())

    def accuracy(trial):
        if trial.learning_rate == 0.1:
            return None if trial.seed == 1 else 0.99
        return peak_at(0.1)(trial)

    (state,), _ = play([arm("a")], protocol, {"a": accuracy})
    assert state.chosen.learning_rate in (0.046, 0.22)


def test_if_all_diverge_none_is_chosen_and_nothing_is_measured():
    protocol = Protocol((0,), (1,), 0, 2, ())
    (dead, well), run = play(
        [arm("a"), arm("b")], protocol, {"a": lambda trial: None, "b": peak_at(0.1)}
    )
    assert (dead.chosen, dead.measuring, dead.stage, dead.at_edge) == (None, (), "done", False)
    assert (well.chosen.learning_rate, len(well.measuring), well.stage) == (0.1, 1, "done")
    assert all(trial.stage == "tuning" for _, trial, _ in run if trial.arm == "a")


@pytest.mark.parametrize("order", range(10))
@pytest.mark.parametrize("rungs", [(), (0.25, 0.5)])
def test_the_order_in_which_trials_end_does_not_matter(order, rungs):
    protocol = Protocol((0,), (1, 2), 1, 2, rungs)
    arms = [arm("a"), arm("b"), arm("c")]
    accuracies = {"a": peak_at(2.0), "b": peak_at(0.1), "c": peak_at(0.01)}
    at_once, run_at_once = play(arms, protocol, accuracies)
    one_by_one, run = play(arms, protocol, accuracies, order)
    assert one_by_one == at_once
    assert sorted(map(str, run)) == sorted(map(str, run_at_once))


def test_measuring_begins_early_only_if_no_widening_can_follow():
    """With the ends of every grid known and beaten, an arm need not wait for the others."""
    arms = [arm("a"), arm("b")]
    a, b = (advance(arms, QUICK, SHA, {})[index].tuning for index in (0, 1))
    done = {trial.id: Outcome("finished", peak_at(0.1)(trial)) for trial in a}
    ends_unknown = advance(arms, QUICK, SHA, done)
    assert ends_unknown[0].stage == "waiting"
    for trial in b[:3] + b[4:]:
        done[trial.id] = Outcome("finished", peak_at(0.1)(trial))
    middle_unknown = advance(arms, QUICK, SHA, done)
    assert middle_unknown[0].stage == "measuring"
    assert middle_unknown[1].stage == "tuning"


def test_the_ends_of_a_grid_are_tried_first():
    (state,) = advance([arm("a")], QUICK, SHA, {})
    rates = [trial.learning_rate for trial, _ in state.wanted]
    assert set(rates[:2]) == {min(state.rates), max(state.rates)}
    assert rates[-1] == 0.1


def test_halving_runs_all_to_a_rung_and_the_better_half_on():
    protocol = Protocol((0,), (1,), 0, 2, (0.25, 0.5))
    (state,), run = play([arm("a", steps=80)], protocol, {"a": peak_at(0.1)})
    pauses = [until for _, trial, until in run if trial.stage == "tuning"]
    assert pauses == [20] * 5 + [40] * 3 + [None] * 2
    ends = {trial.learning_rate for _, trial, until in run if until is None}
    assert len(state.stopped) == 3
    assert state.chosen.learning_rate == 0.1
    assert 0.1 in ends


def test_an_id_depends_on_what_the_result_depends_on():
    one = arm("a")
    trials = [
        make_trial(*values)
        for values in itertools.product(
            [one, arm("b")],
            [Candidate(0.1), Candidate(0.2)],
            [0, 1],
            ["tuning"],
            ["data", "other data"],
        )
    ]
    assert len({trial.id for trial in trials}) == len(trials)
    moved = replace(one, info=replace(one.info, name="other"))
    moved.config["data"]["folder"] = "/elsewhere"
    assert make_trial(moved, Candidate(0.1), 0, "tuning", "data").id == trials[0].id


# Grids


@pytest.mark.parametrize(
    ("count", "exponents"), [(1, (0,)), (4, (-2, -1, 0, 1)), (5, (-2, -1, 0, 1, 2))]
)
def test_the_centre_is_in_the_middle_of_a_grid(count, exponents):
    assert grid_around(0.1, count, 3).exponents == exponents


@pytest.mark.parametrize(
    ("best", "count", "added"),
    [
        (0.01, 1, {0.001}),
        (0.01, 3, {0.001, 0.0001, 0.00001}),
        (1.0, 2, {10.0, 100.0}),
        (0.1, 2, {0.032, 0.32}),  # half a decade below and above
        (0.1, 3, {0.032, 0.32, 0.056}),  # and a quarter below
        (0.1, 5, {0.032, 0.32, 0.056, 0.18, 0.075}),  # and a quarter above and an eighth below
    ],
)
def test_a_grid_is_widened_where_the_best_is(best, count, added):
    grid = grid_around(0.1, 3, 1)
    assert grid.rates == (0.01, 0.1, 1.0)
    wider = grid.beyond(best, count)
    assert wider.rates == tuple(sorted({0.01, 0.1, 1.0} | added))
    assert (wider.centre, wider.per_decade) == (0.1, 1)


def test_learning_rates_that_are_tried_already_are_not_added_again():
    """Half a step above 0.1 is 0.32, which is there; a quarter below and above are not."""
    grid = Grid(0.1, 1, (-1, 0, 0.5, 1))
    assert set(grid.beyond(0.1, 2).rates) - set(grid.rates) == {0.032, 0.056}


# Tuning


def outcome_of_all(trials, accuracy):
    return {trial.id: Outcome("finished", accuracy(trial)) for trial in trials}


def test_the_lowest_of_equally_good_learning_rates_is_chosen():
    (state,), _ = play([arm("a", rates=(0.1, 0.2, 0.3))], QUICK, {"a": lambda trial: 0.5})
    assert state.chosen.learning_rate == 0.1


def test_a_learning_rate_is_chosen_by_the_mean_over_the_tuning_seeds():
    protocol = replace(QUICK, tuning_seeds=(0, 1), widenings=0)
    accuracies = {(0.1, 0): 0.9, (0.1, 1): 0.5, (0.2, 0): 0.8, (0.2, 1): 0.7}
    (state,), _ = play(
        [arm("a", rates=(0.1, 0.2))],
        protocol,
        {"a": lambda trial: accuracies.get((trial.learning_rate, trial.seed), 0.6)},
    )
    assert state.chosen.learning_rate == 0.2
    assert len(state.tuning) == 4


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_trial_without_a_result_is_not_made_again(status):
    (begun,) = advance([arm("a", rates=(0.1, 0.2))], QUICK, SHA, {})
    first, second = begun.tuning
    (state,) = advance(
        [begun.arm], QUICK, SHA, {first.id: Outcome(status, 0.99), second.id: Outcome("running")}
    )
    assert state.wanted == ((second, None),)
    ended = {first.id: Outcome(status, 0.99), second.id: Outcome("finished", 0.3)}
    (state,) = advance([begun.arm], QUICK, SHA, ended)
    assert state.chosen.learning_rate == 0.2


def test_an_arm_is_at_an_edge_only_if_its_grid_has_several_learning_rates():
    def chosen(*rates, best):
        (state,), _ = play([arm("a", rates=rates)], QUICK, {"a": peak_at(best)})
        return state.at_edge

    assert [chosen(0.1, 0.2, 0.3, best=best) for best in (0.1, 0.2, 0.3)] == [True, False, True]
    assert not chosen(0.1, best=0.1)


def test_the_trials_of_one_learning_rate_per_arm_are_ready_at_once():
    (state,) = advance([arm("a", rates=(0.3,))], QUICK, SHA, {})
    assert (state.stage, state.tuning) == ("measuring", ())
    assert [(trial.seed, until) for trial, until in state.wanted] == [
        (1, None),
        (2, None),
        (3, None),
    ]


def test_an_optimizer_without_a_learning_rate_keeps_its_config():
    trial = make_trial(arm("a", rates=(math.nan,)), Candidate(math.nan), 4, "measuring", SHA)
    assert trial.config["optimizer"] == {"kind": "a", "lr": 1.0}
    assert (
        make_trial(arm("a"), Candidate(0.2), 4, "measuring", SHA).config["optimizer"]["lr"] == 0.2
    )
    assert trial.config["seed"] == 4
    assert len(trial.id) == 12


def test_what_an_arm_is_doing():
    """From the first trial on: tuning, widening, measuring, done."""
    a = arm("a")
    outcomes, stages = {}, []
    while True:
        (state,) = advance([a], QUICK, SHA, outcomes)
        stages.append(state.stage)
        if not state.wanted:
            break
        outcomes |= outcome_of_all([trial for trial, _ in state.wanted], peak_at(100.0))
    assert stages == ["tuning", "widening", "measuring", "done"]


def test_the_grids_are_widened_as_often_as_allowed():
    for widenings in range(4):
        protocol = replace(QUICK, widenings=widenings)
        (state,), _ = play([arm("a")], protocol, {"a": peak_at(1e9)})
        assert len(state.rates) == 5 + 2 * widenings


def test_the_grids_are_not_widened_before_all_arms_are_tuned():
    arms = [arm("a"), arm("b")]
    a, b = advance(arms, QUICK, SHA, {})
    done = outcome_of_all(a.tuning, peak_at(100.0)) | outcome_of_all(b.tuning[1:], peak_at(0.1))
    waiting, tuning = advance(arms, QUICK, SHA, done)
    assert (waiting.stage, waiting.wanted) == ("waiting", ())
    assert waiting.rates == a.rates
    assert tuning.stage == "tuning"


def test_a_list_at_its_edge_does_not_widen_the_grids_of_others():
    arms = [arm("listed", rates=(0.1, 1.0)), arm("grid")]
    states, _ = play(arms, QUICK, {"listed": peak_at(10.0), "grid": peak_at(0.1)})
    assert [len(state.rates) for state in states] == [2, 5]


def test_an_arm_without_a_grid_waits_while_others_may_widen_theirs():
    arms = [arm("listed", rates=(0.1, 1.0)), arm("grid")]
    listed, grid = advance(arms, QUICK, SHA, {})
    done = outcome_of_all(listed.tuning, peak_at(1.0))
    assert advance(arms, QUICK, SHA, done)[0].stage == "waiting"
    done |= outcome_of_all(grid.tuning, peak_at(0.1))
    assert [state.stage for state in advance(arms, QUICK, SHA, done)] == ["measuring"] * 2


@pytest.mark.parametrize("end", [0, -1])
def test_an_arm_waits_for_both_ends_of_another_grid(end):
    arms = [arm("a"), arm("b")]
    a, b = advance(arms, QUICK, SHA, {})
    known = outcome_of_all([*a.tuning, *b.tuning], peak_at(0.1))
    del known[b.tuning[end].id]
    assert advance(arms, QUICK, SHA, known)[0].stage == "waiting"


def test_without_widening_no_arm_waits_for_another():
    arms = [arm("a"), arm("b")]
    protocol = replace(QUICK, widenings=0)
    a, _ = advance(arms, protocol, SHA, {})
    done = outcome_of_all(a.tuning, peak_at(100.0))
    assert [state.stage for state in advance(arms, protocol, SHA, done)] == ["measuring", "tuning"]


def test_the_ends_of_a_grid_come_first_and_its_middle_last():
    (state,) = advance([arm("a", rates=(0.01, 0.1, 0.2, 0.4, 100.0))], QUICK, SHA, {})
    # In decades from the middle, which is 1: 2, 1, 0.7, 0.4, 2.
    rates = [trial.learning_rate for trial, _ in state.wanted]
    assert (set(rates[:2]), rates[2:]) == ({0.01, 100.0}, [0.1, 0.2, 0.4])


# Halving


def test_a_rung_is_after_at_least_one_step():
    protocol = replace(QUICK, rungs=(0.1, 0.5))
    (state,) = advance([arm("a", steps=4)], protocol, SHA, {})
    assert {until for _, until in state.wanted} == {1}  # a tenth of four steps


@pytest.mark.parametrize(("rates", "kept"), [(2, 1), (3, 2), (5, 3)])
def test_the_better_half_at_a_rung_goes_on(rates, kept):
    protocol = replace(QUICK, rungs=(0.5,), widenings=0)
    a = arm("a", rates=(0.1, 0.2, 0.3, 0.4, 0.5)[:rates])
    (begun,) = advance([a], protocol, SHA, {})
    # The higher the learning rate, the better.
    paused = {
        trial.id: Outcome("waiting", rungs={50: trial.learning_rate}) for trial in begun.tuning
    }
    (state,) = advance([a], protocol, SHA, paused)
    going_on = {trial.learning_rate for trial, until in state.wanted if until is None}
    assert going_on == set(a.rates[-kept:])
    assert state.stopped == {
        trial.id for trial in begun.tuning if trial.learning_rate not in going_on
    }


def test_the_lower_of_equal_learning_rates_at_a_rung_goes_on():
    protocol = replace(QUICK, rungs=(0.5,), widenings=0)
    a = arm("a", rates=(0.1, 0.2))
    (begun,) = advance([a], protocol, SHA, {})
    paused = {trial.id: Outcome("waiting", rungs={50: 0.5}) for trial in begun.tuning}
    (state,) = advance([a], protocol, SHA, paused)
    assert [trial.learning_rate for trial, _ in state.wanted] == [0.1]


def test_a_trial_that_diverged_does_not_hold_up_a_rung_and_is_stopped_there():
    protocol = replace(QUICK, rungs=(0.5,), widenings=0)
    a = arm("a", rates=(0.1, 0.2))
    (begun,) = advance([a], protocol, SHA, {})
    low, high = begun.tuning
    outcomes = {
        low.id: Outcome("diverged", rungs={50: 0.9}),
        high.id: Outcome("waiting", rungs={50: 0.2}),
    }
    (state,) = advance([a], protocol, SHA, outcomes)
    assert state.wanted == ((high, None),)
    assert state.stopped == {low.id}


def test_all_wait_at_a_rung_for_the_last():
    protocol = replace(QUICK, rungs=(0.25, 0.5), widenings=0)
    a = arm("a", rates=(0.1, 0.2, 0.3))
    (begun,) = advance([a], protocol, SHA, {})
    first, *others = begun.tuning
    paused = {trial.id: Outcome("waiting", rungs={25: 0.5}) for trial in others}
    (state,) = advance([a], protocol, SHA, {**paused, first.id: Outcome("running")})
    assert state.wanted == ((first, 25),)
    assert state.stopped == frozenset()


def test_a_rate_multiplies_those_of_parameter_groups_by_the_same_factor():
    groups = {"hidden": {"lr": 0.5, "momentum": 0.9}, "biases": {"where": {}}, "rest": None}
    optimizer = {"lr": 0.25, "eps": 1e-8, "groups": groups}
    assert with_rate(optimizer, 1.0) == {
        "lr": 1.0,
        "eps": 1e-8,
        "groups": {"hidden": {"lr": 2.0, "momentum": 0.9}, "biases": {"where": {}}, "rest": None},
    }
    assert with_rate(optimizer, 0.25) == optimizer
    assert with_rate({"lr": 0.0, "groups": groups}, 0.0)["groups"] == groups
    assert with_rate({"eps": 1.0}, 0.5) == {"eps": 1.0, "lr": 0.5}


def test_the_order_of_parameter_groups_is_part_of_a_trial():
    """The first group whose rule a parameter meets takes it."""
    one, other = {"a": {"lr": 1.0}, "b": {}}, {"b": {}, "a": {"lr": 1.0}}
    ids = [
        make_trial(
            replace(plain, config={**plain.config, "optimizer": {"lr": 1.0, "groups": groups}}),
            *(Candidate(0.1), 0, "tuning", SHA),
        ).id
        for plain in [arm("x")]
        for groups in (one, other, dict(one))
    ]
    assert ids[0] == ids[2] != ids[1]


def test_the_rate_of_a_group_is_one_that_a_person_would_type():
    optimizer = {"lr": 0.02, "groups": {"hidden": {}, "rest": {"lr": 0.002}}}
    assert with_rate(optimizer, 0.43)["groups"]["rest"]["lr"] == 0.043
    assert with_rate(optimizer, 0.02) == optimizer
