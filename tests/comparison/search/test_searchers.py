"""What every searcher promises: the same settings again, none twice, all within the ranges."""

import subprocess
import sys

import pytest

from gradcli.comparison.search import TPE, FullGrid, Range, Sobol, Tried

SEARCHERS = [Sobol(), FullGrid(), TPE(startup=4)]


@pytest.fixture(params=SEARCHERS, ids=lambda one: type(one).__name__)
def searcher(request):
    if isinstance(request.param, TPE):
        pytest.importorskip("optuna", reason="it is in the extra `search`")
    return request.param


def searched(searcher, ranges, batches, *, total, seed=0):
    """All settings of a search in batches, each tried with some merit."""
    tried = []
    for count in batches:
        proposed = searcher.propose(ranges, tried, count=count, total=total, seed=seed)
        tried += [Tried(one, -abs(dict(one)["lr"] - 0.01), 1.0) for one in proposed]
    return [one.setting for one in tried]


def test_settings_have_the_keys_in_order_and_are_within_the_ranges(searcher, ranges):
    for setting in searched(searcher, ranges, [4, 4, 4], total=12):
        assert [key for key, _ in setting] == ["lr", "momentum", "mix"]
        for (_, value), one in zip(setting, ranges, strict=True):
            assert one.low <= value <= one.high


def test_no_setting_comes_twice(searcher, ranges):
    found = searched(searcher, ranges, [4, 4, 4], total=12)
    assert len(set(found)) == len(found) == 12


def test_the_same_search_again_has_the_same_settings(searcher, ranges):
    first, again = (searched(searcher, ranges, [5, 5, 2], total=12, seed=3) for _ in range(2))
    assert first == again


def test_a_search_has_as_many_settings_as_it_says(searcher, ranges):
    for total in (1, 2, 7, 16, 30):
        found = searched(searcher, ranges, [total], total=total)
        assert 1 <= len(found) == searcher.count_of(ranges, total) <= total


@pytest.mark.parametrize("searcher", [Sobol(), FullGrid()], ids=["Sobol", "FullGrid"])
def test_without_a_look_at_results_batches_do_not_matter(searcher, ranges):
    assert not searcher.looks_at_results
    whole = searched(searcher, ranges, [12], total=12)
    assert searched(searcher, ranges, [4, 8], total=12) == whole
    assert searched(searcher, ranges, [1, 3, 7, 1], total=12) == whole


@pytest.mark.parametrize("searcher", SEARCHERS, ids=["Sobol", "FullGrid", "TPE"])
def test_a_range_with_too_few_values_is_an_error_and_not_an_endless_search(searcher):
    if isinstance(searcher, TPE):
        pytest.importorskip("optuna", reason="it is in the extra `search`")
    narrow = [Range("lr", 0.100, 0.102)]
    with pytest.raises(ValueError, match="three digits"):
        searched(searcher, narrow, [8, 8], total=16)


def test_importing_the_searchers_is_light():
    code = (
        "import sys, gradcli.comparison.search; "
        "print({'scipy', 'optuna', 'torch', 'hydra'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
