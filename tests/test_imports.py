"""Imports without the garbage collector, which is back afterwards in any case."""

import atexit
import gc

import pytest

from gradcli.errors import UserError
from gradcli.imports import end_quickly, quick_imports


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


def test_the_last_look_for_garbage_is_left_out(monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    end_quickly()
    frozen = gc.get_freeze_count()
    for call in at_exit:
        call()
    assert gc.get_freeze_count() > frozen
