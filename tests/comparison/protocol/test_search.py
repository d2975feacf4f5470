"""Searches as a function of outcomes: equal numbers of settings, budgets, batches and proposals."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison.protocol import (
    Arm,
    ArmSearch,
    Candidate,
    Outcome,
    Protocol,
    advance,
    config_key,
    make_trial,
    searched_keys,
    with_value,
)
from gradcli.comparison.results import ArmInfo
from gradcli.comparison.search import Range, Searcher, Sobol

SHA = "data"
RANGES = (Range("lr", 1e-3, 1e-1), Range("weight_decay", 1e-4, 1e-1))
BUDGETED = Protocol((0,), (10, 11, 12), 0, 2, (), budgets=(2, 4))


class NearBest(Searcher):
    """Proposes the best setting so far with a slightly larger learning rate."""

    looks_at_results = True

    def propose(self, ranges, tried, *, count, total, seed):
        best = dict(max(tried, key=lambda one: one.merit).setting)
        steps = (1 + 0.01 * (len(tried) + more) for more in range(count))
        return [(("lr", best["lr"] * step), ("weight_decay", 1e-3)) for step in steps]


def searched(name="a", settings=8, batch=4, known=None, ranges=RANGES):
    first = Sobol().propose(ranges, (), count=known or settings, total=settings, seed=3)
    return Arm(
        info=ArmInfo(name, name, (), (0.01,), ranges),
        config={
            "data": {"name": "d", "folder": None},
            "optimizer": {"kind": name, "lr": 0.01, "weight_decay": 0.0},
        },
        grid=None,
        steps=100,
        search=ArmSearch(
            ranges,
            settings,
            batch,
            tuple(tuple(first[at : at + batch]) for at in range(0, len(first), batch)),
        ),
    )


def bowl(trial):
    """A score that is best at a learning rate of 0.02 and does not depend on the seed."""
    return (
        0.9
        - abs(math.log10(trial.learning_rate / 0.02))
        - 1e-3 * dict(trial.setting).get("weight_decay", 0.0)
    )


def play(arms, protocol, score=bowl, searcher=None, order=None, until=math.inf):
    """Run the protocol to its end; return the last states, the arms and the outcomes."""
    outcomes, generator = {}, np.random.default_rng(order)
    while len(outcomes) < until:
        states = advance(arms, protocol, SHA, outcomes)
        if searcher is not None and any(state.lacks for state in states):
            arms = [proposed(state, searcher) for state in states]
            continue
        wanted = [one for state in states for one in state.wanted]
        if not wanted:
            break
        if order is not None:
            wanted = [wanted[generator.integers(len(wanted))]]
        for trial, pause in wanted:
            found, earlier = score(trial), outcomes.get(trial.id, Outcome("waiting"))
            if found is None:
                outcomes[trial.id] = Outcome("diverged")
            elif pause is None:
                outcomes[trial.id] = Outcome("finished", found, earlier.rungs)
            else:
                outcomes[trial.id] = Outcome("waiting", rungs={**earlier.rungs, pause: found})
    return advance(arms, protocol, SHA, outcomes), arms, outcomes


def proposed(state, searcher):
    search = state.arm.search
    if not state.lacks:
        return state.arm
    batch = searcher.propose(
        search.ranges, state.tried, count=state.lacks, total=search.settings, seed=0
    )
    return replace(state.arm, search=replace(search, batches=(*search.batches, tuple(batch))))


def test_each_arm_tries_as_many_settings_and_measures_the_best_with_fresh_seeds():
    states, arms, outcomes = play([searched("a"), searched("b")], BUDGETED)
    for state in states:
        assert len(state.candidates) == len(state.tuning) == 8
        assert {trial.seed for trial in state.tuning} == {0}
        best = max(state.tuning, key=bowl)
        assert state.chosen == Candidate(best.learning_rate, best.setting)
        assert [trial.seed for trial in state.measuring] == [10, 11, 12]
        assert {trial.setting for trial in state.measuring} == {best.setting}
        assert state.is_over
        assert state.stage == "done"
    assert [len(arm.search.batches) for arm in arms] == [2, 2]
    assert len(outcomes) == sum(len(state.trials) for state in states)


def test_a_trial_has_the_values_of_its_setting():
    (state,), *_ = play([searched()], BUDGETED)
    for trial in state.tuning:
        values = dict(trial.setting)
        assert trial.config["optimizer"]["lr"] == values["lr"] == trial.learning_rate
        assert trial.config["optimizer"]["weight_decay"] == values["weight_decay"]


def test_a_smaller_budget_has_what_would_have_been_chosen_then():
    (state,), *_ = play([searched()], BUDGETED)
    assert [one.settings for one in state.earlier] == [2, 4]
    for choice in state.earlier:
        first = state.tuning[: choice.settings]
        assert choice.chosen.setting == max(first, key=bowl).setting
        assert [trial.seed for trial in choice.measuring] == [10, 11, 12]


def test_a_choice_that_did_not_change_costs_no_more_trials():
    (state,), *_ = play([searched()], BUDGETED, score=lambda trial: -trial.setting[0][1])
    whole = {trial.id for trial in state.measuring}
    alike = [one for one in state.earlier if one.chosen == state.chosen]
    for choice in alike:
        assert {trial.id for trial in choice.measuring} == whole
    distinct = {one.chosen for one in state.earlier} | {state.chosen}
    assert len(state.trials) == 8 + 3 * len(distinct)
    assert all(trial.stage == "measuring" for trial in state.trials if trial.id in whole)


def test_what_measures_the_whole_budget_is_asked_for_as_that():
    """It is timed, and a trial of a smaller budget is not."""
    protocol = replace(BUDGETED, budgets=(7,))  # hardly ever another choice than with all
    (ended,), _, outcomes = play([searched()], protocol)
    tuned = {trial.id: outcomes[trial.id] for trial in ended.tuning}
    (state,) = advance([searched()], protocol, SHA, tuned)
    assert [choice.chosen for choice in state.earlier] == [state.chosen]
    assert [trial.stage for trial, _ in state.wanted] == ["measuring"] * 3


def test_the_order_in_which_trials_end_does_not_matter():
    arms = [searched("a"), searched("b")]
    first, *_ = play(arms, BUDGETED)
    for order in range(3):
        again, *_ = play(arms, BUDGETED, order=order)
        assert [one.chosen for one in again] == [one.chosen for one in first]
        assert [one.measuring for one in again] == [one.measuring for one in first]


def test_a_searcher_that_looks_at_results_is_asked_batch_by_batch():
    states, arms, _ = play([searched(known=4)], BUDGETED, searcher=NearBest())
    (state,) = states
    assert [len(batch) for batch in arms[0].search.batches] == [4, 4]
    best = max(state.tuning[:4], key=bowl)
    assert state.candidates[4].setting[0] == ("lr", best.learning_rate * 1.04)
    other, _, _ = play([searched(known=4)], BUDGETED, searcher=NearBest(), order=1)
    assert other[0].candidates == state.candidates


def test_an_arm_that_lacks_settings_is_not_over_and_chooses_nothing():
    (state,), *_ = play([searched(known=4)], BUDGETED)
    assert (state.lacks, state.wanted, state.is_over, state.chosen) == (4, (), False, None)
    assert state.stage == "tuning"
    assert [one.merit for one in state.tried] == [bowl(trial) for trial in state.tuning]
    assert {one.fraction for one in state.tried} == {1.0}


def test_halving_works_within_a_batch():
    protocol = replace(BUDGETED, rungs=(0.25, 0.5))
    (state,), *_ = play([searched()], protocol)
    ended = [one for one in state.tried if one.fraction == 1.0]
    assert [one.fraction for one in state.tried].count(0.25) == 4
    assert [one.fraction for one in state.tried].count(0.5) == 2
    for batch in (state.tuning[:4], state.tuning[4:]):
        assert max(batch, key=bowl).setting in [one.setting for one in ended]
    assert len(state.stopped) == 6


def test_a_setting_that_diverged_is_not_chosen_and_an_arm_of_such_is_hopeless():
    def best_diverges(trial):
        return None if abs(math.log10(trial.learning_rate / 0.02)) < 0.3 else bowl(trial)

    (state,), *_ = play([searched()], BUDGETED, score=best_diverges)
    assert best_diverges(state.measuring[0]) is not None
    assert -math.inf in [one.merit for one in state.tried]
    (dead,), *_ = play([searched()], BUDGETED, score=lambda trial: None)
    assert (dead.chosen, dead.measuring, dead.stage, dead.is_over) == (None, (), "done", True)
    assert [one.chosen for one in dead.earlier] == [None, None]


def test_values_are_set_where_their_key_says():
    config = {
        "optimizer": {"lr": 0.1, "betas": [0.9, 0.99], "groups": {"rest": {"lr": 0.01}}},
        "clip": {"max_norm": 1.0},
        "data": {"folder": None},
    }
    setting = (("lr", 0.2), ("betas.1", 0.95), ("groups.rest.lr", 0.5), ("clip.max_norm", 3.0))
    arm = replace(searched(), config=config)
    trial = make_trial(arm, Candidate(0.2, setting), 0, "tuning", SHA)
    assert trial.config["optimizer"] == {
        "lr": 0.2,
        "betas": [0.9, 0.95],
        "groups": {"rest": {"lr": 0.5}},
    }
    assert trial.config["clip"] == {"max_norm": 3.0}
    assert config["optimizer"]["betas"] == [0.9, 0.99]  # the arm's own is as it was


def test_the_groups_follow_the_rate_unless_theirs_is_searched():
    config = {"optimizer": {"lr": 0.1, "groups": {"rest": {"lr": 0.01}}}, "data": {}}
    arm = replace(searched(), config=config)
    trial = make_trial(arm, Candidate(0.2, (("lr", 0.2),)), 0, "tuning", SHA)
    assert trial.config["optimizer"]["groups"]["rest"]["lr"] == 0.02


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("lr", "optimizer.lr"),
        ("groups.rest.lr", "optimizer.groups.rest.lr"),
        ("optimizer.lr", "optimizer.lr"),
        ("clip.max_norm", "clip.max_norm"),
        ("schedule.warmup", "schedule.warmup"),
    ],
)
def test_a_key_without_its_section_is_the_optimizers(key, path):
    assert config_key(key) == path


def test_what_is_said_of_one_optimizer_wins_for_it_alone():
    words = ("adam:lr=1..2", "lr=3..4", "momentum", "sgd:momentum=0.5..0.9")
    assert searched_keys(words, "adam") == {"lr": "1..2", "momentum": ""}
    assert searched_keys(words, "sgd") == {"lr": "3..4", "momentum": "0.5..0.9"}
    assert searched_keys(("adam:lr",), "sgd") == {}


def test_an_unset_value_is_set_without_touching_the_others():
    assert with_value({"a": {"b": 1, "c": 2}}, ["a", "b"], 5.0) == {"a": {"b": 5.0, "c": 2}}
