"""The factorial grid."""

from itertools import product

import pytest

from gradcli.comparison.search import FullGrid, Range
from gradcli.comparison.search.full_grid import levels_within


def test_a_grid_has_every_combination():
    ranges = [Range("a", 1e-4, 1.0), Range("b", 0.0, 8.0, "linear")]
    found = FullGrid().propose(ranges, [], count=99, total=8, seed=0)
    # The middles of three parts of four decades, which are 2/3 of a decade from the ends.
    values = {"a": [0.000464, 0.01, 0.215], "b": [2.0, 6.0]}
    assert found == [(("a", a), ("b", b)) for a, b in product(values["a"], values["b"])]


@pytest.mark.parametrize(
    ("keys", "total", "levels"),
    [
        (1, 7, (7,)),
        (2, 16, (4, 4)),
        (2, 15, (4, 3)),
        (2, 11, (3, 3)),
        (3, 16, (3, 2, 2)),
        (3, 64, (4, 4, 4)),
        (5, 16, (2, 2, 2, 2, 1)),
        (2, 1, (1, 1)),
    ],
)
def test_levels_are_as_even_as_the_total_allows(keys, total, levels):
    assert levels_within(keys, total) == levels


def test_the_seed_does_not_matter():
    ranges = [Range("a", 1e-4, 1.0)]
    first, other = (FullGrid().propose(ranges, [], count=5, total=5, seed=s) for s in (0, 1))
    assert first == other
