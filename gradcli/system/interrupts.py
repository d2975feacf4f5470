"""Ctrl-C and SIGTERM as requests to stop: work ends with its state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has SIGBREAK for Ctrl-Break and for a console window that is closed.
_TO_STOP = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
]


@contextmanager
def caught_signals(stop: Callable[[], object]) -> Iterator[list[int]]:
    """Let the first Ctrl-C or SIGTERM call `stop`; a second one ends the process immediately.

    Yields:
        The signals caught so far. None outside the main thread, because only that one
        handles signals.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        caught.append(number)
        stop()

    before = {number: signal.signal(number, handle) for number in _TO_STOP}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_main_thread(number: int) -> None:
    """Send a signal to this process, as if from outside: a call that the main thread waits in ends.

    On Windows it does not: the main thread handles the signal when the call has returned.
    """
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
