"""The validation score that a comparison times: where it comes from.

A fixed number fits no problem but the one that it was chosen for. By default the score follows from
the tuning: half of the tuning trials of the chosen settings had reached it after a third of their
steps, so that most arms reach it, by whatever metric and in however many epochs, and do so while
scores still rise. The trials that are timed have other seeds, so the score is not chosen by what it
is a target for.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradcli.comparison.protocol import ArmState, Candidate, Outcomes
from gradcli.records import Metric

#: What sets the target; `` if a comparison does not say, as those from before it was kept.
TargetOrigin = Literal["", "tuning", "protocol", "problem", "data"]
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """How a comparison times its arms."""

    origin: TargetOrigin
    validates: bool
    """Whether the measuring trials are validated within epochs."""


#: Of a comparison from before there was a plan for it: trials are timed by the ends of epochs.
UNTOLD = TargetPlan("", validates=False)


def is_chosen(states: Sequence[ArmState]) -> bool:
    """Whether all arms are tuned, so that the target is known and stays what it is."""
    return all(state.stage in ("measuring", "done") for state in states)


def target_from_tuning(states: Sequence[ArmState], outcomes: Outcomes, metric: Metric) -> float:
    """Return the score that half of the chosen tuning trials had reached early (`Outcome.early`).

    Rounded to three digits, to the side that is easier to reach; NaN without any score.

    Args:
        states: of all arms, each with what was chosen for it.
        outcomes: of the trials, by id.
        metric: of the scores.
    """
    merits = [
        outcomes[trial.id].early
        for state in states
        for trial in state.tuning
        if state.chosen == Candidate(trial.learning_rate, trial.setting) and trial.id in outcomes
    ]
    known = [merit for merit in merits if math.isfinite(merit)]
    if not known:
        return math.nan
    return metric.merit(_rounded_down(statistics.median_low(known)))


def _rounded_down(value: float) -> float:
    """Return a number with three digits that is at most `value`."""
    if value == 0:
        return value
    places = _DIGITS - 1 - math.floor(math.log10(abs(value)))
    nearest = round(value, places)
    return nearest if nearest <= value else round(nearest - 10.0**-places, places)
