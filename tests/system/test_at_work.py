"""Whether somebody is at work in a directory, by looking alone."""

import os
import subprocess
import sys
import time

import pytest

from gradcli.system import locks
from gradcli.system.locks import LEASE_FILE, LOCK_FILE, RunLock, is_at_work, is_locked

HOLD = """
import sys, time
from pathlib import Path
from gradcli.system.locks import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def contents(directory):
    return {
        path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in directory.iterdir()
    }


def test_it_agrees_with_the_lock(tmp_path, holder):
    assert is_at_work(tmp_path)
    assert is_locked(tmp_path)
    holder.kill()
    while is_locked(tmp_path):
        time.sleep(0.01)
    assert not is_at_work(tmp_path)  # though nobody has asked yet how the process ended
    holder.wait()
    assert not is_at_work(tmp_path)


def test_a_released_directory_is_not_at_work(tmp_path):
    assert not is_at_work(tmp_path)
    with RunLock(tmp_path):
        assert is_at_work(tmp_path)
    assert not is_at_work(tmp_path)


def test_a_process_that_stands_still_is_at_work_as_long_as_it_lives(tmp_path, holder):
    os.utime(tmp_path / LEASE_FILE, (0, 0))
    assert is_at_work(tmp_path) == is_locked(tmp_path)


def test_a_process_with_the_same_number_is_not_the_holder(tmp_path, holder, monkeypatch):
    lease = tmp_path / LEASE_FILE
    text = lease.read_text()
    (start,) = (line for line in text.splitlines() if line.startswith("start="))
    lease.write_text(text.replace(start, f"start={int(start[6:]) + 1}"))
    os.utime(lease, (0, 0))
    assert not is_at_work(tmp_path)


def test_of_another_machine_the_age_of_its_lease_decides(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(locks, "_is_here", lambda owner: False)
    holder.kill()
    holder.wait()
    assert is_at_work(tmp_path)  # nobody here can know yet
    ago = time.time() - locks.LEASE_SECONDS - 1
    os.utime(tmp_path / LEASE_FILE, (ago, ago))
    assert not is_at_work(tmp_path)


def test_in_another_container_the_age_of_its_lease_decides(tmp_path, holder):
    lease = tmp_path / LEASE_FILE
    text = lease.read_text()
    (host,) = (line for line in text.splitlines() if line.startswith("host="))
    lease.write_text(text.replace(host, f"{host.partition('?')[0]}?pidns-1"))
    holder.kill()
    holder.wait()
    assert is_at_work(tmp_path)
    os.utime(lease, (0, 0))
    assert not is_at_work(tmp_path)


def test_looking_changes_nothing_and_is_in_nobodys_way(tmp_path, monkeypatch):
    (tmp_path / LOCK_FILE).touch()
    before = contents(tmp_path)
    assert not is_at_work(tmp_path)
    assert contents(tmp_path) == before

    def refuse(*words):
        raise AssertionError("it tried a lock")

    with RunLock(tmp_path):
        monkeypatch.setattr(locks, "_is_held", refuse)
        monkeypatch.setattr(locks, "_lock", refuse)
        assert is_at_work(tmp_path)
