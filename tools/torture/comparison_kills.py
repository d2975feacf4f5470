"""Comparisons whose parent or worker is killed: continued, they must end as if undisturbed.

One comparison is made without a disturbance. Each case makes it again, one trial at a time in one
process (`engine=serial`) or in workers, and kills the parent, or a worker, at a random instant. The
same command, or `--resume`, must then end with the same table, and must not repeat a trial that had
finished.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from children import Ended, draw_instant, in_child

SMALL = (
    *("--optimizers", "sgd,adam", "--seeds", "2", "data=mnist5k", "model.hidden=[16]"),
    *("max_steps=12", "protocol.learning_rates=3", "protocol.widenings=0", "threads=1"),
)
#: What depends on time or place, in the answer of `runs show --json`.
_VARYING = frozenset(
    {
        *("seconds", "seconds_to_target", "steps_per_second", "seconds_total", "started", "path"),
        *("run", "comparison", "name", "argv", "jobs", "engine", "plots"),
        *("resume_command", "winner_command", "extend_command"),
    }
)


class DisturbedComparison:
    """One comparison, in a folder of its own.

    Args:
        seed: of all that is drawn.
        folder: for it.
        whole: the same comparison without a disturbance, and what it printed.
    """

    def __init__(self, seed: int, folder: Path, whole: tuple[Ended, Any]) -> None:
        self._drawn = random.Random(seed)
        self._folder, (self._whole, self._table) = folder, whole
        self.kills: list[str] = []

    def run(self) -> None:
        """Kill the comparison once or twice, and continue it to its end.

        Raises:
            AssertionError: if anything differs, or cannot be read in between.
        """
        in_workers = self._drawn.random() < 0.3
        engine = ["-j", "2"] if in_workers else ["engine=serial"]
        command = [*compare(self._folder), *engine]
        for _ in range(self._drawn.randint(1, 2)):
            before = finished_trials(self._folder)
            if in_workers and self._drawn.random() < 0.5:
                code = self._kill_a_worker(command)
                assert code == 0, f"exit {code} after {self.kills[-1]}"
            else:
                number = self._drawn.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
                instant = draw_instant(self._drawn, self._whole)
                code = in_child(command, self._folder, instant, number).code
                self.kills.append(f"parent: {signal.Signals(number).name} {instant} (exit {code})")
                assert code in (0, 128 + number, -number), f"exit {code} after {self.kills[-1]}"
            after = finished_trials(self._folder)
            assert {name: after.get(name) for name in before} == before, "a trial was repeated"
            if self._folder.is_dir() and any(self._folder.iterdir()):
                for words in (["list"], ["show", "latest"]):
                    shown = in_child(
                        ["runs", *words, "--runs-dir", str(self._folder)], self._folder
                    )
                    assert shown.code in (0, 2), f"runs {' '.join(words)}: exit {shown.code}"
        before = finished_trials(self._folder)
        ended = in_child(command, self._folder)
        assert ended.code == 0, f"continued: exit {ended.code}"
        after = finished_trials(self._folder)
        assert {name: after.get(name) for name in before} == before, "a trial was repeated"
        assert table(self._folder) == self._table, "the table differs"

    def _kill_a_worker(self, command: list[str]) -> int:
        """Kill the first process that is seen at work on a trial, some time after it began."""
        delay, over = self._drawn.uniform(0, 0.3), threading.Event()
        killed = threading.Thread(target=self._wait_and_kill, args=(delay, over))
        killed.start()
        try:
            return in_child(command, self._folder).code
        finally:
            over.set()
            killed.join()

    def _wait_and_kill(self, delay: float, over: threading.Event) -> None:
        done = finished_trials(self._folder)
        while not over.wait(0.002):
            for path in self._folder.glob("*/trials/*/run.json"):
                state = read(path)
                if path.parent.name in done or state.get("status") != "running":
                    continue
                time.sleep(delay)
                with suppress(ProcessLookupError):  # it has finished all trials meanwhile
                    os.kill(state["pid"], signal.SIGKILL)
                self.kills.append(f"worker: SIGKILL {delay:.3f} s into {path.parent.name}")
                return
        self.kills.append("worker: none was seen at work")


def compare(folder: Path) -> list[str]:
    """Return the command, without an engine."""
    return ["compare-optimizers", "--quiet", "--runs-dir", str(folder), *SMALL]


def undisturbed(folder: Path) -> tuple[Ended, Any]:
    """Make the comparison; return how its process ended, and its table."""
    ended = in_child([*compare(folder), "engine=serial"], folder)
    assert ended.code == 0, ended.errors
    return ended, table(folder)


def table(folder: Path) -> Any:
    """Return all that `runs show --json` says of the only comparison, less times and places."""
    shown = in_child(["runs", "show", "latest", "--json", "--runs-dir", str(folder)], folder)
    assert shown.code == 0, shown.errors
    described = json.loads(shown.output)
    # Wherever the comparison is, it keeps the weights of the same trial.
    return _lasting({**described, "kept_trial": Path(described["kept_trial"]).name})


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(one) for key, one in value.items() if key not in _VARYING}
    return [_lasting(one) for one in value] if isinstance(value, list) else value


def finished_trials(folder: Path) -> dict[str, tuple[int, int]]:
    """Return when the logs of each finished trial were written: anew, if it ran again."""
    return {
        path.parent.name: (path.stat().st_mtime_ns, (path.parent / "steps.bin").stat().st_mtime_ns)
        for path in folder.glob("*/trials/*/run.json")
        if read(path).get("status") == "finished"
    }


def read(path: Path) -> dict[str, Any]:
    """Return the state of a trial, which is always written as a whole."""
    state: dict[str, Any] = json.loads(path.read_text())
    return state
