"""Leases: who works in a directory of a shared disk, as another machine sees it.

Another machine is a process that calls itself so, and is not told of the locks of this one, as on
a disk without shared locks.
"""

import subprocess
import sys
import textwrap
import time

import pytest

from gradcli.errors import LostLeaseError, SilentHolderWarning
from gradcli.system import locks
from gradcli.system.locks import (
    LEASE_FILE,
    LOCK_FILE,
    RunLock,
    elsewhere,
    is_locked,
    momentary_lock,
)

#: Begins the program of a process on another machine, whose leases expire within a second.
ELSEWHERE = """
import socket, sys, time, warnings
from pathlib import Path
import filelock, filelock._identity, filelock._marker, filelock._lease
from gradcli.system import locks

name, directory = sys.argv[1], Path(sys.argv[2])
for module in (filelock._identity, filelock._marker):
    module.host_name = lambda: name
filelock._identity._BOOT_ID = hash(name) % 2**64 + 1
socket.gethostname = lambda: name
locks._boot = lambda: filelock._identity._BOOT_ID
filelock.lock_descriptor = lambda descriptor, blocking: True
locks._is_held = lambda descriptor: False
locks.LEASE_SECONDS, locks.HEARTBEAT_SECONDS = 1.5, 0.1
warnings.simplefilter("ignore")
"""


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.1)


@pytest.fixture
def on(tmp_path):
    """Run a program on another machine; it ends with the test."""
    processes = []

    def run(machine, program):
        words = [sys.executable, "-c", ELSEWHERE + textwrap.dedent(program), machine, str(tmp_path)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


HOLD = """
lock = locks.RunLock(directory)
print("held", flush=True)
time.sleep(600)
"""


def held(process):
    assert process.stdout.readline() == "held\n"
    return process


def test_a_directory_that_another_machine_holds_is_at_work_and_cannot_be_had(tmp_path, on):
    other = held(on("farm-2", HOLD))
    assert is_locked(tmp_path)
    assert elsewhere(tmp_path).pid == other.pid
    with pytest.raises(BlockingIOError, match=f"process {other.pid} on farm-2"):
        RunLock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"process {other.pid} on farm-2"):
        momentary_lock(tmp_path).__enter__()


def test_of_a_dead_machine_it_is_taken_over_once_the_lease_has_expired(tmp_path, on):
    other = held(on("farm-2", HOLD))
    other.kill()
    other.wait()
    assert is_locked(tmp_path)  # nobody can know yet
    with pytest.raises(BlockingIOError):
        RunLock(tmp_path)
    while is_locked(tmp_path):
        time.sleep(0.05)
    before = time.monotonic()
    with pytest.warns(SilentHolderWarning, match=r"Process \d+ on farm-2"), RunLock(tmp_path):
        assert time.monotonic() - before >= locks.LEASE_SECONDS - 0.2  # it looked for itself
        assert elsewhere(tmp_path) is None
    assert not is_locked(tmp_path)


def test_on_the_machine_of_the_holder_a_killed_process_leaves_nothing_to_wait_for(tmp_path):
    program = "import sys, time; from pathlib import Path; from gradcli.system.locks import RunLock"
    program += "; lock = RunLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    words = [sys.executable, "-c", program, str(tmp_path)]
    process = held(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
    assert is_locked(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / LEASE_FILE).exists()
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)


def test_a_lease_that_this_process_failed_to_release_does_not_stand_in_its_own_way(
    tmp_path, monkeypatch
):
    lock = RunLock(tmp_path)
    monkeypatch.setattr(lock, "_lease", None)  # as if it were interrupted in between
    with pytest.raises(AttributeError):
        lock.release()
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)


def test_the_clock_of_another_machine_decides_nothing(tmp_path, on):
    held(on("farm-2", "time.time = lambda: 0.0\n" + HOLD))
    time.sleep(2 * locks.LEASE_SECONDS)
    assert is_locked(tmp_path)
    with pytest.raises(BlockingIOError):
        RunLock(tmp_path)


def test_of_twenty_claimants_one_takes_over(tmp_path, on):
    other = held(on("farm-0", HOLD))
    other.kill()
    other.wait()
    claim = """
    print("ready", flush=True)
    while locks._silence(directory) < locks.LEASE_SECONDS:
        time.sleep(0.01)
    try:
        lock = locks.RunLock(directory)
    except BlockingIOError:
        print("refused", flush=True)
    else:
        print("held", flush=True)
        time.sleep(600)
    """
    claimants = [on(f"farm-{number}", claim) for number in range(1, 21)]
    answers = [process.stdout.readline() for process in claimants]
    assert answers == ["ready\n"] * 20
    answers = sorted(process.stdout.readline() for process in claimants)
    assert answers == ["held\n"] + ["refused\n"] * 19


def test_who_stood_still_and_lost_the_lease_notices_before_it_writes(tmp_path, on):
    lock = RunLock(tmp_path)
    lock.refuse_if_lost()
    (tmp_path / LEASE_FILE).unlink()  # as another machine that takes over does, in a single step
    held(on("farm-2", HOLD))
    time.sleep(2 * locks.HEARTBEAT_SECONDS)
    with pytest.raises(LostLeaseError, match=r"taken over by process \d+ on farm-2"):
        lock.refuse_if_lost()
    lock.release()
    assert elsewhere(tmp_path) is not None  # what another machine holds stays


@pytest.mark.parametrize("content", [b"", bytes(40), b"filelock/2\npid=12"])
def test_a_lease_that_a_crash_tore_is_nobodys(tmp_path, content):
    (tmp_path / LEASE_FILE).write_bytes(content)
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)


def test_a_released_directory_holds_no_lease(tmp_path):
    lock = RunLock(tmp_path)
    lock.release()
    lock.release()
    lock.refuse_if_lost()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_directory_of_somebody_else_can_be_looked_at(tmp_path, on):
    held(on("farm-2", HOLD))
    tmp_path.chmod(0o555)
    try:
        assert is_locked(tmp_path)
    finally:
        tmp_path.chmod(0o755)
