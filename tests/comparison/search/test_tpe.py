"""The tree-structured Parzen estimator."""

import math
import sys

import numpy as np
import pytest

from gradcli.comparison.search import TPE, Range, Sobol, Tried
from gradcli.errors import UserError

KEYS = [Range("lr", 1e-4, 1.0), Range("decay", 1e-4, 1.0)]


def distance(setting, optimum=(0.3, 0.7)):
    """How far a setting is from the optimum, in positions."""
    return math.dist([one.position(v) for one, (_, v) in zip(KEYS, setting, strict=True)], optimum)


def search(merit_of, *, batches=(8, 4, 4, 4, 4, 4, 4), seed=0, tpe=None):
    """All that was tried in a search; `merit_of` returns the merit and the fraction."""
    tried = []
    for count in batches:
        proposed = (tpe or TPE(startup=8)).propose(
            KEYS, tried, count=count, total=sum(batches), seed=seed
        )
        tried += [Tried(one, *merit_of(one)) for one in proposed]
    return tried


def good(setting):
    return -(distance(setting) ** 2), 1.0


class TestWithOptuna:
    @pytest.fixture(autouse=True)
    def _optuna(self):
        pytest.importorskip("optuna", reason="it is in the extra `search`")

    def test_the_first_settings_are_those_of_sobol(self):
        tried = search(good, batches=(4, 4, 4), tpe=TPE(startup=5))
        sobol = Sobol().propose(KEYS, [], count=8, total=12, seed=0)
        # The second batch begins among the first five.
        assert [one.setting for one in tried[:8]] == sobol
        assert {one.setting for one in tried[8:]}.isdisjoint(sobol)

    def test_no_more_than_half_of_the_settings_are_for_the_start(self):
        tried = search(good, batches=(3, 3), tpe=TPE(startup=10))
        assert [one.setting for one in tried] != Sobol().propose(KEYS, [], count=6, total=6, seed=0)

    def test_it_gets_nearer_to_the_optimum_than_sobol(self):
        """Over 20 seeds, the best of 32 is nearer in most, and the later settings are by far."""
        best, sobols, late = [], [], []
        for seed in range(20):
            found = [distance(one.setting) for one in search(good, seed=seed)]
            others = Sobol().propose(KEYS, [], count=32, total=32, seed=seed)
            best.append(min(found))
            sobols.append(min(map(distance, others)))
            late.append(np.mean(found[16:]))
        assert np.mean(np.array(best) < sobols) >= 0.7
        assert np.mean(late) < 0.75 * np.mean([distance(one) for one in others])

    def test_proposals_follow_from_ranks_alone(self):
        """Merits may be accuracies or losses: any rising function of them gives the same search."""
        plain = search(good)
        bent = search(lambda one: (math.exp(10 * good(one)[0]), 1.0))
        assert [one.setting for one in plain] == [one.setting for one in bent]

    def test_what_diverges_is_left_alone(self):
        """Above the middle of lr all diverges; it is half of the settings at first."""

        def merit_of(setting):
            if dict(setting)["lr"] > 1e-2:
                return -math.inf, 1.0
            return -distance(setting, (0.45, 0.5)), 1.0

        diverged = [
            [one.merit == -math.inf for one in search(merit_of, seed=seed)[8:]]
            for seed in range(10)
        ]
        assert np.mean(diverged) < 0.35

    def test_what_was_stopped_is_worse_than_what_ran_on(self):
        """Half of the settings are stopped at a rung, with merits that look better than all."""

        def merit_of(setting):
            low = dict(setting)["lr"] < 1e-2
            return (-distance(setting), 1.0) if low else (1.0, 0.25)

        stopped = [
            [one.fraction < 1 for one in search(merit_of, seed=seed)[8:]] for seed in range(10)
        ]
        assert np.mean(stopped) < 0.35

    def test_if_all_diverge_the_whole_range_is_covered(self):
        tried = search(lambda _: (-math.inf, 1.0), batches=(8, 8))
        assert [one.setting for one in tried] == Sobol().propose(
            KEYS, [], count=16, total=16, seed=0
        )

    def test_a_batch_is_spread(self):
        """Each proposal of a batch counts as a bad one for the next."""
        tried = search(good, batches=(16,))
        batch = TPE().propose(KEYS, tried, count=8, total=24, seed=0)
        assert len(set(batch)) == 8
        lone = [TPE().propose(KEYS, tried, count=1, total=24, seed=seed)[0] for seed in range(8)]
        apart, alike = (
            np.mean([math.dist(np.log(_values(a)), np.log(_values(b))) for a in s for b in s])
            for s in (batch, lone)
        )
        assert apart > alike

    def test_it_says_nothing_and_leaves_optuna_as_it_was(self, capfd):
        import optuna

        before = optuna.logging.get_verbosity()
        search(good, batches=(8, 4))
        assert optuna.logging.get_verbosity() == before
        assert capfd.readouterr() == ("", "")


def _values(setting):
    return [value for _, value in setting]


def test_without_optuna_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError) as caught:
        TPE().propose(KEYS, [], count=4, total=16, seed=0)
    assert "search=tpe needs Optuna" in caught.value.problem
    assert caught.value.hint == "pip install 'gradcli[search]'"
