"""Ctrl-C and SIGTERM as requests to stop: work ends with its state saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
            os.kill(os.getpid(), number)
        caught.append(number)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
