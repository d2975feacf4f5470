"""The pipes of a process that answers requests, kept from everything else that runs in it."""

from __future__ import annotations

import os
from typing import IO


def private_output() -> IO[bytes]:
    """Keep stdout for answers; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return answers


def private_input() -> IO[bytes]:
    """Keep stdin for requests; what else reads from it finds it empty.

    A process that is forked from this one, as a data loader's is, closes `sys.stdin` first. It
    would wait forever if a thread were reading from that at the time.
    """
    requests = os.fdopen(os.dup(0), "rb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return requests
