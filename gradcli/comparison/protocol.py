"""Which trials a fair comparison needs next: pure functions of what is known so far.

Stage 1 tunes: every arm tries the learning rates of its own grid with the same seeds, and the one
with the best mean validation score is chosen. Stage 2 measures it with fresh seeds. All arms get
the same number of trials of each kind.

The outcomes of trials are the whole state. `advance` replays the protocol on them from the start,
so a comparison that resumes after a kill is the same as one that never stopped, and the order in
which trials end does not matter.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gradcli.comparison.results import ArmInfo, ArmStage, Stage, TrialStatus

_ENDED = ("finished", "diverged", "failed")


@dataclass(frozen=True, slots=True)
class Grid:
    """Learning rates at some exponents around a centre: centre · 10^(exponent / per_decade).

    They are rounded to two digits, as a person would type them.
    """

    centre: float
    per_decade: int
    exponents: tuple[float, ...]
    """Rising."""

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates, rising."""
        return tuple(self.rate(exponent) for exponent in self.exponents)

    def rate(self, exponent: float) -> float:
        """Return the learning rate at an exponent."""
        return float(f"{self.centre * 10 ** (exponent / self.per_decade):.2g}")

    def beyond(self, best: float, count: int) -> Grid:
        """Return the grid with `count` more learning rates, placed where they help most.

        If the best one is an end of the grid, they are beyond it; else next to it, halving
        the distance to its neighbours.

        Args:
            best: the best learning rate so far.
            count: how many to add.
        """
        at = self.exponents[self.rates.index(best)]
        if at == self.exponents[0]:
            added = [at - step for step in range(1, count + 1)]
        elif at == self.exponents[-1]:
            added = [at + step for step in range(1, count + 1)]
        else:
            distances = (side / 2**halving for halving in range(1, count + 1) for side in (-1, 1))
            fresh = (at + distance for distance in distances)
            tried = set(self.rates)
            added = [exponent for exponent in fresh if self.rate(exponent) not in tried][:count]
        return Grid(self.centre, self.per_decade, tuple(sorted({*self.exponents, *added})))


def grid_around(centre: float, count: int, per_decade: int) -> Grid:
    """Return a grid of `count` learning rates with `centre` in the middle."""
    first = -(count // 2)
    return Grid(centre, per_decade, tuple(range(first, first + count)))


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """One way to train, with what its trials need; equal to nothing but itself."""

    info: ArmInfo
    """What the screens show of it."""
    config: Mapping[str, Any]
    """The resolved config of its trials, except for the learning rate and the seed."""
    grid: Grid | None
    """The grid of its learning rates, if that may be widened."""
    steps: int
    """The updates of a whole trial."""

    @property
    def name(self) -> str:
        """Its unique name."""
        return self.info.name

    @property
    def optimizer(self) -> str:
        """The option of `configs/optimizer/`."""
        return self.info.optimizer

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to try, rising; a single one is not tuned. NaN: it takes none."""
        return self.info.learning_rates


@dataclass(frozen=True, slots=True)
class Protocol:
    """How arms are tuned and measured; see `configs/protocol/`."""

    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    widenings: int
    widen_by: int
    rungs: tuple[float, ...]
    """The fractions of a trial at which successive halving looks, rising; none without it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of an arm."""

    id: str
    arm: str
    learning_rate: float
    seed: int
    stage: Stage
    config: Mapping[str, Any]


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
    """The best merit of its evaluations up to the first one after a third of its steps; NaN unless
    finished."""


Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class ArmState:
    """How far an arm is, given the outcomes so far."""

    arm: Arm
    stage: ArmStage
    rates: tuple[float, ...]
    """The grid with what widening has added, rising."""
    chosen: float | None
    """The learning rate that is measured; None until it is chosen, and for good if none of those
    tried has a score."""
    tuning: tuple[Trial, ...]
    measuring: tuple[Trial, ...]
    """None unless a learning rate is chosen."""
    stopped: frozenset[str]
    """The ids of tuning trials that successive halving stopped."""
    wanted: tuple[tuple[Trial, int | None], ...]
    """The trials to run, and the step at which each pauses (None: its end)."""

    @property
    def at_edge(self) -> bool:
        """Whether the chosen learning rate is an end of the grid."""
        return len(self.rates) > 1 and self.chosen in (self.rates[0], self.rates[-1])


# `advance` asks for the same trials whenever one has ended, and a hash takes 40 us.
@lru_cache(maxsize=65_536)
def make_trial(arm: Arm, learning_rate: float, seed: int, stage: Stage, data_sha256: str) -> Trial:
    """Return a trial of an arm; its id is a hash of all that its result depends on.

    The content of the data is part of it, their folder is not.
    """
    config = {**arm.config, "seed": seed}
    if not math.isnan(learning_rate):
        config["optimizer"] = with_rate(config["optimizer"], learning_rate)
    content = {**config, "data": {**config["data"], "folder": None}, "data_sha256": data_sha256}
    if groups := config["optimizer"].get("groups"):
        # Their order decides which of them takes a parameter, and the hash sorts keys.
        content["groups"] = list(groups)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Trial(digest[:12], arm.name, learning_rate, seed, stage, config)


def with_rate(optimizer: Mapping[str, Any], learning_rate: float) -> dict[str, Any]:
    """Return an optimizer at another learning rate, and its groups by the same factor."""
    changed = {**optimizer, "lr": learning_rate}
    groups = optimizer.get("groups")
    if groups and learning_rate != optimizer["lr"]:
        factor = learning_rate / optimizer["lr"]
        changed["groups"] = {
            # Without the last digits, so that 0.0043 times 10 is typed as 0.043.
            name: {**group, "lr": float(f"{group['lr'] * factor:.12g}")}
            if group and "lr" in group
            else group
            for name, group in groups.items()
        }
    return changed


def advance(
    arms: Sequence[Arm], protocol: Protocol, data_sha256: str, outcomes: Outcomes
) -> tuple[ArmState, ...]:
    """Return the state of each arm, with the trials that it needs next.

    When the comparison is over, no arm wants a trial.

    Args:
        arms: what is compared.
        protocol: how.
        data_sha256: the fingerprint of the data, a part of every trial's id.
        outcomes: of the trials that have begun, by id.
    """
    tunings = [_Tuning(arm, arm.rates, protocol, data_sha256, outcomes) for arm in arms]
    grids = [arm.grid for arm in arms]
    widened = 0
    while widened < protocol.widenings and any(grid is not None for grid in grids):
        if not all(tuning.is_done for tuning in tunings) or not any(
            tuning.is_at_edge for tuning in tunings if tuning.arm.grid is not None
        ):
            break
        grids = [
            grid and grid.beyond(tuning.best, protocol.widen_by)
            for grid, tuning in zip(grids, tunings, strict=True)
        ]
        tunings = [
            _Tuning(arm, grid.rates if grid else arm.rates, protocol, data_sha256, outcomes)
            for arm, grid in zip(arms, grids, strict=True)
        ]
        widened += 1
    final = widened == protocol.widenings
    return tuple(
        _state(
            tuning,
            # An arm can start measuring once no other arm can still widen the grids.
            chosen=tuning.is_done
            and (final or not any(other.may_end_at_edge for other in tunings)),
            widened=widened > 0,
            protocol=protocol,
            data_sha256=data_sha256,
            outcomes=outcomes,
        )
        for tuning in tunings
    )


class _Tuning:
    """The tuning of one arm on one grid, given the outcomes so far."""

    def __init__(
        self,
        arm: Arm,
        rates: tuple[float, ...],
        protocol: Protocol,
        data_sha256: str,
        outcomes: Outcomes,
    ) -> None:
        self.arm, self.rates = arm, rates
        seeds = protocol.tuning_seeds if len(rates) > 1 else ()
        self.by_rate = {
            rate: [make_trial(arm, rate, seed, "tuning", data_sha256) for seed in seeds]
            for rate in rates
        }
        self.scores = {rate: _score(trials, outcomes) for rate, trials in self.by_rate.items()}
        self.stopped: set[float] = set()
        rungs = [max(1, int(fraction * arm.steps)) for fraction in protocol.rungs]
        self.wanted = self._next(rungs, outcomes)

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(trial for trials in self.by_rate.values() for trial in trials)

    @property
    def is_done(self) -> bool:
        return not self.wanted

    @property
    def best(self) -> float:
        """The learning rate with the best score so far, the lowest if several tie."""
        return max(self.rates, key=self.scores.__getitem__)

    @property
    def has_choice(self) -> bool:
        """Whether a learning rate may be chosen: the only one, or one that has a score."""
        return not self.trials or self.scores[self.best] > -math.inf

    @property
    def is_at_edge(self) -> bool:
        return len(self.rates) > 1 and self.best in (self.rates[0], self.rates[-1])

    @property
    def may_end_at_edge(self) -> bool:
        """Whether the grid may still need widening."""
        if self.arm.grid is None or len(self.rates) == 1:
            return False
        ends = (self.rates[0], self.rates[-1])
        pending = {trial.learning_rate for trial, _ in self.wanted}
        return self.is_at_edge or any(rate in pending for rate in ends)

    def _next(
        self, rungs: Sequence[int], outcomes: Outcomes
    ) -> tuple[tuple[Trial, int | None], ...]:
        """Return the trials to run next, the ends of the grid first.

        With successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm
        identification and hyperparameter optimization"), all learning rates run to a rung, and
        the better half of them to the next; the last survivors run to the end.
        """
        if not self.trials:
            return ()
        middle = math.log(self.rates[0] * self.rates[-1]) / 2
        alive = sorted(self.rates, key=lambda rate: -abs(math.log(rate) - middle))
        for rung in rungs:
            behind = [
                (trial, rung)
                for rate in alive
                for trial in self.by_rate[rate]
                if not _has_reached(trial, rung, outcomes)
            ]
            if behind:
                return tuple(behind)
            scores = {rate: _score(self.by_rate[rate], outcomes, rung) for rate in alive}
            ranked = sorted(alive, key=lambda rate: (-scores[rate], rate))
            survivors = set(ranked[: math.ceil(len(ranked) / 2)])
            self.stopped |= set(alive) - survivors
            alive = [rate for rate in alive if rate in survivors]
        return tuple(
            (trial, None)
            for rate in alive
            for trial in self.by_rate[rate]
            if not _has_ended(trial, outcomes)
        )


def _state(
    tuning: _Tuning,
    *,
    chosen: bool,
    widened: bool,
    protocol: Protocol,
    data_sha256: str,
    outcomes: Outcomes,
) -> ArmState:
    best = tuning.best if chosen and tuning.has_choice else None
    measuring = (
        ()
        if best is None
        else tuple(
            make_trial(tuning.arm, best, seed, "measuring", data_sha256) for seed in protocol.seeds
        )
    )
    wanted = tuning.wanted or tuple(
        (trial, None) for trial in measuring if not _has_ended(trial, outcomes)
    )
    stage: ArmStage
    if tuning.wanted:
        stage = "widening" if widened else "tuning"
    elif not chosen:
        stage = "waiting"
    else:
        stage = "measuring" if wanted else "done"
    return ArmState(
        arm=tuning.arm,
        stage=stage,
        rates=tuning.rates,
        chosen=best,
        tuning=tuning.trials,
        measuring=measuring,
        stopped=frozenset(trial.id for rate in tuning.stopped for trial in tuning.by_rate[rate]),
        wanted=wanted,
    )


def _has_ended(trial: Trial, outcomes: Outcomes) -> bool:
    return trial.id in outcomes and outcomes[trial.id].status in _ENDED


def _has_reached(trial: Trial, rung: int, outcomes: Outcomes) -> bool:
    return _has_ended(trial, outcomes) or (
        trial.id in outcomes and rung in outcomes[trial.id].rungs
    )


def _score(trials: Sequence[Trial], outcomes: Outcomes, rung: int | None = None) -> float:
    """Return the mean merit of trials, at a rung or at their end.

    If one of them diverged, failed or has not got that far, the mean is below every other: a
    learning rate that fails with some seeds is not chosen for the others.
    """
    merits = []
    for trial in trials:
        outcome = outcomes.get(trial.id, Outcome("waiting"))
        merit = outcome.merit if rung is None else outcome.rungs.get(rung, math.nan)
        if outcome.status in ("diverged", "failed") or math.isnan(merit):
            return -math.inf
        merits.append(merit)
    return math.fsum(merits) / len(merits) if merits else -math.inf
