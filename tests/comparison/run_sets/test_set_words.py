"""What a word names: a run before a condition."""

import pytest

from gradcli.comparison.run_sets import find_set
from gradcli.errors import UserError


def test_a_name_that_looks_like_a_condition_is_a_name(train):
    run = train("'lr=0.1'")
    train("plain")
    (found,) = find_set("lr=0.1", run.path.parent).runs
    assert found.run.name == run.name
    with pytest.raises(UserError, match="No run has a key 'lrr'") as caught:
        find_set("lrr=0.1", run.path.parent)
    assert caught.value.hint == "lr=VALUE"
    with pytest.raises(UserError, match="compares a number with 'abc'"):
        find_set("lr>abc", run.path.parent)
