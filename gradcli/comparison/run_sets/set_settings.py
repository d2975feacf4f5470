"""In which settings sets of runs differ, and in which the runs of one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradcli.comparison.run_sets.members import FoundRun

#: The updates that a run made: a result, but of a user's own loop nothing else says how long it is.
STEPS: Final = "steps"
_RATE: Final = "optimizer.lr"


@dataclass(frozen=True, slots=True)
class SetSettings:
    """The settings of a set."""

    shared: dict[str, Any]
    """Those that all its runs have, and with one value."""
    mixed: tuple[str, ...]
    """The keys in which its runs differ."""
    chosen: frozenset[str]
    """The keys that were set for a run of it by an override, and the learning rate."""


def settings_of(runs: Sequence[FoundRun]) -> SetSettings:
    """Return the settings of a set, and the keys in which its runs differ."""
    values: dict[str, list[str]] = defaultdict(list)
    known: dict[str, Any] = {}
    for found in runs:
        for key, value in _settings(found).items():
            values[key].append(_text(value))
            known[key] = value
    shared = {
        key for key, texts in values.items() if len(texts) == len(runs) and len({*texts}) == 1
    }
    chosen = _chosen(runs, values)
    mixed = _without_options_of([key for key in values if key not in shared], chosen)
    return SetSettings({key: known[key] for key in values if key in shared}, mixed, chosen)


def differing_settings(sets: Sequence[SetSettings]) -> tuple[str, ...]:
    """Return the keys in which sets differ.

    What differs within a set is no difference between sets, nor is what a set lacks, unless it was
    set for the others by an override. If another option is chosen, its own keys are left out, apart
    from those that were set and the learning rate: they do not follow from the option.
    """
    every = dict.fromkeys(key for one in sets for key in one.shared)
    shared = [key for key in every if all(key in one.shared for one in sets)]
    differing = {key for key in shared if len({_text(one.shared[key]) for one in sets}) > 1}
    chosen = frozenset().union(*(one.chosen for one in sets))
    of_one_option = {
        key
        for key in chosen & every.keys() - {*shared}
        if all(one.shared and key not in one.mixed for one in sets)
    }
    return _without_options_of([key for key in every if key in differing | of_one_option], chosen)


def _settings(found: FoundRun) -> dict[str, Any]:
    """Return the settings of a run; of a loop of one's own that ended, also how long it was."""
    if found.is_own_loop and found.run.status == "finished":
        return {**found.settings, STEPS: found.steps}
    return dict(found.settings)


def _chosen(runs: Iterable[FoundRun], keys: Iterable[str]) -> frozenset[str]:
    """Return those of the keys that an override set, alone or with others in one value."""
    given = {word.lstrip("+").partition("=")[0] for found in runs for word in found.all_overrides}
    return frozenset(key for key in keys if key == _RATE or not given.isdisjoint(_above(key)))


def _above(key: str) -> Iterator[str]:
    """Return a key, and the keys that it is a part of, apart from its group."""
    while "." in key:
        yield key
        key = key.rpartition(".")[0]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _group(key: str) -> str:
    return key.partition(".")[0]


def _without_options_of(keys: Sequence[str], chosen: frozenset[str]) -> tuple[str, ...]:
    """Leave out the keys that follow from an option which is itself among the keys."""
    groups = {key for key in keys if "." not in key}
    return tuple(
        key for key in keys if "." not in key or key in chosen or _group(key) not in groups
    )
