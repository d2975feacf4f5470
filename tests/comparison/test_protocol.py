"""The protocol as a function of outcomes: grids, widening, halving, and equal budgets for all."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison.protocol import (
    Arm,
    Outcome,
    Protocol,
    advance,
    grid_around,
    make_trial,
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
    assert state.chosen == 0.1
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
    assert states[0].chosen == 1.0
    assert min(beyond) > max(states[0].arm.rates)
    assert len(beyond) == len(between) == QUICK.widen_by
    assert all(0.04 < rate < 0.22 for rate in between)
    counts = {name: sum(1 for one, *_ in run if one == name) for name in "ab"}
    assert counts["a"] == counts["b"]


def test_widening_has_its_limit():
    (state,), _ = play([arm("a")], QUICK, {"a": peak_at(1e6)})
    assert len(state.rates) == 5 + 2
    assert state.chosen == max(state.rates)
    assert state.at_edge


def test_a_list_of_learning_rates_is_never_widened():
    (state,), _ = play([arm("a", rates=(0.1, 1.0))], QUICK, {"a": peak_at(10)})
    assert state.rates == (0.1, 1.0)
    assert state.at_edge


def test_one_learning_rate_is_not_tuned():
    (state,), run = play([arm("a", rates=(0.3,))], QUICK, {"a": peak_at(1)})
    assert [trial.stage for _, trial, _ in run] == ["measuring"] * 3
    assert state.chosen == 0.3
    assert not state.at_edge


def test_a_learning_rate_that_diverges_with_one_seed_is_not_chosen():
    protocol = Protocol((0, 1), (2,), 0, 2, ())

    def accuracy(trial):
        if trial.learning_rate == 0.1:
            return None if trial.seed == 1 else 0.99
        return peak_at(0.1)(trial)

    (state,), _ = play([arm("a")], protocol, {"a": accuracy})
    assert state.chosen in (0.046, 0.22)


def test_if_all_diverge_none_is_chosen_and_nothing_is_measured():
    protocol = Protocol((0,), (1,), 0, 2, ())
    (dead, well), run = play(
        [arm("a"), arm("b")], protocol, {"a": lambda trial: None, "b": peak_at(0.1)}
    )
    assert (dead.chosen, dead.measuring, dead.stage, dead.at_edge) == (None, (), "done", False)
    assert (well.chosen, len(well.measuring), well.stage) == (0.1, 1, "done")
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
    assert state.chosen == 0.1
    assert 0.1 in ends


def test_an_id_depends_on_what_the_result_depends_on():
    one = arm("a")
    trials = [
        make_trial(*values)
        for values in itertools.product(
            [one, arm("b")], [0.1, 0.2], [0, 1], ["tuning"], ["data", "other data"]
        )
    ]
    assert len({trial.id for trial in trials}) == len(trials)
    moved = replace(one, info=replace(one.info, name="other"))
    moved.config["data"]["folder"] = "/elsewhere"
    assert make_trial(moved, 0.1, 0, "tuning", "data").id == trials[0].id
