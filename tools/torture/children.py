"""Commands in processes that are forked from one that has loaded PyTorch, and may be signalled.

Forking saves the two seconds that loading takes.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gradcli.cli.app import main

_FILE_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.link"})


@dataclass(frozen=True)
class Instant:
    """When a process gets its signal: after some seconds, or at one of its file operations."""

    seconds: float | None = None
    operation: int | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"after {self.seconds:.3f} s"
        return f"at file operation {self.operation}"


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; if a signal ended it, the signal's number, negative."""
    seconds: float
    operations: int
    """Its operations on files below the folder: opening, renaming, removing, truncating, ..."""
    output: str
    errors: str


def draw_instant(drawn: random.Random, undisturbed: Ended) -> Instant:
    """Draw an instant from the life of a process that ended undisturbed."""
    if drawn.random() < 0.5:
        return Instant(seconds=drawn.uniform(0, undisturbed.seconds))
    return Instant(operation=drawn.randint(1, undisturbed.operations))


def in_forks(jobs: int) -> ProcessPoolExecutor:
    """Return a pool of processes that are forked from this one."""
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork"))


def in_child(
    words: list[str],
    folder: Path,
    instant: Instant | None = None,
    number: int = signal.SIGKILL,
    prepare: Callable[[], Callable[[], object]] | None = None,
) -> Ended:
    """Run a gradcli command in a forked process.

    Args:
        words: of the command.
        folder: where its file operations are counted; created if it is missing.
        instant: when it gets a signal; None is never.
        number: of the signal.
        prepare: called in the process before the command; what it returns is called after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            os.close(reader)
            counted = partial(_count_operations, folder, instant, number)
            _become(words, (output.fileno(), errors.fileno()), writer, counted, prepare)
        os.close(writer)
        if instant is not None and instant.seconds is not None:
            _wait(child, instant.seconds)
            os.kill(child, number)  # it may have ended, but has not been waited for
        with os.fdopen(reader, "rb") as counts:
            told = counts.read()
        _, status = os.waitpid(child, 0)
        for stream in (output, errors):
            stream.seek(0)
        return Ended(
            code=os.waitstatus_to_exitcode(status),
            seconds=time.monotonic() - began,
            operations=int(told or 0),
            output=output.read().decode(),
            errors=errors.read().decode(),
        )


def _become(
    words: list[str],
    streams: tuple[int, int],
    writer: int,
    count: Callable[[], Callable[[], int]],
    prepare: Callable[[], Callable[[], object]] | None,
) -> None:
    """Be the command, and never return."""
    code = 70
    try:
        for place, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
            os.dup2(stream, place)
        counted = count()
        finish = prepare() if prepare is not None else None
        sys.argv = ["gradcli", *words]
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
        os.write(writer, str(counted()).encode())
        if finish is not None:
            finish()
    finally:
        os._exit(code)


def _count_operations(folder: Path, instant: Instant | None, number: int) -> Callable[[], int]:
    """Count the file operations below a folder, and signal this process at the chosen one."""
    seen = 0
    below = str(folder)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _FILE_EVENTS or not str(arguments[0]).startswith(below):
            return
        seen += 1
        if instant is not None and seen == instant.operation:
            os.kill(os.getpid(), number)

    sys.addaudithook(watch)
    return lambda: seen


def _wait(child: int, seconds: float) -> None:
    """Wait so long, or until the child has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)
