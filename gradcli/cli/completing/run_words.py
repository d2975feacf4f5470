"""Names of runs and comparisons with their status, arms of comparisons, and conditions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from gradcli.cli.completing.answer import FOLDERS, NOTHING, Answer, Proposal, fitting, listed
from gradcli.cli.completing.key_words import settings_on
from gradcli.cli.completing.line import Line
from gradcli.errors import UserError

if TYPE_CHECKING:
    from gradcli.runs.choosing.glances import Glance, Kind

_LATEST: Final = "latest"
#: How many runs are proposed, the newest ones. More of a name finds the others.
MOST_RUNS: Final = 30


def runs(typed: str, line: Line) -> Answer:
    """Return what a target may be: `latest`, and the newest runs and comparisons that fit."""
    return _targets(typed, line, ("run", "comparison"))


def only_runs(typed: str, line: Line) -> Answer:
    """Return the runs that a target may name if it cannot be a comparison."""
    return _targets(typed, line, ("run",))


def resumable(typed: str, line: Line) -> Answer:
    """Return what `--resume` may name: runs, or comparisons for the command that makes them."""
    kind: Kind = "comparison" if line.path[0] == "compare-optimizers" else "run"
    return _targets(typed, line, (kind,))


def arms_and_runs(typed: str, line: Line) -> Answer:
    """Return what a set of `runs compare` may be: runs, an arm `COMPARISON:adam`, conditions."""
    comparison, colon, _ = typed.rpartition(":")
    if colon:
        return fitting(typed, _arms(comparison, _runs_dir(line)))
    if _is_path(typed):
        return FOLDERS
    sets = _shown(map(_as_set, _glances(typed, line, ("run", "comparison"))))
    return condition(typed, line) if typed and sets == NOTHING else sets


def _targets(typed: str, line: Line, kinds: Sequence[Kind]) -> Answer:
    if _is_path(typed):
        return FOLDERS
    return _shown(Proposal(one.word, one.about) for one in _glances(typed, line, kinds))


def _is_path(typed: str) -> bool:
    return "/" in typed or typed in (".", "..", "~")


def _shown(proposals: Iterable[Proposal]) -> Answer:
    """Leave out what a terminal would obey, or could not show."""
    return Answer(tuple(one for one in proposals if one.word.isprintable()))


def _as_set(one: Glance) -> Proposal:
    """Return a run as a set of one, and a comparison as the beginning of one of its arms."""
    if one.kind == "run":
        return Proposal(one.word, one.about)
    return Proposal(f"{one.word}:", one.about, goes_on=True)


def _glances(typed: str, line: Line, kinds: Sequence[Kind]) -> list[Glance]:
    """Return `latest` and the newest runs that fit; none if the folder cannot be read."""
    from gradcli.runs.choosing.glances import beginning_with

    runs_dir = _runs_dir(line)
    try:
        found = beginning_with(typed, runs_dir, most=MOST_RUNS, kinds=kinds)
        newest = beginning_with("", runs_dir, most=1) if _LATEST.startswith(typed) else []
    except OSError:  # the command itself will say what is wrong with the folder
        return []
    latest = [
        replace(one, word=_LATEST, about=f"{one.directory}, {one.about.partition(',')[0]}")
        for one in newest
        if one.kind in kinds
    ]
    return [*latest, *found]


def _runs_dir(line: Line) -> Path:
    return Path(line.last("runs_dir") or os.environ.get("GRADCLI_RUNS") or "runs").expanduser()


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
        from gradcli.records import Status

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
