"""What counts as right: pure functions of what was planted and what was said.

A fault counts only if it matters: unless its kind is structural, a training that ends within
`TOO_WEAK` of its twin is scored as a healthy one. A twin or a sound training that does not learn
proves nothing, and its case is left out and counted as `void`. `undetermined` is wrong for a fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from diagnosis_corpus.cases import Answer, Case
from diagnosis_corpus.trial import Said, Trial

#: A fault that costs at most this much accuracy is too weak to matter.
TOO_WEAK = 0.01
#: A `try` helps if it comes this close to the twin, and harms if it ends this far below the fault.
#: Two standard deviations of the difference of two accuracies of 0.9 on 1,000 images: 0.027.
MARGIN = 0.03
#: A twin, and a training that is to be judged as a sound one, must reach this level. Guessing
#: among ten classes has 0.1; between 0.1 and here it is open whether a training is sound.
LEARNS = 0.4


@dataclass(frozen=True)
class Score:
    """What was right in one case; None where the question does not arise."""

    status: str
    """`fault`, `healthy`, `weak` (scored as healthy) or `void` (not scored)."""
    first: str
    """The first code that is not a remark; `healthy` if there is none."""
    code: bool | None = None
    layer: bool | None = None
    root_first: bool | None = None
    mend: bool | None = None
    try_given: bool | None = None
    try_helps: bool | None = None
    try_harms: bool | None = None
    false_alarm: bool | None = None
    undetermined: bool | None = None

    @property
    def right(self) -> bool | None:
        """Of a fault: code and layer; of a healthy training: silence."""
        if self.status == "fault":
            return bool(self.code and self.layer)
        if self.status == "void":
            return None
        return not (self.false_alarm or self.undetermined)


def score(case: Case, trial: Trial, answer: Answer) -> Score:
    """Score one case."""
    said = [one for one in trial.said if one.severity != "info"]
    first = said[0].code if said else ("error" if trial.error else "healthy")
    if not case.kind.is_fault:
        if trial.level is not None and trial.level < LEARNS:
            return Score("void", first)
        return _score_healthy("healthy", trial, first)
    if trial.twin_level is not None and trial.level is not None and not trial.error:
        if trial.twin_level < LEARNS:
            return Score("void", first)
        if is_too_weak(trial.level, trial.twin_level) and not case.kind.structural:
            return _score_healthy("weak", trial, first)
    named = [one for one in said if one.code in answer.codes]
    best = named[0] if named else None
    tried = case.kind.by_override
    return Score(
        "fault",
        first,
        code=best is not None,
        layer=any(names_layer(one.layer, answer.layers) for one in named),
        root_first=first in answer.codes,
        mend=names_mend(best, answer.mend) if answer.mend else None,
        try_given=bool(said and said[0].override) if tried else None,
        try_helps=_helps(trial) if tried else None,
        try_harms=harms(trial.tried_level, trial.level) if tried else None,
    )


def _helps(trial: Trial) -> bool | None:
    # Advice that the command refuses helps nobody.
    return False if trial.try_error else reaches(trial.tried_level, trial.twin_level)


def _score_healthy(status: str, trial: Trial, first: str) -> Score:
    alarms = [one.code for one in trial.said if one.severity != "info"]
    return Score(
        status,
        first,
        false_alarm=bool(trial.error) or any(code != "undetermined" for code in alarms),
        undetermined=any(one.code == "undetermined" for one in trial.said),
    )


def is_too_weak(level: float, twin: float) -> bool:
    """Return whether a fault costs too little to matter."""
    return level >= twin - TOO_WEAK - 1e-9


def names_layer(layer: str | None, expected: tuple[str, ...]) -> bool:
    """Return whether a finding names one of these layers; True if no layer is expected."""
    if not expected:
        return True
    return layer is not None and layer in expected


def names_mend(said: Said | None, groups: tuple[tuple[str, ...], ...]) -> bool:
    """Return whether a message holds a word of each group."""
    if said is None:
        return False
    message = said.message.lower()
    return all(any(word in message for word in group) for group in groups)


def reaches(level: float | None, twin: float | None) -> bool | None:
    """Return whether a `try` came within the margin of the twin; None if there was no `try`."""
    if level is None or twin is None:
        return None
    return level >= twin - MARGIN - 1e-9


def harms(level: float | None, before: float | None) -> bool | None:
    """Return whether a `try` made things worse by more than noise; None if there was none."""
    if level is None or before is None:
        return None
    return level < before - MARGIN - 1e-9


def share(answers: Iterable[bool | None]) -> tuple[int, int]:
    """Return how many are true, and of how many; None is left out."""
    known = [one for one in answers if one is not None]
    return sum(known), len(known)


def wilson(right: int, of: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927), by default at 95%; NaN for none of none."""
    if not of:
        return math.nan, math.nan
    p = right / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)
