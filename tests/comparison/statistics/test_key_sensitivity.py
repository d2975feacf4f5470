"""What each key of a search decides."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gradcli.comparison.search import FullGrid, Range, Sobol, Tried
from gradcli.comparison.statistics import key_sensitivity

RANGES = [
    Range("lr", 1e-4, 1.0),
    Range("decay", 1e-3, 1.0),
    Range("momentum", 0.5, 0.995, "log_from_one"),
]


def positions(setting, ranges=RANGES):
    return [one.position(value) for one, (_, value) in zip(ranges, setting, strict=True)]


def search(merit_of, *, keys=2, settings=16, seed=0):
    """Settings of Sobol's sequence, with a merit that depends on their positions."""
    ranges = RANGES[:keys]
    found = Sobol().propose(ranges, [], count=settings, total=settings, seed=seed)
    return ranges, [Tried(one, float(merit_of(*positions(one, ranges))), 1.0) for one in found]


def by_key(ranges, tried, **options):
    return {one.key: one for one in key_sensitivity(ranges, tried, **options).keys}


def test_the_shares_of_a_sum_on_a_grid():
    """The ranks are 4 · level of a + level of b: 16 parts of the variance to 1, and no rest."""
    ranges = [Range("a", 0.0, 1.0, "linear"), Range("b", 0.0, 1.0, "linear")]
    grid = FullGrid().propose(ranges, [], count=16, total=16, seed=0)
    tried = [Tried(one, 4 * one[0][1] + one[1][1], 1.0) for one in grid]
    found = key_sensitivity(ranges, tried)
    assert [one.share for one in found.keys] == pytest.approx([16 / 17, 1 / 17])
    assert found.rest == pytest.approx(0)
    assert all(one.p_adjusted < 0.01 for one in found.keys)


def test_the_shares_are_the_mean_gains_over_all_orders():
    """Against least squares in every order of the keys, with correlated keys and noise."""
    generator = np.random.default_rng(5)
    x = generator.random((20, 3))
    x[:, 1] = 0.5 * x[:, 0] + 0.5 * x[:, 1]
    ranges = [Range(key, 0.0, 1.0, "linear") for key in "abc"]
    merits = x[:, 0] - (x[:, 2] - 0.3) ** 2 + generator.normal(0, 0.2, 20)
    tried = [
        Tried(tuple(zip("abc", row, strict=True)), merit, 1.0)
        for row, merit in zip(x.tolist(), merits.tolist(), strict=True)
    ]

    ranks = stats.rankdata(merits)
    total = np.sum((ranks - ranks.mean()) ** 2)

    def explained(keys):
        terms = np.column_stack([np.ones(20), *(x[:, [k]] ** [1, 2] for k in keys)])
        fitted = terms @ np.linalg.lstsq(terms, ranks)[0]
        return 1 - np.sum((ranks - fitted) ** 2) / total

    whole = explained([0, 1, 2])
    noise = (1 - whole) / (20 - 1 - 6)
    gains = np.zeros(3)
    for order in itertools.permutations(range(3)):
        for place, key in enumerate(order):
            gains[key] += explained(order[: place + 1]) - explained(order[:place]) - 2 * noise
    found = key_sensitivity(ranges, tried)
    assert [one.share for one in found.keys] == pytest.approx(gains / 6)
    assert 1 - found.rest == pytest.approx(1 - (1 - whole) * 19 / 13)  # the adjusted R²


def test_a_key_that_decides_is_told_from_one_that_does_not():
    ranges, tried = search(lambda a, b, c: -((a - 0.4) ** 2), keys=3, settings=24)
    found = by_key(ranges, tried)
    assert found["lr"].share > 0.75
    assert found["lr"].p_adjusted < 0.01
    for other in ("decay", "momentum"):
        assert abs(found[other].share) < 0.15
        assert found[other].p_adjusted > 0.05


def test_two_keys_that_decide_are_both_found():
    ranges, tried = search(lambda a, b: -((a - 0.4) ** 2) - 0.7 * (b - 0.6) ** 2, settings=32)
    found = by_key(ranges, tried)
    assert found["lr"].share > found["decay"].share > 0.15
    assert max(one.p_adjusted for one in found.values()) < 0.01


@pytest.mark.parametrize("bend", [np.exp, lambda x: x**3, lambda x: 5 * x - 100])
def test_only_the_order_of_merits_matters(bend):
    ranges, tried = search(lambda a, b: a + 0.3 * math.sin(9 * b))
    bent = [replace(one, merit=float(bend(one.merit))) for one in tried]
    for before, after in zip(
        key_sensitivity(ranges, tried).keys, key_sensitivity(ranges, bent).keys, strict=True
    ):
        assert (before.share, before.p_adjusted) == (after.share, after.p_adjusted)


def test_the_order_of_keys_does_not_matter():
    ranges, tried = search(lambda a, b, c: a + 0.5 * math.sin(9 * b) - c**2, keys=3)
    expected = by_key(ranges, tried, tolerance=0.3)
    for order in itertools.permutations(range(3)):
        turned = [replace(one, setting=tuple(one.setting[k] for k in order)) for one in tried]
        found = by_key([ranges[k] for k in order], turned, tolerance=0.3)
        for key, one in expected.items():
            assert found[key].share == pytest.approx(one.share)
            assert found[key].p_adjusted == one.p_adjusted
            assert found[key].good == one.good


def test_the_order_of_settings_does_not_matter_for_the_shares():
    ranges, tried = search(lambda a, b: a - b**2)
    there, back = (key_sensitivity(ranges, each).keys for each in (tried, tried[::-1]))
    assert [one.share for one in there] == pytest.approx([one.share for one in back])
    assert [one.good for one in there] == [one.good for one in back]


def test_divergence_is_the_worst_result():
    """All above half of lr diverges, and nothing else differs: lr decides by that alone."""
    ranges, tried = search(lambda a, b: -math.inf if a > 0.5 else 0.5)
    found = by_key(ranges, tried)
    assert found["lr"].p_adjusted < 0.01
    assert found["lr"].share > 0.6
    assert found["decay"].p_adjusted > 0.05


def test_what_was_stopped_early_is_worse_whatever_its_merit_then():
    """The merit at a rung may look better than that of a trial that went on."""
    ranges, tried = search(lambda a, b: 0.9 + a / 100)
    halved = [
        replace(one, merit=0.99, fraction=0.25) if positions(one.setting, ranges)[1] < 0.5 else one
        for one in tried
    ]
    found = by_key(ranges, halved)
    assert found["decay"].share > found["lr"].share > 0
    assert found["decay"].good[0] > 0.03  # where half of its range begins


def test_the_p_value_is_near_that_of_the_f_test():
    """Both compare the model with and without a key; ranks of many settings are nearly normal."""
    for seed in range(8):
        generator = np.random.default_rng(seed)
        ranges, tried = search(lambda a, b: 0.1 * a + generator.normal(0, 0.1), settings=60)  # noqa: B023
        x = np.array([positions(one.setting, ranges) for one in tried])
        ranks = stats.rankdata([one.merit for one in tried])

        def left(*keys, x=x, ranks=ranks):
            terms = np.column_stack([np.ones(60), *(x[:, [k]] ** [1, 2] for k in keys)])
            return np.sum((ranks - terms @ np.linalg.lstsq(terms, ranks)[0]) ** 2)

        p_values = [
            stats.f.sf((left(other) - left(0, 1)) / 2 / (left(0, 1) / 55), 2, 55)
            for other in (1, 0)
        ]
        low, high = sorted(p_values)
        found = [one.p_adjusted for one in key_sensitivity(ranges, tried).keys]
        assert sorted(found) == pytest.approx(
            [min(2 * low, 1), max(min(2 * low, 1), high)], abs=0.05
        )


@pytest.mark.parametrize(("keys", "settings"), [(2, 12), (3, 16)])
def test_equal_settings_are_seldom_said_to_differ(keys, settings):
    """Without any effect, the chance of a claim about any key of an arm is 5%."""
    generator = np.random.default_rng(keys)
    searches = 400
    claims = 0
    for seed in range(searches):
        ranges, tried = search(
            lambda *_: generator.normal(), keys=keys, settings=settings, seed=seed
        )
        claims += min(one.p_adjusted for one in key_sensitivity(ranges, tried).keys) <= 0.05
    assert stats.binomtest(claims, searches, 0.05, alternative="greater").pvalue > 0.01
    assert claims > 0


def test_a_key_of_no_effect_beside_one_with_an_effect_has_no_share_in_the_mean():
    generator = np.random.default_rng(3)
    shares = [
        by_key(*search(lambda a, b: -((a - 0.4) ** 2) + generator.normal(0, 0.05), seed=seed))
        for seed in range(100)
    ]
    idle = [one["decay"].share for one in shares]
    assert abs(np.mean(idle)) < 3 * np.std(idle) / 10
    assert np.mean([one["decay"].p_adjusted <= 0.05 for one in shares]) <= 0.11


@pytest.mark.parametrize(("keys", "settings"), [(1, 4), (2, 8), (3, 12)])
def test_too_few_settings_say_nothing_but_still_have_a_best(keys, settings):
    ranges, tried = search(lambda a, *_: a, keys=keys, settings=settings)
    found = key_sensitivity(ranges, tried)
    assert (found.settings, found.unknown) == (settings, "few-settings")
    assert all(math.isnan(one.share) and math.isnan(one.p_adjusted) for one in found.keys)
    assert math.isnan(found.rest)
    best = max(tried, key=lambda one: one.merit)
    assert found.keys[0].best_position == positions(best.setting, ranges)[0]
    one_more = search(lambda a, *_: a, keys=keys, settings=settings + 1)
    assert not any(math.isnan(one.share) for one in key_sensitivity(*one_more).keys)


@pytest.mark.parametrize("merit", [0.5, -math.inf])
def test_results_that_are_all_alike_say_nothing(merit):
    ranges, tried = search(lambda *_: merit)
    found = key_sensitivity(ranges, tried)
    assert found.unknown == ("all-failed" if merit == -math.inf else "all-alike")
    assert all(math.isnan(one.share) for one in found.keys)
    assert all(math.isnan(one.good[0]) == (merit == -math.inf) for one in found.keys)


def test_a_key_with_one_value_decides_nothing():
    ranges, tried = search(lambda a, _: a)
    held = [replace(one, setting=(one.setting[0], ("decay", 0.1))) for one in tried]
    found = by_key(ranges, held)
    assert found["decay"].share == pytest.approx(0)
    assert found["decay"].p_adjusted == 1
    assert found["lr"].share > 0.9


def test_good_values_are_those_of_the_settings_nearly_as_good_as_the_best():
    ranges = RANGES[:1]
    values = [0.001, 0.01, 0.02, 0.05, 0.1, 0.5]
    merits = [0.90, 0.965, 0.97, 0.962, 0.93, -math.inf]
    tried = [
        Tried((("lr", value),), merit, 1.0) for value, merit in zip(values, merits, strict=True)
    ]
    (found,) = key_sensitivity(ranges, tried, tolerance=0.0081).keys
    assert found.good == (0.01, 0.05)
    assert (found.best, found.best_position) == (0.02, ranges[0].position(0.02))


def test_a_wider_tolerance_never_narrows_the_good_values():
    ranges, tried = search(lambda a, b: -((a - 0.4) ** 2))
    spans = [by_key(ranges, tried, tolerance=t)["lr"].good for t in np.linspace(0, 1, 20)]
    assert [low for low, _ in spans] == sorted((low for low, _ in spans), reverse=True)
    assert [high for _, high in spans] == sorted(high for _, high in spans)
    assert spans[0][0] == spans[0][1]
