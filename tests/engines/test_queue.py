"""The queue of jobs: each with one pilot at a time, and none lost."""

import json
import shutil
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from gradcli.comparison.engine import Job
from gradcli.engines.pilots.queue import JobQueue, NoQueueError, PilotDesk
from gradcli.errors import LostLeaseError


def job(number):
    return Job(
        id=f"trial{number}",
        directory=f"/runs/c/trials/trial{number}",
        config="model: mlp",
        until=number or None,
        allow_import=["mine"],
    )


@pytest.fixture
def queue(tmp_path):
    queue = JobQueue(tmp_path)
    queue.lead()
    return queue


@pytest.fixture
def desk(tmp_path):
    desk = PilotDesk(tmp_path, "17")
    yield desk
    desk.leave()


#: A pilot that claims all it can get, and ends it; or that dies with the first job.
PILOT = """
import os, signal, sys
from pathlib import Path
from gradcli.engines.pilots.queue import PilotDesk

desk = PilotDesk(Path(sys.argv[1]), "7")
print("here", flush=True)
sys.stdin.readline()
mine = []
while (job := desk.claim()) is not None:
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    mine.append(job.id)
    desk.end(job)
print(*mine, flush=True)
desk.leave()
"""


@pytest.fixture
def pilots(tmp_path):
    """Start pilots in processes of their own, which claim once they are told to."""
    processes = []

    def start(count, way="ends"):
        words = [sys.executable, "-c", PILOT, str(tmp_path), way]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        new = [subprocess.Popen(words, **pipes) for _ in range(count)]
        processes.extend(new)
        for process in new:
            assert process.stdout.readline() == "here\n"
        return new

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_job_arrives_as_it_was_submitted(queue, desk):
    queue.add(job(5))
    assert queue.waiting() == ["trial5"]
    assert desk.claim() == job(5)
    assert (queue.waiting(), list(queue.hands())) == ([], ["trial5"])
    desk.end(job(5))
    assert (queue.hands(), queue.take_ended(), queue.take_ended()) == ({}, ["trial5"], [])
    assert desk.claim() is None


def test_jobs_that_were_submitted_first_wait_first(queue, tmp_path):
    for number in range(30):
        queue.add(job(number))
    assert queue.waiting() == [f"trial{number}" for number in range(30)]
    desk = PilotDesk(tmp_path, "1")
    claimed = [int(desk.claim().id.removeprefix("trial")) for _ in range(10)]
    desk.leave()
    assert max(claimed) < 10 + 8  # pilots try for one of the first eight


def test_twenty_claimants_share_the_jobs_and_none_is_claimed_twice(queue, pilots):
    for number in range(200):
        queue.add(job(number))
    processes = pilots(20)
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    claimed = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(claimed) == sorted(f"trial{number}" for number in range(200))
    assert sorted(queue.take_ended()) == sorted(claimed)
    assert queue.pilots() == []


def test_the_job_of_a_pilot_that_died_is_reported_once(queue, pilots):
    queue.add(job(1))
    (process,) = pilots(1, "dies")
    assert queue.bury_the_dead() == []  # it lives
    process.communicate("go\n")
    ((name, pilot),) = queue.bury_the_dead()
    assert (name, pilot.partition("@")[0]) == ("trial1", "7")
    assert (queue.bury_the_dead(), queue.pilots(), queue.hands()) == ([], [], {})


def test_what_a_pilot_gives_back_waits_again(queue, desk):
    queue.add(job(1))
    desk.give_back(desk.claim())
    assert (queue.waiting(), queue.hands()) == (["trial1"], {})


def test_a_pilot_that_leaves_in_the_middle_leaves_its_job(queue, tmp_path):
    queue.add(job(1))
    desk = PilotDesk(tmp_path, "7")
    desk.claim()
    desk.leave()
    desk.leave()
    assert (queue.waiting(), queue.pilots()) == (["trial1"], [])


def test_a_pilot_that_was_taken_for_dead_notices_and_changes_nothing(queue, desk):
    queue.add(job(1))
    claimed = desk.claim()
    (pilot,) = queue.pilots()
    shutil.rmtree(pilot.path)  # as whoever leads does
    queue.add(job(1))
    desk.end(claimed)
    desk.give_back(claimed)
    assert (queue.take_ended(), queue.waiting()) == ([], ["trial1"])
    with pytest.raises(LostLeaseError, match="taken for dead"):
        desk.claim()


def test_a_new_leader_withdraws_what_waits_and_learns_what_runs(queue, desk, tmp_path):
    for number in (1, 2, 3):
        queue.add(job(number))
    claimed = desk.claim()
    other = JobQueue(tmp_path)
    assert list(other.lead()) == [claimed.id]
    assert (other.waiting(), other.take_ended()) == ([], [])
    desk.end(claimed)
    assert other.take_ended() == [claimed.id]


def test_a_job_that_is_given_back_while_another_begins_to_lead_is_not_submitted_again(
    queue, desk, tmp_path, monkeypatch
):
    queue.add(job(1))
    claimed = desk.claim()
    other = JobQueue(tmp_path)
    bury = JobQueue.bury_the_dead

    def meanwhile(leader):
        desk.give_back(claimed)
        return bury(leader)

    monkeypatch.setattr(JobQueue, "bury_the_dead", meanwhile)
    assert other.lead() == {claimed.id}


def test_a_pilot_that_begins_when_its_comparison_is_gone_makes_no_folder(tmp_path):
    with pytest.raises(NoQueueError):
        PilotDesk(tmp_path / "gone", "17")
    assert not (tmp_path / "gone").exists()


def test_a_job_is_withdrawn_only_while_it_waits(queue, desk):
    queue.add(job(1))
    queue.withdraw("trial1")
    assert queue.waiting() == []
    queue.add(job(2))
    claimed = desk.claim()
    queue.withdraw("trial2")
    assert list(queue.hands()) == [claimed.id]


def test_a_job_is_never_seen_half_written(queue, tmp_path):
    long = Job("long", "/runs/c/trials/long", "x: " + "y" * 500_000)
    stop, seen = threading.Event(), []

    def look():
        folder = tmp_path / "queue" / "waiting"
        while not stop.is_set():
            for file in folder.iterdir():
                with suppress(FileNotFoundError):
                    seen.append(json.loads(file.read_text())["config"] == long.config)

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(50):
        queue.add(long)
        queue.withdraw("long")
    queue.add(long)
    while not seen:
        pass
    stop.set()
    looker.join()
    assert all(seen)


def test_a_closed_queue_is_open_again_for_the_next_leader(queue, desk):
    assert not desk.is_closed()
    queue.close()
    assert desk.is_closed()
    queue.lead()
    assert not desk.is_closed()
