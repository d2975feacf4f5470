"""The runs whose names begin as somebody has typed, the newest first, looked at but not opened.

A shell asks for these at each Tab. So nothing of them is read but a few lines of `run.json` or
`comparison.json`, and this module imports none of what reads a run as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from gradcli.runs.files import COMPARISON_FILE, RUN_FILE
from gradcli.system.locks import is_locked

Kind = Literal["run", "comparison"]


@dataclass(frozen=True)
class Glance:
    """A run or a comparison in the runs directory; `word` names it, `directory` is its own name."""

    word: str
    directory: str
    kind: Kind
    about: str
    """Its status, score, and what it trained, as words."""


def beginning_with(
    typed: str, runs_dir: Path, *, most: int, kinds: Sequence[Kind] = ("run", "comparison")
) -> list[Glance]:
    """Return runs and comparisons, the newest first, whose names begin with what is typed.

    The word of each is the name of its directory or, if none begins like that, its name from behind
    the time on: `mlp-adam-41e5`. If no such word begins like that either, and what is typed is part
    of one name alone, that one is returned. Only what is returned is read.

    Args:
        typed: the beginning.
        runs_dir: where runs are.
        most: how many to return.
        kinds: which to return.

    Raises:
        OSError: if the folder cannot be read.
    """
    with os.scandir(runs_dir) as entries:
        directories = sorted((one.name for one in entries), reverse=True)
    found = _glances(_named(typed, directories), runs_dir, kinds)
    return list(islice(found, most))


def _named(typed: str, directories: Sequence[str]) -> list[tuple[str, str]]:
    """Return words that name directories and begin with what is typed, with these directories."""
    if whole := [name for name in directories if name.startswith(typed)]:
        return [(name, name) for name in whole]
    behind = [(name.partition("-")[2], name) for name in directories]
    if fitting := [(word, name) for word, name in behind if word.startswith(typed)]:
        # A whole name, or one that a user gave, is meant before the end of another.
        others = {*directories, *map(given_name, directories)}
        return [(word, name) for word, name in fitting if word not in others]
    parts = [(name, name) for name in directories if typed in name]
    return parts if len(parts) == 1 else []


def _glances(
    named: Sequence[tuple[str, str]], runs_dir: Path, kinds: Sequence[Kind]
) -> Iterator[Glance]:
    for word, directory in named:
        path = runs_dir / directory
        files: dict[Kind, str] = {"run": RUN_FILE, "comparison": COMPARISON_FILE}
        for kind in kinds:
            if os.path.lexists(path / files[kind]):
                yield Glance(word, directory, kind, _about(path / files[kind], kind))


def _about(file: Path, kind: Kind) -> str:
    """Say in a few words what the state file of a run says; of a damaged one, that it is."""
    try:
        state = json.loads(file.read_bytes())
        is_at_work = state["status"] == "running" and is_locked(file.parent)
        return _in_words(state, kind, is_at_work=is_at_work)
    except OSError:
        return "cannot be read"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "damaged"


def _in_words(state: dict[str, Any], kind: Kind, *, is_at_work: bool) -> str:
    info, result = state.get("info", {}), state.get("result", {})
    status = "lost" if state["status"] == "running" and not is_at_work else str(state["status"])
    if kind == "comparison":
        arms = ", ".join(arm["name"] for arm in info["arms"])
        return f"{status}, compares {arms} on {info['data']['name']}"
    score = result.get("test", result.get("test_accuracy"))
    words = [status]
    if isinstance(score, float):
        words.append(f"test {score:.4g}")
    if "model" in info:
        words.append(f"{info['model']} {info['optimizer']} on {info['data']['name']}")
    return ", ".join(words)


def given_name(directory: str) -> str:
    """Return what is between the time and the random end of the name of a run's directory.

    It comes before a part of a name: a random end may be the name of another run, and `runs rm`
    must not take the one for the other.
    """
    return "-".join(directory.split("-")[1:-1])
