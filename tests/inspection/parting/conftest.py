"""Pairs of short runs that differ by what a test plants in the second one."""

from itertools import count

import pytest
from planted_pairs import train

from gradcli.inspection.run_difference import difference


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory):
    """A function that trains twice, the second time with a change, and compares the runs."""
    folder, numbers, kept = tmp_path_factory.mktemp("pairs"), count(), {}

    def compare(model_name, *, common=None, **changed):
        common = common or {}
        key = model_name, repr(common)
        if key not in kept:
            kept[key] = train(folder / str(next(numbers)), model_name, **common)
        other = train(folder / str(next(numbers)), model_name, **{**common, **changed})
        return difference(kept[key], other)

    return compare
