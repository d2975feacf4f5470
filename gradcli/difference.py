"""Two runs laid side by side: what was asked, how they were made, and what they came to.

Everything is read from the run directories, in bounded memory however long the runs were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcli.config import flat_settings
from gradcli.records import Floats, StepRecords, TrainSummary
from gradcli.runs import Run
from gradcli.summary import summarise

# A long run is read in blocks that stay in a processor's cache.
_ROWS_AT_ONCE = 5_000
# What tells runs apart, and changes nothing.
_LABELS = {"name"}


@dataclass(frozen=True, slots=True)
class Contrast:
    """A fact that differs between two runs; None where one of them has none."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What sets two runs apart."""

    a: TrainSummary
    b: TrainSummary
    overrides: tuple[str, ...]
    """Those that the first was begun with."""
    settings: tuple[Contrast, ...]
    """What differs in their configs, by the keys with which an override sets it."""
    origin: tuple[Contrast, ...]
    """What differs in the code, the versions, the machine and the data that made them."""
    steps_compared: int
    """The logged steps that both have."""
    first_different_step: int | None
    """The first of those at which a number on record differs; None where all are equal."""

    @property
    def decisions(self) -> tuple[Contrast, ...]:
        """The settings that differ, without those that only follow from the choice of an option."""
        chosen = {one.key for one in self.settings if "." not in one.key}
        return tuple(
            one for one in self.settings if one.key.partition(".")[0] not in chosen - {one.key}
        )

    @property
    def is_same(self) -> bool:
        """Whether the two have made equal steps, as many as each other, at equal settings."""
        return (
            not self.settings
            and self.first_different_step is None
            and self.a.steps == self.b.steps
            and self.steps_compared > 0
        )


def difference(a: Run, b: Run) -> RunDifference:
    """Compare two runs, in whatever state they are.

    Raises:
        UserError: where one ended before its model was built, or its config is broken.
    """
    compared, first = _first_different_step(a.steps, b.steps)
    return RunDifference(
        a=summarise(a),
        b=summarise(b),
        overrides=tuple(a.overrides),
        settings=_contrasts(_settings(a), _settings(b)),
        origin=_contrasts(_origin(a), _origin(b)),
        steps_compared=compared,
        first_different_step=first,
    )


def _settings(run: Run) -> dict[str, Any]:
    settings = flat_settings(run.config, where=f"the config of {run.path}")
    return {key: value for key, value in settings.items() if key not in _LABELS}


def _origin(run: Run) -> dict[str, Any]:
    """Return what made a run besides its config."""
    state, info = run.state, run.info
    git = state.get("git") or {}
    commit = f"{git['commit'][:12]}{', changed' if git['dirty'] else ''}" if git else None
    return {
        "code": commit,
        **state.get("versions", {}),
        "platform": state.get("platform"),
        "host": state.get("host"),
        "device": info.device,
        "threads": info.threads,
        "data": info.data.name,
        "data sha256": info.data.sha256[:12],
    }


def _contrasts(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """Return the keys whose values differ, in the order of the first, then of the second."""
    keys = dict.fromkeys([*a, *b])
    return tuple(Contrast(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key))


def _first_different_step(a: StepRecords, b: StepRecords) -> tuple[int, int | None]:
    """Return how many logged steps both have, and the first of them that is not the same in both.

    The norms of the parameters are compared, too, where the runs have equally many of them. What
    is written down has float32's digits.
    """
    common, of_a, of_b = np.intersect1d(a.step, b.step, assume_unique=True, return_indices=True)
    for start in range(0, len(common), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        different = ~_same_rows(a, of_a[block], b, of_b[block])
        if different.any():
            return len(common), int(common[start + int(np.argmax(different))])
    return len(common), None


def _same_rows(
    a: StepRecords, rows_of_a: NDArray[np.intp], b: StepRecords, rows_of_b: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return for each pair of rows whether they hold the same numbers; NaN is equal to NaN."""
    same = _equal(a.loss[rows_of_a], b.loss[rows_of_b])
    norms = a.parameter_grad_norm_before_clip, b.parameter_grad_norm_before_clip
    if norms[0].shape[1] == norms[1].shape[1]:
        same &= _equal(norms[0][rows_of_a], norms[1][rows_of_b]).all(axis=1)
    return same


def _equal(a: Floats, b: Floats) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = np.equal(a, b) | (np.isnan(a) & np.isnan(b))
    return same
