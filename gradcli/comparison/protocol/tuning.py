"""How one arm is tuned: which trials its candidates need next, and which of them is best so far.

An arm tries the learning rates of a grid, or the settings of a search. Both are pure functions of
the outcomes so far; `protocol` decides when an arm has tuned enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gradcli.comparison.protocol.arms import Arm, ArmSearch, Candidate, Trial, make_trials
from gradcli.comparison.results import TrialStatus
from gradcli.comparison.search import Tried

_ENDED = ("finished", "diverged", "failed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the protocol needs to know of a trial that has begun."""

    status: TrialStatus
    merit: float = math.nan
    """Its validation score after its last step, turned so that more is better (`Metric.merit`); NaN
    unless finished."""
    rungs: Mapping[int, float] = field(default_factory=dict)
    """The merit at the steps at which it paused."""
    early: float = math.nan
    """The best merit of its evaluations up to the first one after two fifths of its steps; NaN
    unless finished."""


Outcomes = Mapping[str, Outcome]
#: A trial to run, and the step at which it pauses (None: its end).
Wanted = tuple[Trial, int | None]


class Tuning:
    """The tuning of one arm on the candidates known so far, given the outcomes so far.

    Args:
        arm: what is tuned.
        heats: its candidates; those of one heat are halved together, in this order.
        seeds: of the trials of each candidate; none if there is nothing to choose.
        rungs: the fractions of a trial at which halving looks.
        data_sha256: the fingerprint of the data.
        outcomes: of the trials that have begun, by id.
    """

    def __init__(
        self,
        arm: Arm,
        heats: Sequence[Sequence[Candidate]],
        seeds: tuple[int, ...],
        rungs: Sequence[float],
        data_sha256: str,
        outcomes: Outcomes,
    ) -> None:
        self.arm, self.outcomes = arm, outcomes
        self.candidates = tuple(candidate for heat in heats for candidate in heat)
        self.by_candidate = {
            one: make_trials(arm, one, seeds, "tuning", data_sha256) for one in self.candidates
        }
        self.scores = {one: _score(self.by_candidate[one], outcomes) for one in self.candidates}
        self.rungs = [max(1, int(fraction * arm.steps)) for fraction in rungs]
        self.stopped: set[Candidate] = set()
        self.wanted: tuple[Wanted, ...] = ()
        if seeds:
            for heat in heats:
                wanted, stopped = self._halve(heat)
                self.wanted += wanted
                self.stopped |= stopped

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, candidate by candidate."""
        return tuple(trial for trials in self.by_candidate.values() for trial in trials)

    def best(self, first: int | None = None) -> Candidate:
        """Return the one with the best score among the first candidates, the first if several tie.

        Args:
            first: how many count; None for all.
        """
        return max(self.candidates[:first], key=self.scores.__getitem__)

    def choice(self, first: int | None = None) -> Candidate | None:
        """Return what may be measured: the only candidate, or the best if it has a score."""
        best = self.best(first)
        return best if not self.trials or self.scores[best] > -math.inf else None

    def tried(self, candidate: Candidate) -> Tried:
        """Return what a searcher is told of a candidate."""
        trials = self.by_candidate[candidate]
        merit, fraction = self.scores[candidate], 1.0
        if candidate in self.stopped:
            for rung in self.rungs:
                if all(_has_rung(one, rung, self.outcomes) for one in trials):
                    merit = _score(trials, self.outcomes, rung)
                    fraction = rung / self.arm.steps
        return Tried(candidate.setting, merit, fraction)

    def _halve(self, heat: Sequence[Candidate]) -> tuple[tuple[Wanted, ...], set[Candidate]]:
        """Return the trials that a heat wants next, and the candidates that were stopped.

        With successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm
        identification and hyperparameter optimization"), all run to a rung, and the better half of
        them to the next; the last survivors run to the end.
        """
        alive, stopped = list(heat), set[Candidate]()
        place = {candidate: index for index, candidate in enumerate(heat)}
        for rung in self.rungs:
            behind = tuple(
                (trial, rung)
                for candidate in alive
                for trial in self.by_candidate[candidate]
                if not (has_ended(trial, self.outcomes) or _has_rung(trial, rung, self.outcomes))
            )
            if behind:
                return behind, stopped
            scores = {one: _score(self.by_candidate[one], self.outcomes, rung) for one in alive}
            ranked = sorted(alive, key=lambda one: (-scores[one], place[one]))
            survivors = set(ranked[: math.ceil(len(ranked) / 2)])
            stopped |= set(alive) - survivors
            alive = [one for one in alive if one in survivors]
        to_the_end = tuple(
            (trial, None)
            for candidate in alive
            for trial in self.by_candidate[candidate]
            if not has_ended(trial, self.outcomes)
        )
        return to_the_end, stopped


class GridTuning(Tuning):
    """The tuning of an arm's learning rate on a grid, rising."""

    def __init__(
        self,
        arm: Arm,
        rates: Sequence[float],
        seeds: tuple[int, ...],
        rungs: Sequence[float],
        data_sha256: str,
        outcomes: Outcomes,
    ) -> None:
        candidates = tuple(map(Candidate, rates))
        seeds = seeds if len(rates) > 1 else ()
        super().__init__(arm, [candidates], seeds, rungs, data_sha256, outcomes)
        # The ends first: whether they are best decides if the grid is widened.
        middle = math.log(rates[0] * rates[-1]) / 2 if len(rates) > 1 else 0.0
        self.wanted = tuple(
            sorted(self.wanted, key=lambda one: -abs(math.log(one[0].learning_rate) - middle))
        )

    @property
    def is_done(self) -> bool:
        """Whether every learning rate is tried."""
        return not self.wanted

    @property
    def ends(self) -> tuple[Candidate, ...]:
        """The lowest and the highest learning rate; none if there is only one."""
        return (self.candidates[0], self.candidates[-1]) if len(self.candidates) > 1 else ()

    @cached_property
    def is_best_at_end(self) -> bool:
        """Whether the best learning rate so far is an end of the grid."""
        return self.best() in self.ends

    @cached_property
    def may_end_at_edge(self) -> bool:
        """Whether the grid may still need widening."""
        if self.arm.grid is None or not self.ends:
            return False
        pending = {trial.learning_rate for trial, _ in self.wanted}
        return self.is_best_at_end or any(end.learning_rate in pending for end in self.ends)


class SearchTuning(Tuning):
    """The tuning of an arm by the settings of a search, in the order of their proposal."""

    def __init__(
        self,
        arm: Arm,
        search: ArmSearch,
        seeds: tuple[int, ...],
        rungs: Sequence[float],
        data_sha256: str,
        outcomes: Outcomes,
    ) -> None:
        heats = [[arm.candidate(setting) for setting in batch] for batch in search.batches]
        super().__init__(arm, heats, seeds, rungs, data_sha256, outcomes)
        unproposed = search.settings - len(self.candidates)
        #: How many more settings the searcher must propose before the tuning can go on.
        self.lacks = 0 if self.wanted else min(unproposed, search.batch)

    @property
    def is_done(self) -> bool:
        """Whether every setting is proposed and tried."""
        return not self.wanted and not self.lacks


def has_ended(trial: Trial, outcomes: Outcomes) -> bool:
    """Whether a trial has a result, or none for good."""
    outcome = outcomes.get(trial.id)
    return outcome is not None and outcome.status in _ENDED


def _has_rung(trial: Trial, rung: int, outcomes: Outcomes) -> bool:
    return trial.id in outcomes and rung in outcomes[trial.id].rungs


def _score(trials: Sequence[Trial], outcomes: Outcomes, rung: int | None = None) -> float:
    """Return the mean merit of trials, at a rung or at their end.

    If one of them diverged, failed or has not got that far, the mean is below every other: a
    candidate that fails with some seeds is not chosen for the others.
    """
    merits = []
    for trial in trials:
        outcome = outcomes.get(trial.id, Outcome("waiting"))
        merit = outcome.merit if rung is None else outcome.rungs.get(rung, math.nan)
        if outcome.status in ("diverged", "failed") or math.isnan(merit):
            return -math.inf
        merits.append(merit)
    return math.fsum(merits) / len(merits) if merits else -math.inf
