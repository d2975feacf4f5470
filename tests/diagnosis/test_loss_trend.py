"""Trends, spikes and jumps of the rate, by hand-made series whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import (
    BATCH_LOSS,
    BATCH_LOSS_BEFORE,
    BATCH_NORM,
    NOISY,
    RATE_CHANGE,
    SPIKE,
    SPIKE_HARM,
)
from gradcli.diagnosis.loss_trend import (
    RateChange,
    Spike,
    describe_loss_trend,
    find_rate_changes,
    find_spikes,
    finite_rows,
)
from gradcli.records import LayerInfo, ParameterInfo, StepRecords

LAYERS = tuple(
    LayerInfo(name, "Linear", at, (ParameterInfo(f"{name}.weight", (8, 8)),))
    for at, name in enumerate(("first", "last"))
)


def steps_of(norms, *, losses=None, rates=None, steps=None) -> StepRecords:
    """Steps with these gradient norms, all in the first layer, or in two layers (n, 2)."""
    norms = np.asarray(norms, dtype=float)
    norms = norms if norms.ndim == 2 else np.stack([norms, np.zeros(len(norms))], axis=1)
    count = len(norms)
    return StepRecords(
        step=np.arange(1, count + 1) if steps is None else np.asarray(steps),
        epoch=np.ones(count),
        loss=np.ones(count) if losses is None else np.asarray(losses, dtype=float),
        learning_rate=np.ones(count) if rates is None else np.asarray(rates, dtype=float),
        grad_norm_before_clip=np.linalg.norm(norms, axis=1),
        clip_coefficient=np.ones(count),
        parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms,
    )


def spikes_of(norms, **more) -> tuple[Spike, ...]:
    return find_spikes(steps_of(norms, **more), LAYERS)


def trend_of(losses) -> str:
    return describe_loss_trend(np.asarray(losses, dtype=float), np.ones(len(losses))).trend


# The trend ----------------------------------------------------------------------------------


def test_of_no_steps_nothing_is_known():
    found = describe_loss_trend(np.empty(0), np.empty(0))
    assert found.trend == "unknown"
    assert np.isnan([found.first_loss, found.last_loss, found.scatter, found.first_norm]).all()
    assert math.isnan(found.last_norm) and math.isnan(found.norm_follows_loss)


@pytest.mark.parametrize(("count", "tenth"), [(5, 1), (19, 1), (20, 2), (27, 2), (36, 3)])
def test_the_last_loss_is_the_median_of_the_last_tenth(count, tenth):
    losses, norms = 1000.0 - np.arange(count) ** 2, 5.0 + np.arange(count) ** 2
    found = describe_loss_trend(losses, norms)
    assert found.first_loss == losses[0]
    assert found.last_loss == np.median(losses[count - tenth :])
    assert found.first_norm == np.median(norms[:tenth])
    assert found.last_norm == np.median(norms[count - tenth :])


@pytest.mark.parametrize(("count", "known"), [(19, False), (20, True)])
def test_twenty_steps_are_needed(count, known):
    losses = np.geomspace(2, 1, count)
    found = describe_loss_trend(losses, losses)
    assert (found.trend != "unknown") == known
    assert math.isnan(found.scatter) != known
    assert math.isnan(found.norm_follows_loss) != known


@pytest.mark.parametrize(("later", "trend"), [(1.0, "falling"), (3.0, "rising")])
def test_a_step_is_beyond_chance_from_eight_losses_on_either_side(later, trend):
    """The medians differ by d, which is also the interquartile range of both together.

    Three standard errors of a median of n: 3 * 1.2533 * d / 1.349 / sqrt(n), or 2.79 d / sqrt(n).
    """
    seven, eight = ([2.0] * (3 * n) + [later] * n for n in (7, 8))
    assert trend_of(seven) == "plateau"
    assert trend_of(eight) == trend


def test_only_the_second_half_makes_a_trend():
    assert trend_of([5.0] * 30 + [1.0] * 30) == "converged"


@pytest.mark.parametrize(
    ("first", "late", "last", "trend"),
    [
        (10.0, 4.0, 4.0, "converged"),
        (10.0, 5.0, 5.0, "plateau"),  # a half is left
        (10.0, 4.0, 6.0, "plateau"),
        (10.0, 6.0, 4.0, "plateau"),
        (0.0, -1.0, -1.0, "plateau"),  # a share of nothing, or of less, says nothing
        (-2.0, -3.0, -3.0, "plateau"),
    ],
)
def test_converged_takes_less_than_half_of_the_first_loss_to_the_end(first, late, last, trend):
    """The second half is at one level but for the last tenth: it does not fall beyond chance."""
    assert trend_of([first] + [late] * 35 + [last] * 4) == trend


@pytest.mark.parametrize(("times", "trend"), [(0.99, "plateau"), (1.01, "noise")])
@pytest.mark.parametrize("level", [3.0, -3.0])
def test_noise_is_a_scatter_above_its_limit(times, trend, level):
    """Of a cycle of three, neighbours differ by h, h and 2h: in the median by h.

    So do those two apart. For normal noise of deviation s it is 0.6745 * sqrt(2) * s.
    """
    height = times * NOISY.value * 3.0 * 0.6745 * math.sqrt(2)
    losses = level + height * np.tile([-1.0, 0.0, 1.0], 20)
    found = describe_loss_trend(losses, np.ones(60))
    assert found.scatter == pytest.approx(times * NOISY.value)
    assert found.trend == trend


def test_two_tasks_in_turn_are_not_noise():
    found = describe_loss_trend(np.tile([1.0, 3.0], 30), np.ones(60))
    assert found.scatter == 0


def test_pairs_of_equal_losses_are_not_noise():
    found = describe_loss_trend(np.repeat(np.tile([1.0, 3.0], 20), 3), np.ones(120))
    assert found.scatter == 0


def test_a_loss_around_zero_has_no_relative_scatter():
    found = describe_loss_trend(np.tile([-1.0, 0.0, 1.0], 20), np.ones(60))
    assert (found.scatter, found.trend) == (0, "plateau")


@pytest.mark.parametrize(
    ("losses", "norms", "expected"),
    [
        (np.geomspace(1, 2, 20), 1 / np.geomspace(1, 2, 20), -1.0),
        (np.geomspace(1, 2, 20), np.ones(20), math.nan),
        (np.ones(20), np.geomspace(1, 2, 20), math.nan),
        ([-1.0] * 18 + [1.0, 2.0], np.geomspace(1, 2, 20), 1.0),  # two can be compared
        ([0.0] * 18 + [1.0, 2.0], np.geomspace(1, 2, 20), 1.0),
        (np.geomspace(1, 2, 20), [0.0] * 18 + [2.0, 1.0], -1.0),
        ([0.0] * 19 + [1.0], np.geomspace(1, 2, 20), math.nan),
        ([0.0] * 20, np.geomspace(1, 2, 20), math.nan),
    ],
)
def test_logarithms_are_compared_where_there_are_any(losses, norms, expected):
    found = describe_loss_trend(np.array(losses), np.array(norms)).norm_follows_loss
    assert found == pytest.approx(expected, nan_ok=True)


def test_rows_are_finite_if_loss_and_norm_are():
    steps = steps_of([1.0, math.nan, 1.0, math.inf, 1.0], losses=[1.0, 1.0, math.inf, 1.0, 1.0])
    assert finite_rows(steps).tolist() == [0, 4]


# Which norms are spikes ---------------------------------------------------------------------


@pytest.mark.parametrize("place", [10, 24, 25, 40])
@pytest.mark.parametrize("times", [1.0, 1.01])
def test_a_spike_is_above_its_limit_near_the_start_too(place, times):
    norms = np.full(60, 2.0)
    norms[place] = times * SPIKE.value * 2.0
    found = spikes_of(norms)
    assert [one.step for one in found] == ([place + 1] if times > 1 else [])
    assert all(one.factor == pytest.approx(times * SPIKE.value) for one in found)


@pytest.mark.parametrize(("place", "median"), [(11, 6.0), (12, 6.5), (24, 12.5), (25, 13.0),
                                               (26, 14.0), (50, 38.0)])  # fmt: skip
def test_a_norm_is_compared_with_the_median_of_up_to_25_before_it(place, median):
    norms = np.arange(1.0, 61.0)
    norms[place] = 1000.0
    (spike,) = spikes_of(norms)
    assert (spike.step, spike.factor) == (place + 1, pytest.approx(1000 / median))
    assert spike.factor_at == pytest.approx(1000 / median)
    assert spike.factor_previous == pytest.approx(place / median)


def test_the_first_ten_norms_cannot_be_compared():
    for place in range(10):
        norms = np.ones(60)
        norms[place] = 1000.0
        assert spikes_of(norms) == ()


@pytest.mark.parametrize("place", [15, 40])
def test_after_norms_of_zero_nothing_is_a_spike(place):
    norms = np.zeros(60)
    norms[place] = 5.0
    assert spikes_of(norms) == ()


@pytest.mark.parametrize(("gap", "steps"), [(25, [31]), (26, [31, 57])])
def test_spikes_at_most_25_steps_apart_are_one(gap, steps):
    norms = np.ones(90)
    norms[[30, 30 + gap]] = 100.0, 300.0
    found = spikes_of(norms)
    assert [one.step for one in found] == steps
    assert [one.factor for one in found] == ([300.0] if gap == 25 else [100.0, 300.0])


def test_a_spike_is_in_the_layer_furthest_above_its_own_median():
    norms = np.tile([100.0, 1.0], (60, 1))
    norms[:35, 1] = 0.1  # longer ago than 25 steps, it counts no more
    norms[50:] = [3000.0, 29.0]
    assert spikes_of(norms)[0].layer == "first"
    norms[50:] = [3000.0, 31.0]
    assert spikes_of(norms)[0].layer == "last"


def test_a_layer_that_had_no_gradient_is_not_the_spikes():
    norms = np.tile([0.0, 1.0], (60, 1))
    norms[50] = [1000.0, 50.0]
    assert spikes_of(norms)[0].layer == "last"


# The losses around a spike ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [(50, range(30, 50), range(51, 71)), (12, range(12), range(13, 33)),
     (90, range(70, 90), range(91, 100))],
)  # fmt: skip
def test_losses_are_medians_of_up_to_20_steps_on_either_side(place, before, after):
    norms = np.ones(100)
    norms[place] = 100.0
    losses = np.arange(100.0)[::-1] ** 2
    (spike,) = spikes_of(norms, losses=losses)
    assert spike.loss_before == np.median(losses[list(before)])
    assert spike.loss_after == np.median(losses[list(after)])
    assert spike.highest_before == losses[before[0]]
    assert spike.loss_previous == losses[place - 1]
    assert spike.loss_at == losses[place]
    assert spike.loss_next == losses[place + 3]  # the lowest of three


def test_losses_after_a_spike_are_those_after_its_last_step():
    norms, losses = np.ones(60), np.ones(60)
    norms[[30, 32]] = 100.0
    losses[30:33], losses[33:] = 50.0, 7.0
    (spike,) = spikes_of(norms, losses=losses)
    assert (spike.loss_before, spike.loss_at, spike.loss_after) == (1.0, 50.0, 7.0)


def test_after_a_spike_in_the_last_step_there_is_nothing():
    (spike,) = spikes_of([1.0] * 30 + [100.0])
    assert math.isnan(spike.loss_next) and math.isnan(spike.loss_after)
    assert spike.steps_to_recover == math.inf


@pytest.mark.parametrize(
    ("high", "low", "recovered"),
    [
        *((0, 5, 1), (0, 4, math.inf), (2, 3, 1), (3, 3, 2), (6, 20, 5), (6, 2, math.inf)),
        *((20_001, 9, 20_000), (20_002, 9, 20_001), (20_003, 9, 20_002), (40_003, 9, 40_002)),
    ],
)
def test_a_loss_is_back_once_three_of_five_are(high, low, recovered):
    """As many losses above that of before the spike, then as many that are equal to it."""
    losses = np.array([2.0] * 30 + [9.0] + [3.0] * high + [2.0] * low)
    norms = np.ones(len(losses))
    norms[30] = 100.0
    (spike,) = spikes_of(norms, losses=losses)
    assert spike.steps_to_recover == recovered


# Whose fault a spike is ---------------------------------------------------------------------

#: Its batch stands out by twice the limit, and nothing before or after it does.
OUTLIER = Spike(
    30, "first", 20.0, loss_before=1.0, loss_after=1.0, loss_at=2 * BATCH_LOSS.value, loss_next=1.0,
    loss_previous=1.0, highest_before=1.0, factor_at=20.0, factor_previous=1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ({}, True),
        ({"loss_at": BATCH_LOSS.value}, False),
        ({"loss_at": BATCH_LOSS.value * 1.01}, True),
        ({"loss_at": 2.0, "loss_next": 0.9}, False),
        ({"loss_at": 8.0, "loss_next": 4.0}, False),  # the losses after it stand out too
        ({"loss_at": 8.0, "loss_next": 3.9}, True),
        ({"loss_previous": BATCH_LOSS_BEFORE.value}, True),
        ({"loss_previous": BATCH_LOSS_BEFORE.value * 1.01}, False),
        ({"highest_before": BATCH_LOSS.value}, True),
        ({"highest_before": BATCH_LOSS.value * 1.01}, False),
        ({"factor_previous": BATCH_LOSS_BEFORE.value}, True),
        ({"factor_previous": BATCH_LOSS_BEFORE.value * 1.01}, False),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.25, 4.0])
def test_a_batch_is_to_blame_if_it_stands_out_alone(changes, alone, scale):
    changed = replace(OUTLIER, **changes)
    losses = ("loss_before", "loss_at", "loss_next", "loss_previous", "highest_before")
    scaled = {name: scale * getattr(changed, name) for name in losses}
    assert replace(changed, **scaled).is_of_the_batch == alone


@pytest.mark.parametrize(
    ("changes", "unannounced"),
    [
        ({}, True),
        ({"factor_at": BATCH_NORM.value}, False),
        ({"loss_at": SPIKE_HARM.value}, False),
        ({"loss_at": 1.0}, False),
        ({"loss_at": SPIKE_HARM.value * 1.01}, True),
        ({"loss_at": 1.0, "loss_before": 1.0 / SPIKE_HARM.value / 1.01}, True),
        ({"loss_previous": BATCH_LOSS_BEFORE.value * 1.01}, False),
    ],
)
def test_if_its_update_broke_the_model_nothing_may_have_announced_it(changes, unannounced):
    """All losses after it are as high as its own."""
    broke = replace(OUTLIER, loss_next=100.0, factor_at=BATCH_NORM.value * 1.01)
    changed = replace(broke, **changes)
    assert changed.is_unannounced == changed.is_of_the_batch == unannounced


# The learning rate --------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1.0, 1.01])
@pytest.mark.parametrize("place", [1, 30, 59])
def test_a_rate_jumps_if_it_changes_by_more_than_its_limit(times, place):
    for factor in (times * RATE_CHANGE.value, 1 / (times * RATE_CHANGE.value)):
        rates = np.ones(60)
        rates[place:] = factor
        found = find_rate_changes(steps_of(np.ones(60), rates=rates))
        assert found == ((RateChange(place + 1, factor),) if times > 1 else ())


@pytest.mark.parametrize("count", [2, 20_001, 20_002])
def test_the_last_two_steps_are_compared(count):
    rates = np.ones(count)
    rates[-1] = 10.0
    assert find_rate_changes(steps_of(np.ones(count), rates=rates)) == (RateChange(count, 10.0),)


def test_rates_of_zero_and_steps_that_are_missing_are_not_compared():
    to_zero = steps_of(np.ones(4), rates=[1.0, 0.0, 0.0, 1.0])
    assert find_rate_changes(to_zero) == ()
    for steps, count in (([1, 2, 9, 10], 0), ([1, 2, 3, 4], 1)):
        gap = steps_of(np.ones(4), rates=[1.0, 1.0, 10.0, 10.0], steps=steps)
        assert len(find_rate_changes(gap)) == count
    assert find_rate_changes(steps_of(np.ones(1))) == ()
