"""Which checkpoints can go: none that a later step of the comparison needs, and all but one."""

import itertools
import math

import numpy as np
import pytest

from gradcli.comparison.protocol import (
    Arm,
    Outcome,
    Protocol,
    advance,
    best_trial,
    dispensable,
    grid_around,
)
from gradcli.comparison.results import ArmInfo

NAMES = ("a", "b", "c")


def arm(name, keep="auto"):
    grid = grid_around(0.1, 5, 3)
    config = {"data": {"folder": None}, "optimizer": {"kind": name}, "checkpoint": {"keep": keep}}
    return Arm(ArmInfo(name, name, (), grid.rates), config, grid, steps=100)


def moments(arms, rungs, seed):
    """Play a comparison whose trials end in a random order; yield what is known after each."""
    protocol = Protocol((0, 1), (2, 3, 4), widenings=1, widen_by=2, rungs=rungs)
    draw, outcomes = np.random.default_rng(seed), {}
    while wanted := [
        one for state in advance(arms, protocol, "", outcomes) for one in state.wanted
    ]:
        trial, until = wanted[draw.integers(len(wanted))]
        merit = draw.normal() - abs(math.log10(trial.learning_rate))
        rungs_so_far = outcomes[trial.id].rungs if trial.id in outcomes else {}
        if draw.random() < 0.1:
            outcomes[trial.id] = Outcome("diverged")
        elif until is None:
            outcomes[trial.id] = Outcome("finished", merit, rungs_so_far)
        else:
            outcomes[trial.id] = Outcome("waiting", rungs={**rungs_so_far, until: merit})
        yield advance(arms, protocol, "", outcomes), dict(outcomes)


@pytest.mark.parametrize(("rungs", "seed"), [*itertools.product([(), (0.25, 0.5)], range(5))])
def test_what_can_go_is_never_needed_again_and_in_the_end_one_stays(rungs, seed):
    gone, stopped = set(), set()
    for states, outcomes in moments([arm(name) for name in NAMES], rungs, seed):
        assert not gone & {trial.id for state in states for trial, _ in state.wanted}
        gone |= set(dispensable(states, outcomes))
        stopped |= {trial for state in states for trial in state.stopped}
        assert gone <= {trial for trial, one in outcomes.items() if one.status != "waiting"}
    assert bool(stopped) == bool(rungs)
    for state in states:
        over = dispensable(states, outcomes, state.arm.name)
        best = best_trial(state, outcomes)
        assert set(over) == set(outcomes)
        kept = {trial for trial, last_stays in over.items() if last_stays}
        assert kept == ({best.id} if best else set())
        assert not kept & gone  # it has not been removed on the way


def test_the_best_has_the_best_validation_score_of_the_fresh_seeds():
    *_, (states, outcomes) = moments([arm("a")], (), 3)
    (state,) = states
    merits = [outcomes[one.id].merit for one in state.measuring]
    assert outcomes[best_trial(state, outcomes).id].merit == np.nanmax(merits)
    assert best_trial(state, {}) is None


def test_a_trial_that_failed_keeps_its_own_because_it_is_tried_again():
    *_, (states, outcomes) = moments([arm("a")], (), 0)
    failed = states[0].tuning[0].id
    assert failed in dispensable(states, outcomes)
    assert failed not in dispensable(states, {**outcomes, failed: Outcome("failed")})


@pytest.mark.parametrize("keep", ["all", "last", "none"])
def test_what_the_user_asks_for_is_left_to_the_trials(keep):
    for states, outcomes in moments([arm("a", keep)], (0.5,), 0):
        assert dispensable(states, outcomes) == dispensable(states, outcomes, "a") == {}
