"""Comparisons that more than one process may lead: who does, who watches, and who stops."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import gradcli
from gradcli.comparison.engine import OutlivesItsLeader
from gradcli.engines import SerialEngine
from gradcli.errors import LostLeaseError
from gradcli.runs import PILOTS, ComparisonDirectory
from gradcli.system.locks import RunLock
from gradcli.workflows.comparing.stopping import is_to_stop

SMALL = (
    *("--optimizers", "sgd", "--lrs", "0.1", "--seeds", "2"),
    *("data=mnist5k", "model.hidden=[4]", "protocol.tuning_seeds=1", "max_steps=9"),
)
LONG = ("max_steps=100000", "epochs=10000")
SECONDS = 120
#: `--detach` leaves its child alone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def start(runs_dir, tmp_path):
    processes = []

    def run(*words, cwd=tmp_path):
        command = [sys.executable, "-P", "-m", "gradcli", "compare-optimizers", "--no-live", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=cwd, **pipes)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()
    for path in runs_dir.glob("*/comparison.json"):
        state = ComparisonDirectory(path.parent).state
        if state.get("pid") and ComparisonDirectory(path.parent).status == "running":
            os.kill(state["pid"], signal.SIGKILL)


def comparison(runs_dir):
    (path,) = (path.parent for path in runs_dir.glob("*/comparison.json"))
    return ComparisonDirectory(path)


def wait_until(is_so, what):
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def detach(start, *words, **options):
    process = start(*SMALL, *words, "--detach", **options)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err


def line_of(process, word):
    while line := process.stderr.readline():
        if word in line:
            return line
    raise AssertionError(f"ended with {process.wait()} before it said {word}")


def test_when_the_leader_dies_one_of_those_who_watch_leads_and_the_other_watches(start, runs_dir):
    detach(start, *LONG, "-j", "1")
    name = comparison(runs_dir).name
    watching = [start("--resume", name) for _ in range(2)]
    for process in watching:
        line_of(process, "this one shows it")
    leader = comparison(runs_dir).state["pid"]
    os.kill(leader, signal.SIGKILL)
    wait_until(lambda: comparison(runs_dir).state["pid"] != leader, "nobody leads")
    new = comparison(runs_dir).state["pid"]
    leads, watches = sorted(watching, key=lambda process: process.pid != new)
    assert leads.pid == new
    line_of(watches, "The process that led it is gone")
    time.sleep(2)
    assert watches.poll() is None
    stopping = start("--resume", name, "--stop")
    _, err = stopping.communicate(timeout=SECONDS)
    assert (stopping.returncode, "stopped" in err) == (0, True)
    for process in watching:
        process.communicate(timeout=SECONDS)
        assert process.returncode == 128 + signal.SIGTERM


def test_a_stranger_s_modules_beside_a_detached_comparison_are_not_run(start, runs_dir, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("platform", "typer", "torch", "numpy", "evil"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise OSError\n")
    detach(start, cwd=folder)
    wait_until(lambda: comparison(runs_dir).status == "finished", "it does not end")
    assert not (tmp_path / "ran").exists()


def test_a_detached_comparison_takes_the_engine_that_is_named(start, runs_dir, gradcli):
    detach(start, "--engine", "serial", *LONG)
    name = comparison(runs_dir).name
    assert comparison(runs_dir).state["engine_words"] == ["engine=serial"]
    assert gradcli("compare-optimizers", "--resume", name, "--stop").code == 0
    words = ("--resume", name, "--detach", "--engine", "local", "-j", "1")
    _, err = (again := start(*words)).communicate(timeout=SECONDS)
    assert again.returncode == 0, err
    assert set(comparison(runs_dir).state["engine_words"]) == {"engine=local", "engine.jobs=1"}
    answer = gradcli("compare-optimizers", "--resume", name, "--stop")
    assert (answer.code, "stopped; what ran is saved" in answer.err) == (0, True)


def test_stop_says_if_nothing_was_at_work_and_changes_nothing(gradcli, runs_dir):
    assert gradcli("compare-optimizers", *SMALL, "--engine", "serial", "-q").code == 0
    name = comparison(runs_dir).name
    answer = gradcli("compare-optimizers", "--resume", name, "--stop")
    assert (answer.code, "it was not at work" in answer.err) == (0, True)
    assert comparison(runs_dir).status == "finished"
    answer = gradcli("compare-optimizers", "--resume", name, "--stop", "lr=3")
    assert (answer.code, "would change a comparison" in answer.message) == (2, True)


def interrupted(gradcli, runs_dir, *, words=()):
    """A comparison that was begun and has nothing, with the words of an engine on record."""
    assert gradcli("compare-optimizers", *SMALL, "--engine", "serial", "-q").code == 0
    found = comparison(runs_dir)
    for path in found.trial_paths():
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()
    found.update(status="interrupted", engine_words=list(words))
    return found


@pytest.mark.parametrize(
    "word",
    [
        "engine.setup=[touch ran]",
        "engine.options={wrap:touch}",
        "engine.address=10.0.0.1:6379",
        "engine.partition=x\ntouch ran",
        "engine._target_=os.system",
    ],
)
def test_what_an_engine_could_do_more_than_run_trials_is_not_taken_from_a_file(
    gradcli, runs_dir, word
):
    found = interrupted(gradcli, runs_dir, words=["engine=serial", word])
    answer = gradcli("compare-optimizers", "--resume", found.name)
    assert (answer.code, "not taken from a file" in answer.message) == (2, True)


def test_the_recorded_engine_is_taken_again_and_another_if_it_is_named(gradcli, runs_dir):
    found = interrupted(gradcli, runs_dir, words=["engine=serial"])
    assert gradcli("compare-optimizers", "--resume", found.name, "-q").code == 0
    assert comparison(runs_dir).state["info"]["engine"] == "serial"


def test_an_earlier_request_to_stop_is_forgotten_and_a_later_one_is_not(
    gradcli, runs_dir, monkeypatch
):
    found = interrupted(gradcli, runs_dir, words=["engine=serial"])
    (found.path / "stop").touch()
    lock = ComparisonDirectory.lock

    def stopped_meanwhile(directory):
        assert not is_to_stop(directory.path)  # that of before
        (directory.path / "stop").touch()
        return lock(directory)

    monkeypatch.setattr(ComparisonDirectory, "lock", stopped_meanwhile)
    answer = gradcli("compare-optimizers", "--resume", found.name, *("-q", "--engine", "serial"))
    assert is_to_stop(found.path)
    assert answer.code in (0, 128 + signal.SIGTERM)


class Outliving(SerialEngine):
    """Notes how it is left."""

    left, polls = [], []

    def poll(self, timeout):
        self.polls.append(timeout)
        return super().poll(timeout)

    def leave(self):
        self.left.append("left")


def test_a_leader_that_was_taken_for_dead_leaves_the_jobs_to_the_new_one(monkeypatch, tmp_path):
    assert isinstance(Outliving(), OutlivesItsLeader)
    monkeypatch.setattr("gradcli.engines.serial.SerialEngine", Outliving)
    monkeypatch.setattr("gradcli.engines.SerialEngine", Outliving)

    def refuse_if_lost(lock):
        if Outliving.polls:
            raise LostLeaseError("taken over", where="here")

    monkeypatch.setattr(RunLock, "refuse_if_lost", refuse_if_lost)
    with pytest.raises(LostLeaseError):
        gradcli.compare(
            *("data=mnist5k", "model.hidden=[4]", "max_steps=9", "protocol.tune=false"),
            optimizers=["sgd"], seeds=3, engine="serial", runs_dir=tmp_path,
        )  # fmt: skip
    assert (Outliving.left, len(Outliving.polls)) == (["left"], 1)
    (path,) = tmp_path.glob("*/comparison.json")
    assert json.loads(path.read_text())["status"] == "running"  # as the new one says


def test_a_comparison_whose_pilots_live_cannot_be_removed_and_says_how_to_stop_it(
    gradcli, runs_dir
):
    found = interrupted(gradcli, runs_dir)
    pilot = found.path / PILOTS / "7@here-1-ab"
    pilot.mkdir(parents=True)
    lock = RunLock(pilot)
    answer = gradcli("runs", "rm", found.name, "--yes")
    assert answer.code == 2
    hint = f"gradcli compare-optimizers --resume {found.path} --stop"
    assert hint in re.sub(r"\s+", " ", answer.message)
    lock.release()
    assert gradcli("runs", "rm", found.name, "--yes").code == 0
