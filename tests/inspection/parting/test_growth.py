"""How fast two runs part, against courses of a known form."""

import numpy as np
import pytest

from gradcli.inspection.parting.growth import growth
from gradcli.inspection.parting.step_gaps import StepGaps
from gradcli.views.runs.parting_sentences import growth_sentence

STEPS = np.arange(1, 401)


def grown(distance, *, since=20):
    """The growth of a distance (n,) from a step on, with noise of a factor of about 1.3."""
    noise = np.exp(0.25 * np.random.default_rng(0).standard_normal(len(STEPS)))
    whole = np.where(since <= STEPS, distance * noise, 0.0)
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


def test_a_jump_is_no_growth_that_a_line_describes():
    assert grown(np.where(STEPS < 200, 1e-6, 0.1)).course == "uneven"


def test_a_few_steps_tell_nothing():
    assert grown(np.full(len(STEPS), 0.3), since=396).course == "short"


def test_without_a_difference_there_is_no_growth():
    assert grown(np.zeros(len(STEPS))) is None
