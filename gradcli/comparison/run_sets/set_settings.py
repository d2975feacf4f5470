"""In which settings sets of runs differ, and in which the runs of one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from gradcli.comparison.run_sets.members import FoundRun

#: The updates that a run made: no setting, but of a user's own loop nothing else says it.
STEPS: Final = "steps"
_DECIDE_STEPS: Final = {"epochs", "max_steps", "batch_size"}


def shared_settings(runs: Sequence[FoundRun]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings that all runs of a set share, and the keys in which they differ."""
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for found in runs:
        for key, value in {**found.settings, STEPS: found.steps}.items():
            values[key][_text(value)] = value
    shared = {key: next(iter(known.values())) for key, known in values.items() if len(known) == 1}
    mixed = tuple(key for key, known in values.items() if len(known) > 1)
    return shared, _without_options_of(mixed)


def differing_settings(
    settings: Sequence[tuple[dict[str, Any], tuple[str, ...]]],
) -> tuple[str, ...]:
    """Return the keys in which sets differ, given what `shared_settings` returned for each.

    What differs within a set, or is not recorded of one, is no difference between sets. If another
    option is chosen, its own keys are left out, and the steps if what they follow from differs.
    """
    of_all = [key for key in settings[0][0] if all(key in shared for shared, _ in settings)]
    differing = [key for key in of_all if len({_text(shared[key]) for shared, _ in settings}) > 1]
    if _DECIDE_STEPS & {*differing}:
        differing = [key for key in differing if key != STEPS]
    return _without_options_of(differing)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _without_options_of(keys: Sequence[str]) -> tuple[str, ...]:
    """Leave out the keys of an option, if the option itself is among the keys."""
    chosen = {key for key in keys if "." not in key}
    return tuple(key for key in keys if "." not in key or key.partition(".")[0] not in chosen)
