"""A run's norms over time: bins, trends and what must not disappear in them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.inspection.history import MOST_BINS, norm_history
from gradcli.records import LayerInfo, ParameterInfo, StepRecords

LAYERS = tuple(
    LayerInfo(name, "Linear", depth, (ParameterInfo(f"{name}.weight", (4, 4)),))
    for depth, name in enumerate(("first", "second"))
)


def steps_of(norms, *, clip=1.0) -> StepRecords:
    """Steps with these norms by layer, (n, 2), all clipped to `clip` of them."""
    count = len(norms)
    return StepRecords(
        step=np.arange(1, count + 1), epoch=np.ones(count), loss=np.linspace(2, 1, count),
        learning_rate=np.full(count, 0.1),
        grad_norm_before_clip=np.sqrt(np.square(norms).sum(axis=1)),
        clip_coefficient=np.full(count, clip), parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms * clip,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 7, MOST_BINS, MOST_BINS + 1, 5000])
def test_the_bins_are_bounded_and_hold_every_step_once(count):
    history, _ = norm_history(steps_of(np.ones((count, 2))), LAYERS)
    assert len(history.first_step) == min(count, MOST_BINS)
    assert history.first_step[0] == 1
    assert history.last_step[-1] == count
    assert (history.first_step[1:] == history.last_step[:-1] + 1).all()
    assert history.log10_norm.shape == (2, len(history.first_step))


def test_a_bin_shows_the_median_of_its_steps():
    norms = np.exp(np.random.default_rng(0).normal(0, 1, (240, 2)))
    history, _ = norm_history(steps_of(norms), LAYERS)
    pairs = norms.reshape(120, 2, 2)
    assert history.log10_norm == pytest.approx(np.log10(np.median(pairs, axis=1)).T)
    total = np.linalg.norm(norms, axis=1).reshape(120, 2)
    assert history.log10_total_norm == pytest.approx(np.log10(np.median(total, axis=1)))


def test_zeros_and_non_finite_values_stay_visible():
    norms = np.ones((60_000, 2))
    norms[:, 0] = 0.0
    norms[30_123, 1] = math.nan  # one step among five hundred in its bin
    norms[-1, 1] = math.inf
    history, trends = norm_history(steps_of(norms), LAYERS)
    assert (history.log10_norm[0] == -math.inf).all()
    hidden = np.flatnonzero(np.isnan(history.log10_norm[1]))
    assert hidden.tolist() == [30_123 // 500, MOST_BINS - 1]
    assert trends[1].before.last == 1.0  # what is finite there


def test_trends_tell_first_last_and_slope_before_and_after_clipping():
    norms = np.geomspace(10.0, 0.1, 1000)[:, None] * np.array([1.0, 1e-6])
    history, trends = norm_history(steps_of(norms, clip=0.5), LAYERS)
    for trend, scale in zip(trends, (1.0, 1e-6), strict=True):
        assert trend.before.first == pytest.approx(scale * np.median(norms[:100, 0]))
        assert trend.before.last == pytest.approx(scale * np.median(norms[-100:, 0]))
        assert trend.before.slope == pytest.approx(-2.0, rel=0.02)
        assert trend.after.first == pytest.approx(trend.before.first / 2)
        assert trend.after.slope == pytest.approx(trend.before.slope)
    assert (history.clipped_fraction == 1.0).all()


def test_the_history_of_some_steps_is_that_part_of_the_whole():
    whole = steps_of(np.exp(np.random.default_rng(1).normal(0, 1, (100, 2))))
    part = replace(
        whole,
        **{
            name: getattr(whole, name)[:50]
            for name in whole.__dataclass_fields__
            if name != "phase_seconds"
        },
    )
    first, second = norm_history(part, LAYERS)[0], norm_history(whole, LAYERS)[0]
    assert first.log10_norm == pytest.approx(second.log10_norm[:, :50])
