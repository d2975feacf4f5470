"""Run pytest in a forked process, which starts with PyTorch loaded and `gradcli` not."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ending:
    """How a forked pytest ended."""

    code: int | None
    """Its exit code; `None` if it ran into a limit or died."""
    seconds: float
    """Of processor time, with the commands that the tests ran."""


def in_forks(count: int, work: Callable[[int], None]) -> None:
    """Call a function in so many processes at once, each with its number.

    Raises:
        RuntimeError: if one of them fails.
    """
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(number)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise RuntimeError("a process failed: see above")


def load_shared(names: Sequence[str]) -> None:
    """Import what all forks share."""
    for name in names:
        importlib.import_module(name)


def pytest_in_fork(
    copy: Path,
    arguments: Sequence[str],
    plugins: Sequence[object],
    seconds: float,
) -> Ending:
    """Run pytest in a copy of the project.

    Args:
        copy: The root of the copy: `gradcli` is imported from there, in commands too.
        arguments: For pytest.
        plugins: Objects with hooks of pytest.
        seconds: A limit to the processor time of each process, which another program that runs
            at the same time does not use up. The time on the clock may be ten times that.
    """
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            _enter(copy, seconds)
            code = int(pytest.main([*arguments, "-p", "no:cacheprovider"], plugins))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return _wait(pid, time.monotonic() + 10 * seconds + 60)


def _enter(copy: Path, seconds: float) -> None:
    os.setpgid(0, 0)
    limit = max(1, round(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    os.chdir(copy)
    sys.path[0] = str(copy)
    os.environ |= {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    sys.dont_write_bytecode = True
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(copy / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for file, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(file, number)


def _wait(pid: int, until: float) -> Ending:
    """Wait for a fork, and end what it leaves behind."""
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    return Ending(code if code >= 0 else None, usage.ru_utime + usage.ru_stime)
