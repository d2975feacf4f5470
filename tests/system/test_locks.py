"""The lock of a directory that may be a stranger's."""

import os
import signal

import pytest

from gradcli.system.locks import LEASE_FILE, LOCK_FILE, RunLock, is_locked, momentary_lock


@pytest.fixture(autouse=True)
def _never_hangs():
    def refuse(number, frame):
        raise TimeoutError("it waits for the other end of the pipe")

    before = signal.signal(signal.SIGALRM, refuse)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_named_pipe_is_not_a_lock_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / LOCK_FILE)
    assert not is_locked(tmp_path)
    with pytest.raises(FileExistsError, match="not a regular file"):
        RunLock(tmp_path)


def test_a_lock_is_held_by_one(tmp_path):
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(BlockingIOError):
            RunLock(tmp_path)
    assert not is_locked(tmp_path)


def test_a_momentary_lock_is_one_for_this_machine_and_leaves_no_lease(tmp_path):
    with momentary_lock(tmp_path):
        assert is_locked(tmp_path)
        assert not (tmp_path / LEASE_FILE).exists()
        for lock in (RunLock, momentary_lock):
            with pytest.raises(BlockingIOError), lock(tmp_path):
                pass
    with RunLock(tmp_path), pytest.raises(BlockingIOError), momentary_lock(tmp_path):
        pass
    assert not is_locked(tmp_path)
