"""Which trials' checkpoints are still of use, given the outcomes so far."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from gradcli.comparison.protocol.advance import ArmState
from gradcli.comparison.protocol.arms import Trial
from gradcli.comparison.protocol.tuning import Outcome, Outcomes, has_ended


def best_trial(state: ArmState, outcomes: Outcomes) -> Trial | None:
    """Return the trial with the best validation score of those that measure an arm.

    None if none has one yet.
    """
    merits = {one.id: outcomes.get(one.id, Outcome("waiting")).merit for one in state.measuring}
    scored = [one for one in state.measuring if not math.isnan(merits[one.id])]
    return max(scored, key=lambda one: merits[one.id], default=None)


def dispensable(
    states: Sequence[ArmState],
    outcomes: Outcomes,
    best_arm: str | None = None,
    without: Container[str] = (),
) -> dict[str, bool]:
    """Return the trials that nothing will continue, each with whether its last checkpoint stays.

    Only those with `checkpoint.keep=auto`: others decide for themselves. A trial that may go on is
    none of them, such as one that failed and is tried again, or one that halving has stopped while
    other trials can still change that. Of the trials that measure an arm, the best may turn out to
    be the best of all.

    Args:
        states: of all arms.
        outcomes: of the trials that have begun, by id.
        best_arm: the arm that ranks first, once that is known for good.
        without: the names of arms that have not changed since this was last asked: their trials are
            left out.
    """
    leading = [state for state in states if best_arm in (None, state.arm.name)]
    best = {one.id for state in leading if (one := best_trial(state, outcomes)) is not None}
    over: dict[str, bool] = {}
    for state in states:
        for trial in () if state.arm.name in without else state.trials:
            is_over = has_ended(trial, outcomes) and outcomes[trial.id].status != "failed"
            is_over |= best_arm is not None and trial.id in state.stopped
            is_best = trial.id in best
            if is_over and _keep(trial) == "auto" and (best_arm is not None or not is_best):
                over[trial.id] = is_best
    return over


def _keep(trial: Trial) -> str:
    return str(trial.config.get("checkpoint", {}).get("keep", "auto"))
