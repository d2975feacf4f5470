"""Imports without the garbage collector, which is back afterwards in any case."""

import gc

import pytest

from gradcli.cli.imports import quick_imports
from gradcli.errors import UserError


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    gc.unfreeze()


def test_nothing_is_collected_within_and_nothing_of_it_is_looked_at_again():
    gc.collect()
    with quick_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(10 * gc.get_threshold()[0])]
    assert gc.isenabled()
    young = {id(one) for one in gc.get_objects()}
    assert not young & set(map(id, made))


def test_a_mistake_within_leaves_the_collector_on():
    with pytest.raises(UserError), quick_imports():
        raise UserError("A mistake.")
    assert gc.isenabled()
