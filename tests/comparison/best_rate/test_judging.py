"""What the losses of rehearsals say: against closed forms, and where they say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.best_rate import RateSearch, judged, next_rehearsals
from gradcli.comparison.best_rate.judging import SHORTER_FAVOURS, best_exponent

SEARCH = RateSearch(centre=1.0, seeds=(0, 1, 2, 3), steps=50, total_steps=50)


def found(loss_of, search=SEARCH):
    losses = {}
    while wanted := next_rehearsals(search, losses):
        losses |= {one: loss_of(one) for one in wanted}
    return judged(search, losses)


def bowls(*bests):
    """Losses that each seed has lowest at an exponent of its own."""
    return lambda one: 1 + (one.exponent - bests[one.seed]) ** 2


def exponent(rate):
    return 3 * math.log10(rate)


@pytest.mark.parametrize("best", np.linspace(-13, 13, 40))
def test_the_vertex_of_a_parabola_is_found(best):
    proposed = found(bowls(best, best, best, best))
    assert proposed.is_found
    assert exponent(proposed.rate) == pytest.approx(best, abs=0.07)  # two digits
    low, high = proposed.interval
    assert low < proposed.rate < high


def test_the_interval_is_students():
    bests = (0.9, 1.1, 1.4, 0.6)
    proposed = found(bowls(*bests))
    assert exponent(proposed.rate) == pytest.approx(np.mean(bests), abs=0.07)
    low, high = stats.t.interval(0.95, 3, np.mean(bests), stats.sem(bests))
    half = math.hypot((high - low) / 2, 0.5)  # the grid's resolution is added
    for end, sign in zip(proposed.interval, (-1, 1), strict=True):
        assert exponent(end) == pytest.approx(np.mean(bests) + sign * half, abs=0.1)


def test_seeds_that_differ_more_have_a_wider_interval():
    near, far = found(bowls(0, 0.2, 0, -0.2)), found(bowls(0, 0.9, 0, -0.9))
    assert far.interval[0] < near.interval[0] < near.interval[1] < far.interval[1]


def test_the_rate_is_lowered_for_what_shortness_does():
    longer = RateSearch(centre=1.0, seeds=(0, 1, 2, 3), steps=50, total_steps=5000)
    same, lowered = found(bowls(0, 0, 0, 0)), found(bowls(0, 0, 0, 0), longer)
    assert same.lowered_by == 1
    assert lowered.lowered_by == pytest.approx(100**SHORTER_FAVOURS)
    assert lowered.rate == pytest.approx(same.rate / lowered.lowered_by, rel=0.02)
    width, wider = (math.log(one.interval[1] / one.interval[0]) for one in (same, lowered))
    assert wider > width


@pytest.mark.parametrize("longer", [0.5, 4.0])
def test_updates_that_are_longer_at_first_raise_the_rate(longer):
    plain = RateSearch(centre=1.0, seeds=(0, 1, 2, 3), steps=50, total_steps=5000)
    allowed = RateSearch(1.0, (0, 1, 2, 3), 50, 5000, longer_at_first=longer)
    without, raised = found(bowls(0, 0, 0, 0), plain), found(bowls(0, 0, 0, 0), allowed)
    assert raised.rate == pytest.approx(longer * without.rate, rel=0.03)
    assert raised.lowered_by == without.lowered_by
    assert raised.interval == pytest.approx([longer * end for end in without.interval], rel=0.05)


@pytest.mark.parametrize("losses", [(3, 1, 2), (1.01, 1, 9), (0.4, 0.2, 0.21), (7, -3, 0)])
def test_a_vertex_is_that_of_the_fitted_parabola(losses):
    bend, slope, _ = np.polyfit([4, 5, 6], losses, 2)
    assert best_exponent([4, 5, 6], np.array(losses)) == pytest.approx(-slope / (2 * bend))


def test_beside_a_rate_that_diverged_there_is_no_vertex():
    assert best_exponent([0, 1, 2], np.array([3.0, 1.0, np.inf])) == 1
    assert best_exponent([0, 1, 2], np.array([1.0, 2.0, 3.0])) == 0


def test_a_cliff_does_not_prevent_a_proposal():
    proposed = found(lambda one: math.inf if one.exponent > 2 else (one.exponent - 2) ** 2 + 1)
    assert proposed.is_found
    assert exponent(proposed.rate) == pytest.approx(2, abs=0.07)
    assert any(math.isinf(one.mean) for one in proposed.rehearsed)


@pytest.mark.parametrize(
    ("reason", "loss_of"),
    [
        ("diverged", lambda one: math.inf),
        ("diverged", lambda one: math.inf if one.steps == SEARCH.steps and one.seed else 1.0),
        ("flat", lambda one: 1.0),
        ("flat", lambda one: 2 + one.seed + 0.001 * one.exponent**2),
        ("at-the-end", lambda one: -one.exponent),
        ("seeds-disagree", bowls(-3, 3, -3, 3)),
    ],
)
def test_where_nothing_can_be_said_it_says_why(reason, loss_of):
    proposed = found(loss_of)
    assert proposed.reason == reason
    assert not proposed.is_found
    assert math.isnan(proposed.rate)
    assert proposed.scouted


@pytest.mark.parametrize(("scale", "shift"), [(0.1, 0), (100, 0), (1, -5), (3, 40)])
def test_the_unit_of_the_loss_does_not_matter(scale, shift):
    plain = found(bowls(0.3, 0.1, 0.6, 0.2))
    scaled = found(lambda one: shift + scale * bowls(0.3, 0.1, 0.6, 0.2)(one))
    assert scaled.rate == pytest.approx(plain.rate, rel=0.03)
