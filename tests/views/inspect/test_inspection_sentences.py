"""Sentences agree with the numbers in them, whatever the loss does."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gradcli.diagnosis.loss_trend import describe_loss_trend
from gradcli.views.inspect.inspection_sentences import convergence_sentences


def losses_of_all_kinds(seed: int):
    """Yield losses that fall, rise, settle, jump, scatter, cross zero or begin at it."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        count = int(rng.integers(20, 200))
        start, end = rng.normal(size=2) * 10 ** rng.uniform(-3, 3)
        course = np.linspace(start, end, count)
        if rng.random() < 0.5:
            course += rng.normal(size=count).cumsum() * abs(start - end) * rng.uniform(0, 0.3)
        course += rng.normal(size=count) * abs(start) * rng.choice([0, 0.01, 0.5])
        if rng.random() < 0.3:
            course[: count // 10] = rng.normal() * 10 ** rng.uniform(-3, 3)
        if rng.random() < 0.1:
            course[0] = 0.0
        yield course


@pytest.mark.parametrize("seed", range(5))
def test_verbs_agree_with_the_signs_of_their_numbers(seed):
    seen = set()
    for losses in losses_of_all_kinds(seed):
        convergence = describe_loss_trend(losses, np.ones(len(losses)))
        sentence = convergence_sentences(convergence)[0]
        assert convergence.scatter >= 0
        third, fourth = np.array_split(losses[len(losses) // 2 :], 2)
        if "is falling" in sentence:
            assert np.median(fourth) < np.median(third)
        if "is rising" in sentence:
            assert np.median(fourth) > np.median(third)
        if now := re.search(
            r"began at (\S+) and is now (\S+?)(, still (above|below))?[.,]? ?", sentence
        ):
            first, last = (
                round(value, 4) for value in (convergence.first_loss, convergence.last_loss)
            )
            assert ("still above" in sentence) == ("is falling" in sentence and last > first)
            assert ("still below" in sentence) == ("is rising" in sentence and last < first)
            assert float(now[1].replace(",", "")) == pytest.approx(first, rel=1e-3, abs=1e-4)
        if "settled" in sentence:
            assert convergence.last_loss < convergence.first_loss
        seen.add(convergence.trend)
    assert {"falling", "rising"} <= seen
