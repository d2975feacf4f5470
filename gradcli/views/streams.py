"""The standard streams of this process, in whatever state it was started with them."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Literal, TextIO


def open_closed_streams() -> None:
    """Open the standard streams that the process was started without, as by `>&-`.

    Otherwise the next file to be opened would get the number of the missing stream, and what a
    library prints would be written into that file. Stdin is empty then, and stderr goes nowhere.
    Writing to stdout fails as it does on a closed stream: a result must not vanish unnoticed.
    """
    # In this order: the system gives a new file the lowest free number.
    if _opened(0, os.O_RDONLY):
        sys.stdin = _stream(0, "r")
    if _opened(1, os.O_RDONLY):
        sys.stdout = _stream(1, "w")
    if _opened(2, os.O_WRONLY):
        sys.stderr = _stream(2, "w")


def discard_unwritten(stream: TextIO) -> None:
    """Drop what a broken stream still holds, which Python would try to write at its end."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def _opened(number: int, flags: int) -> bool:
    """Open nothing as the file descriptor `number` unless that is open; whether it was closed."""
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, flags), True)
        return True
    return False


def _stream(number: int, mode: Literal["r", "w"]) -> TextIOWrapper:
    """Return a stream of text that lasts as long as the process."""
    return open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
