"""Comparisons of which worker after worker is killed: they must end as if undisturbed.

The workers are processes of the engine `local`, or the pilots of `slurm` on this machine. Whatever
runs a trial is killed at a random instant of it, but no trial more often than it is tried.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from children import in_child
from comparison_kills import read, table

KILLS = 10
ENGINES = (
    ["engine=local", "-j", "2"],
    ["engine=slurm", "engine.cluster=local", "engine.workers=2"],
)
_MOST_OF_A_TRIAL = 2
_LONGEST_DELAY = 0.3
_SMALL = (
    *("--optimizers", "sgd,adam", "--seeds", "3", "data=mnist5k", "model.hidden=[16]"),
    *("max_steps=400", "epochs=100", "protocol.learning_rates=3", "protocol.widenings=0"),
    *("threads=1", "checkpoint.seconds=0.2"),
)


def kill_workers(seed: int, folder: Path) -> int:
    """Make a comparison twice, the second time with kills; return how many there were.

    Raises:
        AssertionError: if the tables differ.
    """
    whole, killed = folder / "whole", folder / "killed"
    assert _compare(whole, ["engine=serial"]) == 0
    drawn, over, kills = random.Random(seed), threading.Event(), Counter[str]()
    killer = threading.Thread(target=_kill, args=(killed, drawn, over, kills))
    killer.start()
    try:
        code = _compare(killed, ENGINES[seed % len(ENGINES)])
    finally:
        over.set()
        killer.join()
    assert code == 0, f"exit {code} after {kills}"
    assert table(killed) == table(whole), f"the table differs after {kills}"
    return kills.total()


def _compare(folder: Path, engine: list[str]) -> int:
    words = ["compare-optimizers", "--quiet", "--runs-dir", str(folder), *_SMALL, *engine]
    return in_child(words, folder).code


def _kill(folder: Path, drawn: random.Random, over: threading.Event, kills: Counter[str]) -> None:
    """Kill what is seen at work on a trial, again and again."""
    while kills.total() < KILLS and not over.wait(0.002):
        for path in folder.glob("*/trials/*/run.json"):
            state, trial = read(path), path.parent.name
            if state.get("status") != "running" or kills[trial] >= _MOST_OF_A_TRIAL:
                continue
            time.sleep(drawn.uniform(0, _LONGEST_DELAY))
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(state["pid"], signal.SIGKILL)
                kills[trial] += 1
            break
