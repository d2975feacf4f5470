"""Signals as requests to stop, and a signal from a thread to the main one."""

import signal
import threading
import time

import pytest

from gradcli.system.interrupts import caught_signals, signal_main_thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_what_was_set_up_comes_back(number):
    asked, before = [], signal.getsignal(number)
    with caught_signals(lambda: asked.append("stop")) as caught:
        signal.raise_signal(number)
        assert caught == [number]
        assert asked == ["stop"]
    assert signal.getsignal(number) is before


def test_only_the_main_thread_catches_signals():
    found, before = [], signal.getsignal(signal.SIGINT)

    def catch():
        with caught_signals(lambda: None) as caught:
            found.append((signal.getsignal(signal.SIGINT), caught))

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    assert found == [(before, [])]


@pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="a call that waits is woken by POSIX only"
)
def test_a_signal_of_a_thread_ends_the_wait_of_the_main_thread():
    def signal_once():
        time.sleep(0.2)
        signal_main_thread(signal.SIGINT)

    thread = threading.Thread(target=signal_once)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        time.sleep(600)
    thread.join()
