"""Names of runs and comparisons with their status, arms of comparisons, and conditions."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from gradcli.cli.completing.answer import FOLDERS, NOTHING, Answer, Proposal, fitting, listed
from gradcli.cli.completing.key_words import settings_on
from gradcli.cli.completing.line import Line
from gradcli.errors import UserError
from gradcli.records import Status

if TYPE_CHECKING:
    from gradcli.runs import ComparisonDirectory, Run

Kind = Literal["any", "run", "comparison"]
_LATEST: Final = "latest"
#: How many runs are proposed, the newest ones. More of a name finds the others.
MOST_RUNS: Final = 30


def runs(typed: str, line: Line, kind: Kind = "any") -> Answer:
    """Return the runs that a target may name: `latest`, and the newest whose names fit."""
    if _is_path(typed):
        return FOLDERS
    named = _named(typed, _runs_dir(line), kind)
    return _shown(Proposal(word, _about(word, one)) for word, one in named)


def only_runs(typed: str, line: Line) -> Answer:
    """Return the runs that a target may name if it cannot be a comparison."""
    return runs(typed, line, "run")


def resumable(typed: str, line: Line) -> Answer:
    """Return what `--resume` may name: runs, or comparisons for the command that makes them."""
    return runs(typed, line, "comparison" if line.path[0] == "compare-optimizers" else "run")


def _is_path(typed: str) -> bool:
    return "/" in typed or typed in (".", "..", "~")


def _shown(proposals: Iterable[Proposal]) -> Answer:
    return Answer(tuple(one for one in proposals if one.word.isprintable()))


def _named(
    typed: str, runs_dir: Path, kind: Kind = "any"
) -> Iterator[tuple[str, Run | ComparisonDirectory]]:
    """Yield words that name runs, with the runs: `latest`, then the newest that fit."""
    if _LATEST.startswith(typed):
        newest = _found("", runs_dir, most=1)
        yield from ((_LATEST, one) for _, one in newest if _is(kind)(one))
    yield from _found(typed, runs_dir, most=MOST_RUNS, kind=kind)


def _found(
    typed: str, runs_dir: Path, *, most: int, kind: Kind = "any"
) -> list[tuple[str, Run | ComparisonDirectory]]:
    """Return the newest runs that fit; none if the folder cannot be read."""
    from gradcli.runs.choosing.beginnings import beginning_with

    try:
        return beginning_with(typed, runs_dir, most=most, wanted=_is(kind))
    except OSError:  # the command itself will say what is wrong with the folder
        return []


def _is(kind: Kind) -> Callable[[Run | ComparisonDirectory], bool]:
    from gradcli.runs import Run

    if kind == "any":
        return lambda found: True
    return lambda found: isinstance(found, Run) == (kind == "run")


def _runs_dir(line: Line) -> Path:
    return Path(line.last("runs_dir") or os.environ.get("GRADCLI_RUNS") or "runs").expanduser()


def _about(word: str, found: Run | ComparisonDirectory) -> str:
    """Say how the run that a word names stands, what it trained, and how that scored."""
    name = f"{found.name}: " if word == _LATEST else ""
    return name + _status(found)


def _status(found: Run | ComparisonDirectory) -> str:
    from gradcli.runs import Run

    try:
        row = found.row()
    except UserError:
        return "damaged, or of a newer gradcli"
    except OSError:
        return "cannot be read"
    score = "" if math.isnan(row.test_score) else f", test {row.metric.name} {row.test_score:.4g}"
    what = f"{row.model} {row.optimizer}" if isinstance(found, Run) else f"compares {row.optimizer}"
    return f"{row.status}{score}, {what} on {row.data}"


def arms_and_runs(typed: str, line: Line) -> Answer:
    """Return what a set of `runs compare` may be: runs, an arm `COMPARISON:adam`, conditions."""
    comparison, colon, _ = typed.rpartition(":")
    if colon:
        return fitting(typed, _arms(comparison, _runs_dir(line)))
    if _is_path(typed):
        return FOLDERS
    named = list(_named(typed, _runs_dir(line)))
    return _shown(starmap(_as_set, named)) if named or not typed else condition(typed, line)


def _as_set(word: str, found: Run | ComparisonDirectory) -> Proposal:
    """Return a run as a set of one, and a comparison as the beginning of one of its arms."""
    from gradcli.runs import Run

    is_run = isinstance(found, Run)
    return Proposal(word if is_run else f"{word}:", _about(word, found), goes_on=not is_run)


def _arms(comparison: str, runs_dir: Path) -> Iterator[Proposal]:
    from gradcli.runs import find_comparison

    try:
        arms = [arm["name"] for arm in find_comparison(comparison, runs_dir).state["info"]["arms"]]
    except (UserError, OSError):  # there is no such comparison, or it cannot be read
        return
    for arm in arms:
        yield Proposal(f"{comparison}:{arm}", "an arm")


def condition(typed: str, line: Line) -> Answer:
    """Return what may continue a condition: its key, or values of a key with known ones."""
    head, space, last = typed.rpartition(" ")
    key, equals, value = last.partition("=")
    head += space
    if not equals:
        keys = (Proposal(f"{key}=", goes_on=True) for key in _condition_keys(line))
        return fitting(last, keys).behind(head)
    key_head = f"{head}{key}="
    key = key.removesuffix("!")
    settings = settings_on(line)
    if key == "status":
        return listed(value, dict.fromkeys(get_args(Status), "")).behind(key_head)
    if key in settings.chosen:
        return listed(value, settings.words_of(key)).behind(key_head)
    return NOTHING


def key_list(typed: str, line: Line) -> Answer:
    """Return what may continue a list of keys of runs."""
    return listed(typed, dict.fromkeys(_condition_keys(line), ""))


def sort_key(typed: str, line: Line) -> Answer:
    """Return the keys by which runs can be sorted."""
    return fitting(typed, map(Proposal, _condition_keys(line)))


def _condition_keys(line: Line) -> list[str]:
    """Return what can be asked of runs: results, labels, and the keys of the config."""
    from gradcli.runs.choosing.facts import KEYS

    return sorted({*KEYS, *settings_on(line).values})
