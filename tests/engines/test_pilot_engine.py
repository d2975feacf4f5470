"""What the leader does about its pilots, without any: the fleet is one that only notes."""

import signal
import time
import warnings
from contextlib import closing

import pytest

from gradcli.comparison.engine import Ended, Job
from gradcli.engines.pilots import pilot, pilot_engine
from gradcli.engines.pilots.pilot_engine import PilotEngine
from gradcli.engines.pilots.queue import JobQueue, PilotDesk
from gradcli.errors import MissingPilotsWarning, UserError
from gradcli.system.interrupts import caught_signals


class Notes:
    """A fleet that starts nothing; `room` is how many more pilots its cluster grants."""

    job_id_variable = "NOTES_JOB_ID"

    def __init__(self):
        self.alive, self.room, self.ended, self.all_ended = 0, 99, [], 0

    def start(self, pilots, orders):
        if pilots > self.room:
            raise UserError("Slurm refused the pilots: too many.", where="--engine slurm")
        self.alive += pilots
        self.room -= pilots

    def count(self):
        return self.alive

    def end(self, scheduled_as):
        self.ended.append(scheduled_as)

    def end_all(self, *, also_those_at_work):
        self.all_ended += 1

    def last_words(self):
        return ""


@pytest.fixture
def fleet(monkeypatch):
    monkeypatch.setattr(pilot_engine, "_SECONDS_BETWEEN_MUSTERS", 0.0)
    monkeypatch.setattr(PilotEngine, "_orders", lambda *_: None)  # there is no comparison
    return Notes()


@pytest.fixture
def engine(fleet):
    with closing(PilotEngine(lambda _: fleet, pilots=2, idle_seconds=60)) as engine:
        yield engine


@pytest.fixture
def job(tmp_path):
    return lambda name: Job(id=name, directory=str(tmp_path / "trials" / name), config="{}")


def test_a_job_that_only_an_earlier_leader_asked_for_ends_silently(engine, job, tmp_path):
    JobQueue(tmp_path).lead()
    JobQueue(tmp_path).add(job("old"))
    desk = PilotDesk(tmp_path, "17")
    old = desk.claim()
    engine.submit(job("new"))
    desk.end(old)
    assert engine.poll(0.0) == []
    new = desk.claim()
    assert new.id == "new"
    desk.end(new)
    assert engine.poll(0.0) == [Ended("new")]
    desk.leave()


def test_a_job_that_a_pilot_has_since_an_earlier_leader_is_not_submitted_twice(
    engine, job, tmp_path
):
    JobQueue(tmp_path).lead()
    JobQueue(tmp_path).add(job("one"))
    desk = PilotDesk(tmp_path, "17")
    one = desk.claim()
    engine.submit(job("one"))
    engine.poll(0.0)
    assert desk.claim() is None
    desk.end(one)
    assert engine.poll(0.0) == [Ended("one")]
    desk.leave()


def test_a_job_that_was_on_the_disk_twice_ends_once(engine, job, tmp_path):
    engine.submit(job("one"))
    engine.poll(0.0)
    other = JobQueue(tmp_path)  # of a leader that stood still
    other._added = 7
    other.add(job("one"))
    desk = PilotDesk(tmp_path, "17")
    for _ in range(2):
        desk.end(desk.claim())
    assert engine.poll(0.0) == [Ended("one")]
    assert engine.poll(0.0) == []
    desk.leave()


def test_an_engine_that_is_left_ends_no_pilot(engine, fleet, job, tmp_path):
    engine.submit(job("one"))
    engine.poll(0.0)
    engine.leave()
    engine.close()
    assert not (tmp_path / "queue" / "closed").exists()
    assert fleet.all_ended == 0


def test_a_cancelled_job_that_is_given_back_has_ended(engine, fleet, job, tmp_path):
    for name in ("one", "two"):
        engine.submit(job(name))
    engine.poll(0.0)
    desk = PilotDesk(tmp_path, "17")
    one = desk.claim()
    other = "two" if one.id == "one" else "one"
    engine.cancel(one.id)
    assert fleet.ended == ["17"]
    assert engine.poll(0.0) == []
    desk.give_back(one)
    assert engine.poll(0.0) == [Ended(one.id)]
    assert desk.claim().id == other
    desk.leave()


def test_a_cluster_that_grants_fewer_pilots_is_a_warning_and_one_that_grants_none_an_error(
    engine, fleet, job
):
    fleet.alive, fleet.room = 1, 0
    for name in ("one", "two", "three"):
        engine.submit(job(name))
    with pytest.warns(MissingPilotsWarning, match="1 of 2 pilots are at work or pending. Slurm"):
        engine.poll(0.0)
    fleet.alive = 0
    with pytest.raises(UserError, match="too many"):
        engine.poll(0.0)
    fleet.room = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.poll(0.0)
    assert fleet.alive == 2


def test_a_cluster_that_never_answered_is_asked_all_the_same_and_one_that_did_is_waited_for(
    engine, fleet, job, monkeypatch
):
    engine.submit(job("one"))
    fleet.room, fleet.count = 0, lambda: None
    with pytest.raises(UserError, match="refused"):  # it says what is wrong
        engine.poll(0.0)
    fleet.room, fleet.count = 9, lambda: 0
    engine.poll(0.0)
    started, fleet.count = fleet.alive, lambda: None
    with pytest.warns(MissingPilotsWarning, match="does not say"):
        engine.poll(0.0)
    assert fleet.alive == started == 1


def test_a_cluster_that_does_not_answer_at_the_end_hides_no_error(engine, fleet, job):
    def refuse(**_):
        raise UserError("scancel failed.")

    engine.submit(job("one"))
    fleet.end_all = refuse
    engine.poll(0.0)
    with pytest.warns(MissingPilotsWarning, match=r"scancel failed\. Pilots that are left end"):
        engine.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_before_the_trial_trains_stops_it_once_it_does(number):
    stopped = []
    with pilot._asked_to_end() as asked:
        signal.raise_signal(number)  # the trial is loading its data
        assert signal.SIGTERM in asked
        with caught_signals(lambda: stopped.append(True)) as caught:
            deadline = time.monotonic() + 60
            while not caught and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(5 * pilot._SECONDS_BETWEEN_TRIES)
    assert (caught, stopped) == ([signal.SIGTERM], [True])


def test_a_signal_while_the_trial_trains_reaches_it_alone():
    with pilot._asked_to_end() as asked, caught_signals(lambda: None) as caught:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(3 * pilot._SECONDS_BETWEEN_TRIES)
    assert (asked, caught) == ([], [signal.SIGTERM])


def test_a_signal_between_two_trials_does_not_outlast_the_pilot():
    noticed = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: noticed.append(number))
    try:
        with pilot._asked_to_end() as asked:
            signal.raise_signal(signal.SIGTERM)
        time.sleep(3 * pilot._SECONDS_BETWEEN_TRIES)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (asked, noticed) == ([signal.SIGTERM], [])
