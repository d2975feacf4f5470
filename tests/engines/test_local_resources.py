"""Where the local engine puts its workers: cards, cores, and no more than there is memory for."""

import itertools
import os
import warnings
from contextlib import closing

import pytest

from gradcli.config import compose_comparison
from gradcli.engines import LocalEngine, local, opened_engines
from gradcli.errors import ScarceMemoryWarning, UserError
from gradcli.system import resources
from gradcli.workflows.compare import _asked_jobs

NO_PROCESSES = itertools.count(2**30)  # beyond all that Linux numbers


class NeverStarts:
    """A worker that is no process."""

    def __init__(self, arrived, environment):
        self.environment, self.job, self.process = environment, None, self
        self.pid = next(NO_PROCESSES)

    def kill(self):
        pass

    def release(self):
        pass


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch):
    monkeypatch.setattr(local, "WorkerProcess", NeverStarts)
    monkeypatch.setattr(resources, "available_memory", lambda: None)
    monkeypatch.setattr(resources, "graphics_cards", lambda: ())


def cards_of(engine):
    return [worker.environment.get("CUDA_VISIBLE_DEVICES") for worker in engine._workers]


@pytest.mark.parametrize(
    ("cards", "jobs", "expected"),
    [
        ((), 2, [None, None]),
        (("0",), 2, [None, None]),
        (("0", "1"), 2, ["0", "1"]),
        (("0", "1"), 5, ["0", "1", "0", "1", "0"]),
        (("GPU-a", "GPU-b", "GPU-c"), 2, ["GPU-a", "GPU-b"]),
    ],
)
def test_workers_are_spread_over_the_cards(cards, jobs, expected, monkeypatch):
    monkeypatch.setattr(resources, "graphics_cards", lambda: cards)
    with closing(LocalEngine()) as engine:
        engine.scale(jobs)
        assert cards_of(engine) == expected
    with closing(LocalEngine(jobs, gpus="all")) as engine:
        assert cards_of(engine) == [None] * jobs


def test_a_new_worker_takes_the_card_of_the_one_that_is_gone(monkeypatch):
    monkeypatch.setattr(resources, "graphics_cards", lambda: ("0", "1", "2"))
    with closing(LocalEngine(3)) as engine:
        del engine._workers[1]
        engine._fill()
        assert sorted(cards_of(engine)) == ["0", "1", "2"]


GB = 1e9


@pytest.mark.parametrize(
    ("free", "each", "asked", "expected"),
    [
        (None, None, 9, 9),
        (100 * GB, None, 9, 9),
        (6.2 * GB, 2.0, 9, 3),
        (6.2 * GB, 2.0, 3, 3),
        (0, 2.0, 9, 1),
        (0, 2.0, 1, 1),
    ],
)
def test_no_more_workers_start_than_there_is_memory_for(free, each, asked, expected, monkeypatch):
    monkeypatch.setattr(resources, "available_memory", lambda: free)
    with closing(LocalEngine(memory_per_trial=each)) as engine:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert engine.scale(asked) == expected
        assert len(engine._workers) == expected
        said = [str(one.message) for one in caught if one.category is ScarceMemoryWarning]
        assert len(said) == (expected < asked)
        if said:
            assert said[0].startswith(f"{expected} of {asked} trials will run at the same time")
            assert f"{free / GB:.1f} GB" in said[0]


def test_what_a_trial_takes_is_above_zero():
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"engine\.memory_per_trial"):
            LocalEngine(memory_per_trial=wrong)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can pin a process")
def test_workers_keep_to_their_own_cores_if_asked(monkeypatch):
    pinned = {}
    monkeypatch.setattr(os, "sched_setaffinity", pinned.__setitem__)
    monkeypatch.setattr(resources, "allowed_cores", lambda: [0, 1, 2, 5])
    with closing(LocalEngine(2)):
        assert not pinned
    with closing(LocalEngine(affinity=True)) as engine:
        assert list(pinned.values()) == [[0, 1, 2, 5]]
        engine.scale(2)
        assert [pinned[worker.pid] for worker in engine._workers] == [[0, 1], [2, 5]]


def test_the_engine_that_started_early_serves_unless_the_config_asks_for_more():
    for words, serves in [
        ([], True),
        (["engine.jobs=3"], True),
        (["engine.gpus=one", "engine.memory_per_trial=null"], True),
        (["engine.affinity=true"], False),
        (["engine.memory_per_trial=2"], False),
    ]:
        arguments = compose_comparison(words).config.engine.arguments
        with opened_engines(words) as open_engine:
            early = open_engine(LocalEngine, {"jobs": None})
            engine = open_engine(LocalEngine, arguments)
            assert (engine is early) == serves
            assert bool(early._workers) == serves


@pytest.mark.parametrize("words", [["engine.gpus=two"], ["engine.affinity=1"]])
def test_other_values_are_refused_by_name(words):
    with pytest.raises(UserError, match=words[0].partition("=")[0]):
        compose_comparison(words)


@pytest.mark.parametrize(
    ("words", "cards", "expected"),
    [
        ([], (), 8),
        (["threads=2"], (), 4),
        ([], ("0", "1"), 2),
        (["threads=2"], ("0", "1"), 2),
        (["device=cuda"], ("0", "1"), 2),
        (["device=cuda"], (), 1),
        (["device=cpu"], ("0", "1"), 8),
        (["protocol.tune=false", "protocol.seeds=1"], (), 3),
        (["protocol.tune=false", "protocol.seeds=1"], tuple("01234"), 3),
    ],
)
def test_by_default_a_trial_has_a_card_or_its_cores_for_itself(words, cards, expected, monkeypatch):
    monkeypatch.setattr("gradcli.workflows.compare.graphics_cards", lambda: cards)
    monkeypatch.setattr("gradcli.workflows.compare.cores", lambda: 8)
    assert _asked_jobs(compose_comparison(words)) == expected
