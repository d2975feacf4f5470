"""Damages the files of run directories: a file, a kind of damage and a seed do the same every time.

No command may end in a crash, or make a damaged run worse; nor may one run hide the others.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: How a command may end: never with a bug of ours (1), nor by a signal.
EXIT_CODES = (0, 2, 3, 4)


@dataclass(frozen=True)
class Case:
    """One file, and what happens to it."""

    file: str
    """Relative to the directory of the run or the comparison."""
    kind: str
    seed: int

    def apply(self, directory: Path) -> None:
        """Damage the file."""
        path = directory / self.file
        KINDS[self.kind](path, random.Random(f"{self.file} {self.kind} {self.seed}"))

    def __str__(self) -> str:
        return f"{self.file}-{self.kind}-{self.seed}"


def cases(directory: Path, seeds: range) -> Iterator[Case]:
    """Yield every case for the files of a directory, apart from pictures."""
    files = sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".png"
    )
    for seed in seeds:
        for file in files:
            for kind in KINDS:
                yield Case(file, kind, seed)


def commands(directory: Path, other: Path, *, epochs: int) -> list[tuple[str, ...]]:
    """Return the command lines that read a run directory.

    Args:
        directory: of the run; the last command trains it further.
        other: of another run, which is whole.
        epochs: to which the run is extended.
    """
    run = str(directory)
    return [
        ("runs", "list"),
        ("runs", "list", "--json"),
        ("runs", "show", run),
        ("runs", "show", run, "--json"),
        ("runs", "export", run),
        ("runs", "export", run, "--format", "jsonl"),
        ("runs", "diff", run, str(other)),
        ("inspect-gradients", run),
        ("inspect-gradients", run, "--probe", "histograms"),
        ("train", "--no-live", "--resume", run, f"epochs={epochs}"),
    ]


def _truncate(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))] if data else b"")


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def _garbage(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(chance.randrange(1, 5000)))


def _folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _misshape(path: Path, chance: random.Random) -> None:
    """Keep the format and change what it holds, as an editor or another program would."""
    if path.suffix == ".json":
        path.write_text(json.dumps(_misshapen(json.loads(path.read_text()), chance)))
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        if lines:
            at = chance.randrange(len(lines))
            lines[at] = json.dumps(_misshapen(json.loads(lines[at]), chance))
        path.write_text("".join(f"{line}\n" for line in lines))
    elif path.suffix == ".pt":
        import torch

        state = torch.load(path, weights_only=True)
        torch.save(_misshapen(state, chance), path)
    elif path.suffix == ".yaml":
        lines = path.read_text().splitlines()
        at = chance.randrange(len(lines))
        lines[at] = chance.choice(
            ["", "- 1", "epochs: [1, 2]", f"{lines[at]}: x", "\t{", "a: &a *a"]
        )
        path.write_text("\n".join(lines))
    else:
        path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 300)))


_VALUES: list[Any] = [None, True, -1, 10**30, 1.5, "", "text", [], [1], {}, {"a": 1}, [[None]]]


def _misshapen(value: Any, chance: random.Random) -> Any:
    """Return plain values with one of them replaced by another kind, or with a key less or more."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        choice = chance.random()
        if choice < 0.15:
            return {name: one for name, one in value.items() if name != key}
        if choice < 0.2:
            return {**value, "unheard-of": 1}
        return {**value, key: _misshapen(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], _misshapen(value[at], chance), *value[at + 1 :]]
    return chance.choice(_VALUES)


#: What may happen to a file, by name.
KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": _truncate,
    "flipped": _flip,
    "empty": _empty,
    "garbage": _garbage,
    "misshapen": _misshape,
    "folder": _folder,
}
