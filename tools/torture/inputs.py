"""Tries generated overrides and calls of the API, and shows each that is not answered in words.

Every case runs in a process of its own, forked from one that has loaded torch. It must end with
the exit code 0, 2, 3 or 4, without a traceback, within bounds of time and memory; an error must be
a panel, and JSON must be strict.

    python tools/torture/inputs.py --cases 1000 --seed 1
    python tools/torture/inputs.py --cases 1000 --seed 1 --only 17
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from input_cases import Case, cases

import gradcli
from gradcli.cli.app import main as command_line
from gradcli.config import compose_train
from gradcli.config.compare_config import compose_comparison
from gradcli.config.inspect_config import compose_inspection
from gradcli.errors import UserError
from gradcli.records import DataInfo
from gradcli.views.console import show_message
from gradcli.views.error_panel import error_panel

_SECONDS = 60
_MEMORY = 1536 * 2**20
"""Resident bytes: torch and MNIST's sample take 0.4 GB."""
_ADDRESSES = 14 * 2**30
"""Of the address space: the stacks of 1,024 threads take 8 GB of it."""
_CODES = (0, 2, 3, 4)
_SAMPLE = DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10)


@dataclass(frozen=True)
class Ending:
    """How a case ended; `code` is negative for a signal, as for a subprocess."""

    code: int
    out: str
    err: str
    seconds: float
    resident_bytes: int


def objection(case: Case, ending: Ending) -> str:
    """Say what is wrong with the way a case ended; empty if nothing is."""
    if ending.code not in _CODES:
        return f"exit code {ending.code}"
    if "Traceback" in ending.out + ending.err:
        return "a traceback"
    if ending.seconds > _SECONDS:
        return f"{ending.seconds:.0f} s"
    if ending.resident_bytes > _MEMORY:
        return f"{ending.resident_bytes / 2**20:,.0f} MiB"
    if ending.code == 2 and not ending.err.startswith(("error: ", "Usage: ")):
        return "an error without a panel"
    if case.kind == "trained" and ending.code in (0, 4):
        return _not_strict(ending.out)
    return ""


def _not_strict(text: str) -> str:
    """Say why a text is not strict JSON; empty if it is."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        return f"no strict JSON: {error}"
    return ""


def attempt(case: Case) -> None:
    """Do what a case asks for, as the command line does it."""
    words = list(case.words)
    if case.kind == "trained":
        sys.argv = ["gradcli", "train", "--quiet", "--json", *words]
        command_line()
    elif case.kind == "api":
        gradcli.train(*words, **dict(case.options))
    elif case.kind == "train":
        compose_train(words).yaml()
    elif case.kind == "inspect":
        compose_inspection(words).variants()
    else:
        compose_comparison(words).arms(_SAMPLE)


def isolated(action: Callable[[], None], folder: Path) -> Ending:
    """Run `action` in a fork of this process, in an empty folder, and say how it ended."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(action, folder)
    status, usage = _awaited(child, began + 2 * _SECONDS)
    texts = [(folder / name).read_text("utf-8", "replace") for name in ("out", "err")]
    seconds = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    return Ending(code, *texts, seconds, usage.ru_maxrss * 1024)


def _awaited(child: int, deadline: float) -> tuple[int, resource.struct_rusage]:
    """Wait for a child, and end it at the deadline."""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return status, usage
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _become(action: Callable[[], None], folder: Path) -> None:
    """Turn this forked process into that of a case; it does not return."""
    code = 1
    try:
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name, descriptor in (("out", 1), ("err", 2)):
            file = os.open(folder / name, os.O_CREAT | os.O_WRONLY)
            os.dup2(file, descriptor)
        code = _answered(action)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _answered(action: Callable[[], None]) -> int:
    """Return the exit code of the command line for what `action` raises."""
    try:
        action()
    except UserError as error:
        show_message(error_panel(error))
        return error.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> int:
    """Try the cases, show those that fall, and return 1 if one does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one case, whose answer is shown")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fallen, codes = 0, dict.fromkeys(_CODES, 0)
    tried = [
        case
        for case in cases(arguments.seed, arguments.cases)
        if arguments.only in (None, case.number)
    ]
    for case in tried:
        with tempfile.TemporaryDirectory() as folder:
            ending = isolated(lambda case=case: attempt(case), Path(folder))
        codes[ending.code] = codes.get(ending.code, 0) + 1
        wrong = objection(case, ending)
        if wrong or arguments.only is not None:
            print(f"{case}\n  {wrong or 'held'}\n{ending.out[-2000:]}{ending.err[-2000:]}")
        fallen += bool(wrong)
    print(
        f"inputs: {len(tried):,} tried, {len(tried) - fallen:,} held; exit codes "
        + ", ".join(f"{code}: {number}" for code, number in sorted(codes.items()) if number)
    )
    return int(fallen > 0)


if __name__ == "__main__":
    sys.exit(main())
