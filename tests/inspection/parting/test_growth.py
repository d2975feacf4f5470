"""How fast two runs part, against courses of a known form."""

import re

import numpy as np
import pytest

from gradcli.inspection.parting.growth import growth
from gradcli.inspection.parting.step_gaps import StepGaps
from gradcli.views.runs.parting_sentences import growth_sentence

STEPS = np.arange(1, 401)


NOISE = np.exp(0.25 * np.random.default_rng(0).standard_normal(len(STEPS)))


def grown(distance, *, since=20):
    """The growth of a distance (n,) from a step on, with noise of a factor of about 1.3."""
    whole = np.where(since <= STEPS, distance * NOISE, 0.0)
    nothing = np.zeros(len(STEPS), dtype=bool)
    return growth(StepGaps(STEPS, whole > 0, nothing, whole, whole, norms_compared=True))


@pytest.mark.parametrize("tenfold", [8.0, 30.0])
def test_exponential_growth_up_to_a_level(tenfold):
    found = grown(np.minimum(1e-7 * 10 ** ((STEPS - 20) / tenfold), 0.1))
    assert found.course == "exponential"
    assert found.steps_per_tenfold == pytest.approx(tenfold, rel=0.05)
    assert found.level == pytest.approx(0.1, rel=0.3)
    assert found.until == pytest.approx(20 + 6 * tenfold, abs=tenfold)
    assert found.begins_as_rounding
    assert [step for step, *_ in found.points] == [20, 30, 120]


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_growth_like_a_power_of_the_steps(exponent):
    found = grown(1e-4 * (STEPS - 19.0).clip(0) ** exponent)
    assert found.course == "power"
    assert found.exponent == pytest.approx(exponent, rel=0.15)
    assert not found.begins_as_rounding


def test_a_difference_at_once_does_not_grow():
    found = grown(np.full(len(STEPS), 0.3))
    assert found.course == "at once"
    assert "That is the size it keeps at once" in growth_sentence(found)


@pytest.mark.parametrize(
    "factor",
    [np.where(STEPS < 200, 1, 5.0), 1 + 8 * np.exp(-(((STEPS - 150) / 30) ** 2))],
    ids=["it stays larger", "it falls back"],
)
def test_a_size_that_is_left_later_is_not_one_that_it_keeps(factor):
    found = grown(0.05 * factor)
    said = growth_sentence(found)
    times, step = re.search(r"grows to ([\d.]+) times that by step (\d+)", said).groups()
    assert found.course == "varying"
    assert float(times) == pytest.approx(factor.max(), rel=0.5)
    assert factor[int(step) - 1] > 0.7 * factor.max()
    assert "keeps" not in said


def test_a_size_that_shrinks_is_not_one_that_it_keeps():
    said = growth_sentence(grown(np.where(STEPS < 100, 0.5, 0.05)))
    assert "shrinks to 0.0" in said or "shrinks to 0.1" in said
    assert "grows" not in said and "keeps" not in said


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_of_the_course_is_true_of_any_course(seed):
    """Of random walks, also in the single steps that a reader may look up."""
    drawn = np.random.default_rng(seed)
    walk = np.exp(np.cumsum(drawn.normal(0, 0.15, len(STEPS)))) * 1e-3
    found = grown(walk)
    seen = (walk * NOISE)[19:]
    medians = [np.median(seen[at : at + 5]) for at in range(len(seen) - 4)]
    if found.course == "at once":
        assert max(medians) <= 2 * found.first[1] and min(medians) >= found.first[1] / 2
    else:
        assert "keeps" not in growth_sentence(found)
    if max(medians) > 2 * max(found.level, found.first[1]):
        assert re.search(r"grows to|but around step", growth_sentence(found))


def test_a_peak_above_the_last_level_is_told():
    rising = np.minimum(1e-7 * 10 ** ((STEPS - 20) / 20), 0.01)
    found = grown(np.where((STEPS > 220) & (STEPS < 240), 0.3, rising))
    assert found.course == "exponential"
    assert re.search(r"but around step 2[23]\d it is 0\.[2-5]", growth_sentence(found))


def test_a_rise_until_the_end_is_not_said_to_end():
    said = growth_sentence(grown(1e-4 * (STEPS - 19.0).clip(0)))
    assert "until it reaches half of its last level" in said


def test_a_level_reached_within_a_few_steps_is_too_soon_and_not_too_few():
    found = grown(np.where(STEPS < 24, 1e-7, 0.1))
    assert (found.course, found.until) == ("short", 24)
    assert "at step 24, too soon to say how it grows" in growth_sentence(found)


def test_a_size_that_is_kept_only_from_the_second_different_step_on():
    differs = STEPS >= 20
    whole = np.where(STEPS > 20, 0.3, 0.0)
    gaps = StepGaps(STEPS, differs, ~(STEPS > 0), whole, whole, norms_compared=True)
    said = growth_sentence(growth(gaps))
    assert "apart by a relative 0 at step 20" in said
    assert "From step 21 on it keeps the size 0.300" in said


def test_a_jump_is_no_growth_that_a_line_describes():
    assert grown(np.where(STEPS < 200, 1e-6, 0.1)).course == "uneven"


def test_a_few_steps_tell_nothing():
    assert grown(np.full(len(STEPS), 0.3), since=396).course == "short"


def test_without_a_difference_there_is_no_growth():
    assert grown(np.zeros(len(STEPS))) is None
