"""Which rehearsals a search makes: on losses that are given by a formula."""

from __future__ import annotations

import math

import pytest

from gradcli.comparison.best_rate import RateSearch, affordable_steps, next_rehearsals

SEARCH = RateSearch(centre=0.002, seeds=(7, 8, 9), steps=40, total_steps=40)


def searched(search, loss_of, order=iter):
    """Make a whole search, in which `loss_of` says what a rehearsal reaches."""
    losses = {}
    while wanted := next_rehearsals(search, losses):
        assert not set(wanted) & set(losses)
        losses |= {one: loss_of(one) for one in order(wanted)}
    return losses


def bowl(at):
    """Losses that are lowest at an exponent, whatever the seed."""
    return lambda one: 1 + (one.exponent - at) ** 2


@pytest.mark.parametrize("best", range(-15, 16))
def test_the_best_rate_and_its_neighbours_are_rehearsed_with_every_seed(best):
    losses = searched(SEARCH, bowl(best))
    for exponent in (best - 1, best, best + 1):
        assert all(one in losses for one in SEARCH.rehearsals(exponent))


@pytest.mark.parametrize("best", [-14, -2, 0, 7])
@pytest.mark.parametrize("kept", [0, 1, 5, 12])
def test_what_comes_next_depends_on_the_losses_alone(best, kept):
    whole = searched(SEARCH, bowl(best))
    assert searched(SEARCH, bowl(best), order=reversed) == whole
    some = dict(sorted(whole.items(), key=lambda pair: pair[0].exponent)[:kept])
    while wanted := next_rehearsals(SEARCH, some):
        some |= {one: whole[one] for one in wanted}  # a KeyError if it asked for another one
    assert next_rehearsals(SEARCH, some) == ()


def test_scouting_is_shorter_than_rehearsing_and_has_one_seed():
    scouts = next_rehearsals(SEARCH, {})
    assert [one.exponent for one in scouts] == [-3, 0, 3]
    assert {(one.seed, one.steps) for one in scouts} == {(7, 20)}


def test_rates_that_diverge_are_left_behind():
    losses = searched(SEARCH, lambda one: math.inf if one.exponent > -8 else -one.exponent)
    rehearsed = {one.exponent for one in losses if one.steps == SEARCH.steps}
    assert {-7, -8, -9} <= rehearsed


def test_a_search_in_which_all_diverges_ends():
    losses = searched(SEARCH, lambda one: math.inf)
    assert {one.steps for one in losses} == {SEARCH.scouting_steps}
    assert min(one.exponent for one in losses) == -12


def test_a_loss_that_only_falls_ends_the_search():
    losses = searched(SEARCH, lambda one: -one.exponent)
    assert max(one.exponent for one in losses) <= 19


def test_rates_are_those_that_a_person_would_type():
    assert SEARCH.rate(0) == 0.002
    assert SEARCH.rate(1) == 0.0043
    assert SEARCH.rate(-3) == 0.0002


@pytest.mark.parametrize("total", [5, 320, 100_000])
def test_small_networks_have_longer_rehearsals_but_none_is_longer_than_the_training(total):
    steps = [affordable_steps(work, total) for work in (0, 1e6, 1e7, 1e8, 1e9, 1e12)]
    assert steps == sorted(steps, reverse=True)
    assert max(steps) <= total
    assert min(steps) == min(12, total)
