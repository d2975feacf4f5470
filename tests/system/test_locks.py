"""The lock of a directory that may be a stranger's."""

import os
import signal

import pytest

from gradcli.system.locks import LOCK_FILE, RunLock, is_locked


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
