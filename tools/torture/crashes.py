"""Crashes of the machine: what was not synced is lost, torn, or zeros; the run must survive it.

A training is made while each sync and each renaming, removal or truncation in its run directory is
noted, with what the files contain at that moment. From these notes the directory is put together
as a crash at a random moment may leave it:

- a name is in the directory as it was at some moment since the directory was last synced;
- a file has what it had when it was last synced, plus a random part of what was added since then,
  the rest missing or zeros; a file that was rewritten since has the old or a part of the new bytes.

What is left must be readable, and the run, resumed, must end as if there had been no crash.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from children import in_child
from kills import draw_overrides, left_behind, outcome

from gradcli.runs import list_runs

_CHANGES = frozenset({"os.rename", "os.remove", "os.truncate"})


@dataclass(frozen=True)
class Moment:
    """The run directory when something was synced or about to change."""

    synced: str
    """The path that was synced; empty if it was something else."""
    names: dict[str, int]
    """From the path below the folder to the number of the file (its inode)."""
    contents: dict[int, bytes]


@dataclass
class Crash:
    """A directory as a crash leaves it, put together from the moments before."""

    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Make the directory."""
        for name, number in self.names.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.contents[number])


class CrashedRun:
    """One drawn training, in a folder of its own, and crashes of it.

    Args:
        seed: of all that is drawn.
        folder: for its runs.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._drawn = random.Random(seed)
        self.overrides = draw_overrides(self._drawn)
        self._folder = folder

    def run(self, crashes: int) -> None:
        """Train once, and resume what so many crashes may leave of it.

        Raises:
            AssertionError: if anything differs, or cannot be read.
        """
        quiet = self._folder / "undisturbed"
        notes = self._folder / "moments.pickle"
        command = ["train", "--no-live", "--runs-dir", str(quiet), *self.overrides]
        ended = in_child(command, quiet, prepare=lambda: note_moments(quiet, notes))
        assert ended.code == 0, f"undisturbed: exit {ended.code}"
        moments: list[Moment] = pickle.loads(notes.read_bytes())
        expected = outcome(quiet)
        for _ in range(crashes):
            at = self._drawn.randrange(len(moments))
            crash = draw_crash(self._drawn, moments[: at + 1])
            folder = self._folder / "crashed"
            crash.write(folder)
            self._resume(folder, f"crash at moment {at} of {len(moments)}", expected)
            shutil.rmtree(folder)

    def _resume(self, folder: Path, what: str, expected: dict[str, object]) -> None:
        for words in (["list"], ["show", "latest"]):
            shown = in_child(["runs", *words, "--runs-dir", str(folder)], folder)
            assert shown.code in (0, 2), f"{what}: runs {' '.join(words)}: exit {shown.code}"
        runs = list_runs(folder)
        if not runs or runs[0].status == "finished":
            return
        command = ["train", "--no-live", "--runs-dir", str(folder), "--resume", str(runs[0].path)]
        ended = in_child(command, folder)
        assert ended.code == 0, f"{what}: resumed: exit {ended.code}: {ended.errors[-300:]}"
        assert outcome(folder) == expected, f"{what}: the end differs"
        assert not left_behind(folder), f"{what}: left behind: {left_behind(folder)}"


def note_moments(folder: Path, notes: Path) -> Callable[[], None]:
    """Note all moments from now on in this process; return what writes them to a file."""
    moments: list[Moment] = []
    # A file that is open keeps its number to itself after it was removed.
    held: dict[int, BinaryIO] = {}
    below = str(folder)
    sync = os.fsync

    def sync_and_note(target: Any) -> None:
        sync(target)
        number = target if isinstance(target, int) else target.fileno()
        path = Path(f"/proc/self/fd/{number}").readlink()
        if path.is_relative_to(folder):
            moments.append(look_at(folder, str(path.relative_to(folder)), held))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES and str(arguments[0]).startswith(below):
            moments.append(look_at(folder, "", held))

    os.fsync = sync_and_note  # type: ignore[assignment]
    sys.addaudithook(watch)
    return lambda: notes.write_bytes(pickle.dumps(moments)) and None


def look_at(folder: Path, synced: str, held: dict[int, BinaryIO]) -> Moment:
    """Return what is in a folder now, and hold its files open."""
    names, contents = {}, {}
    for path in folder.rglob("*"):
        if path.is_file():
            number = path.stat().st_ino
            names[str(path.relative_to(folder))] = number
            contents[number] = path.read_bytes()
            if number not in held:
                held[number] = path.open("rb")
    return Moment(synced, names, contents)


def draw_crash(drawn: random.Random, moments: list[Moment]) -> Crash:
    """Draw what a crash at the last of these moments leaves."""
    last = moments[-1]
    durable: dict[int, bytes] = {}
    directory_synced: dict[str, int] = {}
    for at, moment in enumerate(moments):
        if moment.synced in moment.names:
            number = moment.names[moment.synced]
            durable[number] = moment.contents[number]
        elif moment.synced:
            directory_synced[moment.synced] = at
    crash = Crash()
    for directory in sorted({str(Path(name).parent) for one in moments for name in one.names}):
        since = directory_synced.get(directory, 0)
        seen = moments[drawn.randint(since, len(moments) - 1)].names
        crash.names |= {
            name: number for name, number in seen.items() if str(Path(name).parent) == directory
        }
    for number in crash.names.values():
        newest = next(one for one in reversed(moments) if number in one.contents)
        written = last.contents.get(number, newest.contents[number])
        crash.contents[number] = draw_content(drawn, durable.get(number, b""), written)
    return crash


def draw_content(drawn: random.Random, synced: bytes, written: bytes) -> bytes:
    """Draw what is left of a file: all that was synced, and a part of what was not."""
    if synced == written:
        return synced
    kept = drawn.randint(0, len(written))
    if written.startswith(synced):
        kept = drawn.randint(len(synced), len(written))
    elif drawn.random() < 0.5:
        return synced
    lost = len(written) - kept
    return written[:kept] + (bytes(lost) if drawn.random() < 0.5 else b"")
