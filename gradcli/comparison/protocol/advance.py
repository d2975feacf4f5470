"""Which trials a fair comparison needs next: pure functions of what is known so far.

Stage 1 tunes: every arm tries the learning rates of its own grid, or as many settings of a search,
with the same seeds, and the one with the best mean validation score is chosen. Stage 2 measures it
with fresh seeds. All arms get the same number of trials of each kind.

A search is also measured at smaller budgets: with the same fresh seeds, what would have been chosen
if it had ended earlier. The budget decides rankings (Choi et al. 2019, "On empirical comparisons of
optimizers for deep learning", arXiv 1910.05446).

The outcomes of trials are the whole state. `advance` replays the protocol on them from the start,
so a comparison that resumes after a kill is the same as one that never stopped, and the order in
which trials end does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from gradcli.comparison.protocol.arms import Arm, ArmSearch, Candidate, Trial, make_trials
from gradcli.comparison.protocol.tuning import (
    GridTuning,
    Outcomes,
    SearchTuning,
    Tuning,
    Wanted,
    has_ended,
)
from gradcli.comparison.results import ArmStage, Stage
from gradcli.comparison.search import Tried


@dataclass(frozen=True, slots=True)
class Protocol:
    """How arms are tuned and measured; see `configs/protocol/`."""

    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    widenings: int
    widen_by: int
    rungs: tuple[float, ...]
    """The fractions of a trial at which successive halving looks, rising; none without it."""
    budgets: tuple[int, ...] = ()
    """The numbers of settings, rising, after which a search is measured before its end."""


@dataclass(frozen=True, slots=True)
class EarlierChoice:
    """What a search would have chosen with fewer settings, and the trials that measure it."""

    settings: int
    chosen: Candidate | None
    """None if none of them has a score."""
    measuring: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class ArmState:
    """How far an arm is, given the outcomes so far."""

    arm: Arm
    stage: ArmStage
    candidates: tuple[Candidate, ...]
    """Of a grid, rising, with what widening has added; of a search, in the order of proposal."""
    chosen: Candidate | None
    """What is measured; None until it is chosen, and for good if none of those tried has a
    score."""
    tuning: tuple[Trial, ...]
    measuring: tuple[Trial, ...]
    """None unless a candidate is chosen."""
    stopped: frozenset[str]
    """The ids of tuning trials that successive halving stopped."""
    wanted: tuple[Wanted, ...]
    """The trials to run, and the step at which each pauses (None: its end)."""
    earlier: tuple[EarlierChoice, ...] = ()
    """Of a search, at smaller budgets; empty until its choice is made."""
    lacks: int = 0
    """The settings that must be proposed before any other trial is wanted."""
    tried: tuple[Tried, ...] = ()
    """How each candidate of a search went, once all have ended; from it follow more proposals."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.wanted and not self.lacks

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials known so far, each once."""
        earlier = (one.measuring for one in self.earlier)
        return _each_once((self.tuning, self.measuring, *earlier))

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of the candidates."""
        return tuple(one.learning_rate for one in self.candidates)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen learning rate is an end of those tried."""
        rates = sorted(set(self.rates))
        if len(rates) < 2 or self.chosen is None:
            return False
        return self.chosen.learning_rate in (rates[0], rates[-1])


class Memory:
    """What `advance` found out about each arm, for as long as its trials do not change.

    `advance` is a function of the outcomes alone. Where one comparison asks it again after each of
    thousands of trials, a memory spares it the arms whose trials are as they were.
    """

    def __init__(self) -> None:
        self._found: dict[str, dict[Hashable, Any]] = {}

    def forget(self, arm: str) -> None:
        """Forget an arm: the outcome of one of its trials has changed, or the arm itself."""
        self._found.pop(arm, None)

    def recall(self, arm: str, what: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what is known of an arm; it is computed the first time."""
        of_arm = self._found.setdefault(arm, {})
        if what not in of_arm:
            of_arm[what] = compute()
        return of_arm[what]


def advance(
    arms: Sequence[Arm],
    protocol: Protocol,
    data_sha256: str,
    outcomes: Outcomes,
    memory: Memory | None = None,
) -> tuple[ArmState, ...]:
    """Return the state of each arm, with the trials that it needs next.

    When the comparison is over, no arm wants a trial or lacks a setting.

    Args:
        arms: what is compared.
        protocol: how.
        data_sha256: the fingerprint of the data, a part of every trial's id.
        outcomes: of the trials that have begun, by id.
        memory: of an earlier call with the same protocol and data, which has forgotten each arm
            that has changed since, or any of whose trials has. An arm that it remembers has the
            very same state again.
    """
    known = Memory() if memory is None else memory
    seeds, rungs = protocol.tuning_seeds, protocol.rungs

    def state(tuning: GridTuning | SearchTuning, stage: ArmStage, may_choose: bool) -> ArmState:
        found: ArmState = known.recall(
            tuning.arm.name,
            (tuning, stage, may_choose),
            lambda: _state(tuning, stage, may_choose, protocol, data_sha256, outcomes),
        )
        return found

    def searched(arm: Arm, search: ArmSearch) -> SearchTuning:
        found: SearchTuning = known.recall(
            arm.name,
            "search",
            lambda: SearchTuning(arm, search, seeds, rungs, data_sha256, outcomes),
        )
        return found

    def tuned(arm: Arm, rates: tuple[float, ...]) -> GridTuning:
        found: GridTuning = known.recall(
            arm.name, rates, lambda: GridTuning(arm, rates, seeds, rungs, data_sha256, outcomes)
        )
        return found

    if any(arm.search for arm in arms):
        searches = [searched(arm, arm.search) for arm in arms if arm.search]
        return tuple(state(one, "tuning", one.is_done) for one in searches)

    tunings = [tuned(arm, arm.rates) for arm in arms]
    grids = [arm.grid for arm in arms]
    widened = 0
    while widened < protocol.widenings and any(grid is not None for grid in grids):
        if not all(tuning.is_done for tuning in tunings) or not any(
            tuning.is_best_at_end for tuning in tunings if tuning.arm.grid is not None
        ):
            break
        grids = [
            grid and grid.beyond(tuning.best().learning_rate, protocol.widen_by)
            for grid, tuning in zip(grids, tunings, strict=True)
        ]
        tunings = [
            tuned(arm, grid.rates if grid else arm.rates)
            for arm, grid in zip(arms, grids, strict=True)
        ]
        widened += 1
    # An arm can start measuring once no other arm can still widen the grids.
    may_widen = widened < protocol.widenings and any(one.may_end_at_edge for one in tunings)
    stage: ArmStage = "widening" if widened else "tuning"
    return tuple(state(one, stage, one.is_done and not may_widen) for one in tunings)


def _state(
    tuning: GridTuning | SearchTuning,
    tuning_stage: ArmStage,
    may_choose: bool,
    protocol: Protocol,
    data_sha256: str,
    outcomes: Outcomes,
) -> ArmState:
    chosen = tuning.choice() if may_choose else None
    measuring = _measuring(tuning, chosen, protocol, data_sha256)
    earlier: tuple[EarlierChoice, ...] = ()
    lacks = 0
    if isinstance(tuning, SearchTuning):
        lacks = tuning.lacks
        if may_choose:
            choices = [(count, tuning.choice(count)) for count in protocol.budgets]
            earlier = tuple(
                EarlierChoice(count, one, _measuring(tuning, one, protocol, data_sha256, "budget"))
                for count, one in choices
            )
    # The whole budget first: it answers what was asked.
    to_measure = _each_once((measuring, *(one.measuring for one in reversed(earlier))))
    wanted = tuning.wanted or tuple(
        (trial, None) for trial in to_measure if not has_ended(trial, outcomes)
    )
    stage: ArmStage
    if not tuning.is_done:
        stage = tuning_stage
    elif not may_choose:
        stage = "waiting"
    else:
        stage = "measuring" if wanted else "done"
    return ArmState(
        arm=tuning.arm,
        stage=stage,
        candidates=tuning.candidates,
        chosen=chosen,
        tuning=tuning.trials,
        measuring=measuring,
        stopped=frozenset(trial.id for one in tuning.stopped for trial in tuning.by_candidate[one]),
        wanted=wanted,
        earlier=earlier,
        lacks=lacks,
        tried=() if tuning.wanted else tuple(map(tuning.tried, tuning.candidates)),
    )


def _each_once(groups: Iterable[Sequence[Trial]]) -> tuple[Trial, ...]:
    """Return the trials of all groups; one that is in several is that of the first."""
    found: dict[str, Trial] = {}
    for trial in chain.from_iterable(groups):
        found.setdefault(trial.id, trial)
    return tuple(found.values())


def _measuring(
    tuning: Tuning,
    chosen: Candidate | None,
    protocol: Protocol,
    data_sha256: str,
    stage: Stage = "measuring",
) -> tuple[Trial, ...]:
    """Return the trials that measure a candidate with the fresh seeds."""
    if chosen is None:
        return ()
    return make_trials(tuning.arm, chosen, protocol.seeds, stage, data_sha256)
