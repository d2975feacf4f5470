"""What each searched key decides, from the settings that one arm tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradcli.comparison.search import Range, Tried
from gradcli.comparison.statistics.pair_tests import holm
from gradcli.comparison.verdicts import KeySensitivity, SearchSensitivity

Array = NDArray[np.float64]

#: Fewer settings per key say nothing: the model has two terms per key, and as many are to be left.
SETTINGS_PER_KEY = 4
_PERMUTATIONS = 999
#: What counts as 0 beside positions, and as a part of a sum of squares.
_NEGLIGIBLE = 1e-9
#: Some of the keys, by their places among the ranges.
_Keys = frozenset[int]


def key_sensitivity(
    ranges: Sequence[Range], tried: Sequence[Tried], tolerance: float = 0.01
) -> SearchSensitivity:
    """Estimate how much of the differences between settings each key decides.

    The settings are ranked: by how far they got (successive halving stops the worse ones), then by
    their merit, those that failed last. Ranks make divergence a bad result like others, and no unit
    of the score matters. A model explains the ranks: a sum of parabolas, one over the positions of
    each key. A key's share of their variance is the mean gain of R² when its parabola joins those
    of other keys, over all orders (LMG: Lindeman, Merenda and Gold 1980; Grömping 2007, "Estimators
    of relative importance in linear regression based on variance decomposition"), less what terms
    of noise would gain (epsilon squared: Kelley 1935). So the shares add up to the adjusted R², and
    that of a key that decides nothing is 0 in the mean. The rest is noise, interplay of keys, and
    whatever is no parabola.

    The test that a key decides something permutes the residuals of the model without it (Freedman
    and Lane 1983), always in the same ways. With Holm's correction, the chance of any false claim
    about the arm is 5%.

    Functional ANOVA (Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for assessing
    hyperparameter importance") finds interplay and any shape, as it asks a random forest. But on 16
    settings a forest is a few steps, its variances give keys that decide nothing a share, too, and
    it has no test. It is for searches of hundreds of trials.

    Args:
        ranges: one per key.
        tried: the settings, in any order.
        tolerance: how far below the best merit is still good, in its unit.
    """
    settings = len(tried)
    positions = np.array(
        [
            [one.position(value) for one, (_, value) in zip(ranges, each.setting, strict=True)]
            for each in tried
        ]
    ).reshape(settings, len(ranges))
    ranks = _ranks(tried)
    unknown: Literal["", "few-settings", "all-failed", "all-alike"] = ""
    if all(one.merit == -math.inf for one in tried):
        unknown = "all-failed"
    elif settings <= SETTINGS_PER_KEY * len(ranges):
        unknown = "few-settings"
    elif np.ptp(ranks) == 0:
        unknown = "all-alike"
    if unknown:
        shares = p_values = np.full(len(ranges), math.nan)
    else:
        parabolas = [_parabola(column) for column in positions.T]
        shares = _shares(parabolas, ranks)
        p_values = holm([_p_value(parabolas, key, ranks) for key in range(len(ranges))])
    good = _good(tried, tolerance)
    return SearchSensitivity(
        settings,
        tuple(
            KeySensitivity(
                key=one.key,
                share=float(shares[at]),
                p_adjusted=float(p_values[at]),
                good=_span([each.setting[at][1] for each in good]),
                best=good[0].setting[at][1] if good else math.nan,
                best_position=one.position(good[0].setting[at][1]) if good else math.nan,
            )
            for at, one in enumerate(ranges)
        ),
        unknown,
    )


def _ranks(tried: Sequence[Tried]) -> Array:
    """Return the ranks (n,), centred, the best highest; ties share their mean rank."""
    order = [
        (-math.inf, 0.0) if one.merit == -math.inf else (one.fraction, one.merit) for one in tried
    ]
    below = np.array([sum(other < one for other in order) for one in order], dtype=np.float64)
    same = np.array([order.count(one) for one in order], dtype=np.float64)
    ranks = below + (same - 1) / 2
    centred: Array = ranks - ranks.mean()
    return centred


def _parabola(positions: Array) -> Array:
    """Return the terms of a parabola over positions (n,), centred: (n, 2)."""
    terms = np.stack([positions - 0.5, (positions - 0.5) ** 2], axis=1)
    centred: Array = terms - terms.mean(axis=0)
    return centred


def _basis(parabolas: Sequence[Array]) -> Array:
    """Return an orthonormal basis (n, rank) of all their terms together."""
    terms = np.concatenate(parabolas, axis=1)
    vectors, sizes, _ = np.linalg.svd(terms, full_matrices=False)
    basis: Array = vectors[:, sizes > _NEGLIGIBLE]
    return basis


def _shares(parabolas: Sequence[Array], ranks: Array) -> Array:
    """Return each key's share of the variance of the ranks (d,)."""
    keys = range(len(parabolas))
    explained, terms = dict[_Keys, float](), dict[_Keys, int]()
    for chosen in _subsets(set(keys)):
        basis = _basis([parabolas[key] for key in chosen]) if chosen else ranks[:, None][:, :0]
        explained[chosen] = float(np.sum((basis.T @ ranks) ** 2) / (ranks @ ranks))
        terms[chosen] = basis.shape[1]
    everything = frozenset(keys)
    # What a term of noise explains.
    noise = (1 - explained[everything]) / (len(ranks) - 1 - terms[everything])
    worth = {chosen: explained[chosen] - terms[chosen] * noise for chosen in explained}
    return np.array([_mean_gain(worth, key, len(parabolas)) for key in keys])


def _mean_gain(worth: dict[_Keys, float], key: int, keys: int) -> float:
    """Return what a key adds to those before it, in the mean over all orders of the keys."""
    others = set(range(keys)) - {key}
    return math.fsum(
        (worth[before | {key}] - worth[before]) / (keys * math.comb(keys - 1, len(before)))
        for before in _subsets(others)
    )


def _subsets(keys: Set[int]) -> Iterator[_Keys]:
    for size in range(len(keys) + 1):
        yield from map(frozenset, combinations(sorted(keys), size))


def _p_value(parabolas: Sequence[Array], key: int, ranks: Array) -> float:
    """Return the chance of a gain like that of a key if it decides nothing."""
    without = [parabola for at, parabola in enumerate(parabolas) if at != key]
    others = _basis(without) if without else ranks[:, None][:, :0]
    everything = _basis(parabolas)
    residuals = ranks - others @ (others.T @ ranks)
    # The same permutations for each key, so that the order of the keys does not matter.
    generator = np.random.default_rng(0)
    orders = generator.random((_PERMUTATIONS, len(ranks))).argsort(axis=1)
    drawn = np.concatenate([residuals[None], residuals[orders]])
    total = residuals @ residuals
    left_by_others = total - np.sum((drawn @ others) ** 2, axis=1)
    left = total - np.sum((drawn @ everything) ** 2, axis=1)
    # Rounding errors stand for 0: where all is explained, and where a key has one value.
    gains = (left_by_others - left) / np.maximum(left, _NEGLIGIBLE * total)
    as_large = np.sum(gains[1:] >= gains[0] - _NEGLIGIBLE * (1 + gains[0]))
    return float((1 + as_large) / (1 + _PERMUTATIONS))


def _good(tried: Sequence[Tried], tolerance: float) -> list[Tried]:
    """Return the settings within the tolerance of the best that ran to its end, that one first."""
    ended = [one for one in tried if one.fraction == 1.0 and one.merit > -math.inf]
    ended.sort(key=lambda one: -one.merit)
    return [one for one in ended if one.merit >= ended[0].merit - tolerance]


def _span(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (math.nan, math.nan)
