"""Which runs a word names.

A word is a pattern of names (`a-*`), conditions (`optimizer=adam lr<0.01`), a run's directory, or
an arm of a comparison (`COMPARISON:adam`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from gradcli.comparison.run_sets.members import ENDED, FoundSet, found_run
from gradcli.comparison.trial_store import TrialStore
from gradcli.errors import UserError, nearest
from gradcli.runs import (
    ComparisonDirectory,
    Run,
    conditions,
    find_comparison,
    list_comparisons,
    list_runs,
    load_run,
)
from gradcli.runs.choosing.conditions import SET, Condition, is_condition, refuse_meaningless
from gradcli.runs.choosing.facts import Facts, plain_key
from gradcli.runs.choosing.finding import LATEST
from gradcli.runs.choosing.listing import facts_of
from gradcli.runs.comparisons import is_comparison

#: Keys of conditions that say what a run became, not what it was to be.
_RESULTS: Final = {
    *("test", "val", "train_loss", "findings", "status", "steps", "epochs"),
    *("seconds_total", "seconds_train", "seconds_first_step"),
}


def find_set(word: str, runs_dir: Path) -> FoundSet:
    """Return the runs that a word names.

    Raises:
        UserError: if it names none, or a comparison without an arm.
    """
    if not word.strip():
        raise UserError("The set has no name.", where=SET, hint="gradcli runs compare 'a-*' 'b-*'")
    if is_condition(word) and not _is_name(word, known_runs(runs_dir)):
        found = _fulfilling(word, runs_dir)
    elif Path(word).is_dir() and not is_comparison(Path(word)):
        found = _set_of(word, [load_run(word)], runs_dir)
    else:
        found = _set_of(word, _of_arm(word, runs_dir) or _named(word, runs_dir), runs_dir)
    if not found.runs:
        raise _no_run(word, runs_dir)
    return found


def known_runs(runs_dir: Path) -> list[Facts]:
    """Return what is known of the runs in a folder that can be read, the newest first."""
    known, _ = facts_of(list_runs(runs_dir))
    return known


def would_take(word: str, planned: Facts, known: Sequence[Facts]) -> bool:
    """Whether a word will name a run that is yet to be made, beside those that it names now.

    Args:
        word: as `find_set` takes it.
        planned: what will be known of the run, apart from its results.
        known: the runs that are there.
    """
    if is_condition(word) and not _is_name(word, known):
        wanted = conditions([word], where=SET)
        # How long it takes and what comes out is not known yet; that it ends is hoped.
        uncertain = _RESULTS - {"status", "steps", "epochs"}
        return all(plain_key(one.key) not in uncertain and one.holds(planned) for one in wanted)
    if ":" in word or Path(word).is_dir():
        return False
    if _is_name(word, known):
        return planned.row.name == word
    return planned.row.name != word and _fits(planned, word)


def _set_of(word: str, runs: Iterable[Run], runs_dir: Path) -> FoundSet:
    return FoundSet(word, tuple(map(found_run, _by_age(runs))), runs_dir)


def _fulfilling(word: str, runs_dir: Path) -> FoundSet:
    known = known_runs(runs_dir)
    wanted = conditions([word], where=SET)
    refuse_meaningless(wanted, known, where=SET)
    on_results = [one for one in wanted if plain_key(one.key) in _RESULTS]
    rest = [one for one in wanted if one not in on_results]
    allowed = [facts for facts in known if all(one.holds(facts) for one in rest)]
    chosen = [facts for facts in allowed if all(one.holds(facts) for one in on_results)]
    passed_over = [facts for facts in allowed if facts not in chosen and facts.row.status in ENDED]
    return FoundSet(
        word,
        tuple(found_run(run) for run in _loaded(chosen, runs_dir)),
        runs_dir,
        tuple(map(_typed, on_results)),
        tuple(_loaded(passed_over, runs_dir)) if on_results else (),
    )


def _typed(one: Condition) -> str:
    return f"{one.key}{one.relation}{','.join(one.values)}"


def _loaded(chosen: Iterable[Facts], runs_dir: Path) -> list[Run]:
    """Open runs, and sort them by their age."""
    return _by_age(load_run(runs_dir / one.row.run) for one in chosen)


def _by_age(runs: Iterable[Run]) -> list[Run]:
    """Return runs, the oldest first."""
    return sorted(runs, key=_begun)


def _is_name(word: str, known: Sequence[Facts]) -> bool:
    """Whether a run has this very name, which may look like a condition."""
    return any(word in (one.row.run, one.row.name) for one in known)


def _named(word: str, runs_dir: Path) -> list[Run]:
    """Return the runs whose name, or the name of whose directory, fits a pattern."""
    known = known_runs(runs_dir)
    exact = [one for one in known if word in (one.row.run, one.row.name)]
    fitting = exact or [one for one in known if _fits(one, word)]
    return [load_run(runs_dir / one.row.run) for one in fitting]


def _fits(facts: Facts, word: str) -> bool:
    pattern = word if any(sign in word for sign in "*?[") else f"*{word}*"
    return fnmatchcase(facts.row.name, pattern) or fnmatchcase(facts.row.run, pattern)


def _of_arm(word: str, runs_dir: Path) -> list[Run]:
    """Return the measuring trials of an arm of a comparison; none if the word names no comparison.

    Raises:
        UserError: if the comparison has no such arm, or none is named.
    """
    name, colon, arm = word.rpartition(":") if ":" in word else (word, "", "")
    comparison = find_comparison(name, runs_dir) if colon else _comparison(name, runs_dir)
    if comparison is None:
        return []
    store = TrialStore(comparison.opened())
    arms = {state.arm.name: state for state in store.states()}
    if arm not in arms:
        raise _no_arm(name, [*arms], arm)
    trials = (comparison.trial(trial.id) for trial in arms[arm].measuring)
    return [run for run in trials if run is not None]


def _no_arm(name: str, arms: Sequence[str], arm: str) -> UserError:
    problem = f"{name} has no arm '{arm}'" if arm else f"{name} is a comparison"
    sets = [f"{name}:{one}" for one in arms]
    return UserError(
        f"{problem}. A set is one of its arms.",
        where=SET,
        choices=[f"{name}:{one}" for one in nearest(arm, arms)] or sets,
        hint=shlex.join(["gradcli", "runs", "compare", *sets[:2]]),
    )


def _comparison(name: str, runs_dir: Path) -> ComparisonDirectory | None:
    """Return the comparison that a word names exactly."""
    if is_comparison(Path(name)):
        return ComparisonDirectory(Path(name))
    found = list_comparisons(runs_dir)
    return next((one for one in found if name in (one.name, LATEST)), None)


def _begun(run: Run) -> tuple[datetime, str]:
    return datetime.fromisoformat(run.state["started"]).astimezone(), str(run.path)


def _no_run(word: str, runs_dir: Path) -> UserError:
    meant = next((one for one in list_comparisons(runs_dir) if word in one.name), None)
    if meant is not None:
        states = TrialStore(meant.opened()).states()
        return _no_arm(meant.name, [state.arm.name for state in states], "")
    rows = [run.row() for run in list_runs(runs_dir) if run.is_readable]
    if not rows:
        return UserError(f"There are no runs in {runs_dir}.", where=SET, hint="gradcli train")
    names: Iterable[str] = dict.fromkeys(row.name or row.run for row in rows)
    listed: Sequence[str] = [*names]
    return UserError(
        f"No run in {runs_dir} is meant by '{word}'.",
        where=SET,
        choices=nearest(word, listed) or listed[:5],
        hint="gradcli runs list",
    )
