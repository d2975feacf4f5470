"""Names and times: many starts at once, clocks that jump, and odd characters in paths."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from children import in_child, in_forks
from kills import outcome

from gradcli.runs import list_runs

TINY = ("data=mnist5k", "model=logreg", "max_steps=3", "threads=1")
AT_ONCE = 10
NAMES = (
    "with space",
    "new\nline",
    "tab\tand \x1b[31mred",
    "Ünïcödé-数字-🙂",
    'quote\'s "and" $HOME `id`',
    "-leading-dash",
    "percent%sand{braces}",
    "trailing.",
    "=equals,comma[list]",
    "x" * 200,
)


def start(folder: Path, *words: str, prepare: Callable[[], Callable[[], object]] | None = None):
    """Start a training of three steps, and return how it ended."""
    command = ["train", "--no-live", "--runs-dir", str(folder), *TINY, *words]
    return in_child(command, folder, prepare=prepare)


def start_many(folder: Path, count: int) -> None:
    """Start so many trainings, ten at a time, in one folder of runs.

    Raises:
        AssertionError: if one fails, or two share a directory.
    """
    with in_forks(AT_ONCE) as pool:
        codes = [code for code in pool.map(partial(_start_with_seed, folder), range(count)) if code]
    assert not codes, f"exit codes {codes}"
    runs = list_runs(folder)
    assert len({run.path for run in runs}) == count, f"{len(runs)} directories for {count} starts"
    seeds = sorted(run.config.count("seed: ") and _seed_of(run.config) for run in runs)
    assert seeds == list(range(count)), "a run has the config of another one"


def _start_with_seed(folder: Path, seed: int) -> int:
    return start(folder, f"seed={seed}").code


def _seed_of(config: str) -> int:
    line = next(line for line in config.splitlines() if line.startswith("seed: "))
    return int(line.removeprefix("seed: "))


def jump(drawn: random.Random) -> Callable[[], object]:
    """Let the clock jump by up to ten days, forth or back, at one look in five."""
    clock, offset = time.time, 0.0

    def jumping() -> float:
        nonlocal offset
        if drawn.random() < 0.2:
            offset += drawn.uniform(-864_000, 864_000)
        return clock() + offset

    time.time = jumping
    return lambda: None


def train_under_jumps(seed: int, folder: Path) -> None:
    """Train, and resume for one more epoch, while the clock jumps: as with a clock that does not.

    Raises:
        AssertionError: if a command fails, or the end differs.
    """
    drawn = random.Random(seed)
    words = ["model=logreg", "data=mnist5k", "threads=1", f"seed={seed}"]
    ends = []
    for name, prepare in (("steady", None), ("jumping", partial(jump, drawn))):
        runs = folder / name
        common = ["train", "--no-live", "--runs-dir", str(runs)]
        first = in_child([*common, *words, "schedule=constant", "epochs=1"], runs, prepare=prepare)
        assert first.code == 0, f"{name}: exit {first.code}: {first.errors[-300:]}"
        resume = [*common, "--resume", str(list_runs(runs)[0].path), "epochs=2"]
        second = in_child(resume, runs, prepare=prepare)
        assert second.code == 0, f"{name}, resumed: exit {second.code}: {second.errors[-300:]}"
        for command in (["list"], ["show", "latest"], ["show", "latest", "--json"]):
            shown = in_child(["runs", *command, "--runs-dir", str(runs)], runs, prepare=prepare)
            assert shown.code == 0, f"{name}: runs {' '.join(command)}: exit {shown.code}"
        ends.append(outcome(runs))
    assert ends[0] == ends[1], "the end differs"


def train_in(name: str, folder: Path) -> None:
    """Train, resume, show and export in a folder of this name.

    Raises:
        AssertionError: if a command fails, or writes a control character.
    """
    runs = folder / name
    first = start(runs)
    assert first.code == 0, f"{name!r}: exit {first.code}: {first.errors[-300:]}"
    path = str(list_runs(runs)[0].path)
    where = ["--runs-dir", str(runs)]
    commands = (
        ["train", "--no-live", *where, "--resume", path, "max_steps=6"],
        ["runs", "list", *where],
        ["runs", "show", path, *where],
        ["runs", "export", path, *where],
        ["inspect-gradients", path, *where],
        ["runs", "rm", "--yes", path, *where],
    )
    for words in commands:
        ended = in_child(list(words), runs)
        assert ended.code in (0, 2), f"{name!r}: {words[:2]}: exit {ended.code}"
        assert "Traceback" not in ended.errors, f"{name!r}: {words[:2]}: {ended.errors[-300:]}"
        assert "\x1b" not in ended.output, f"{name!r}: {words[:2]}: an escape reached the pipe"
    assert not Path(path).exists(), f"{name!r}: not removed"
