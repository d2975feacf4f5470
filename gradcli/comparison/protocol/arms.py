"""What is compared: arms, what may be tried with them, and the trials that this makes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gradcli.comparison.results import ArmInfo, Stage
from gradcli.comparison.search import Range, Setting

LEARNING_RATE = "lr"
#: The sections of a config that a searched key may begin with; other keys are the optimizer's.
SEARCHED_SECTIONS = ("optimizer", "clip", "schedule")


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """What tuning tries with an arm."""

    learning_rate: float
    """NaN if its optimizer takes none."""
    setting: Setting = ()
    """The values of the searched keys; empty if only learning rates of a grid are tried."""


@dataclass(frozen=True, slots=True)
class ArmSearch:
    """The search of an arm: how many settings are tried, and those that are known."""

    ranges: tuple[Range, ...]
    """Those of the searched keys that the arm has."""
    settings: int
    """How many are tried in all."""
    batch: int
    """How many are proposed, and halved, together."""
    batches: tuple[tuple[Setting, ...], ...]
    """Those proposed so far: all from the start, unless proposals follow from results."""


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
    search: ArmSearch | None = None
    """The search over several keys; None if only learning rates are tried."""
    made: dict[tuple[Any, ...], tuple[Trial, ...]] = field(
        default_factory=dict, init=False, repr=False
    )
    """The trials of each candidate, by all that they follow from but the arm (`make_trials`)."""

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

    def candidate(self, setting: Setting) -> Candidate:
        """Return what tries a setting of the searched keys."""
        configured = self.config["optimizer"].get(LEARNING_RATE, math.nan)
        return Candidate(dict(setting).get(LEARNING_RATE, configured), setting)

    def with_search(self, search: ArmSearch) -> Arm:
        """Return the arm with more settings proposed: the trials of the others stay the same."""
        arm = replace(self, search=search)
        arm.made.update(self.made)
        return arm


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of an arm."""

    id: str
    arm: str
    learning_rate: float
    seed: int
    stage: Stage
    config: Mapping[str, Any]
    setting: Setting = ()


# `advance` asks for the same trials whenever one has ended, and a hash takes 40 us.
def make_trials(
    arm: Arm, candidate: Candidate, seeds: tuple[int, ...], stage: Stage, data_sha256: str
) -> tuple[Trial, ...]:
    """Return the trials of a candidate, one for each seed: the same ones whenever it is asked."""
    key = (candidate, seeds, stage, data_sha256)
    if key not in arm.made:
        arm.made[key] = tuple(make_trial(arm, candidate, one, stage, data_sha256) for one in seeds)
    return arm.made[key]


def make_trial(arm: Arm, candidate: Candidate, seed: int, stage: Stage, data_sha256: str) -> Trial:
    """Return a trial of an arm; its id is a hash of all that its result depends on.

    The content of the data is part of it, their folder is not.
    """
    config = {**arm.config, "seed": seed}
    if not math.isnan(candidate.learning_rate):
        config["optimizer"] = with_rate(config["optimizer"], candidate.learning_rate)
    for key, value in candidate.setting:
        if key != LEARNING_RATE:
            config = with_value(config, config_key(key).split("."), value)
    content = {**config, "data": {**config["data"], "folder": None}, "data_sha256": data_sha256}
    if groups := config["optimizer"].get("groups"):
        # Their order decides which of them takes a parameter, and the hash sorts keys.
        content["groups"] = list(groups)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Trial(
        digest[:12], arm.name, candidate.learning_rate, seed, stage, config, candidate.setting
    )


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


def searched_keys(words: Sequence[str], optimizer: str) -> dict[str, str]:
    """Return the keys to search for an optimizer, each with its range as typed, or nothing.

    Args:
        words: `KEY`, `KEY=LOW..HIGH`, or either after `OPTIMIZER:`, for that one alone.
        optimizer: the option of `configs/optimizer/`.
    """
    found: dict[str, str] = {}
    # What is said of this optimizer alone comes last, and wins.
    for word in sorted(words, key=lambda one: ":" in one):
        name, colon, rest = word.rpartition(":")
        if not colon or name == optimizer:
            key, _, ends = rest.partition("=")
            found[key] = ends or found.get(key, "")
    return found


def config_key(key: str) -> str:
    """Return a searched key as an override sets it: `weight_decay` is `optimizer.weight_decay`."""
    return key if key.partition(".")[0] in SEARCHED_SECTIONS else f"optimizer.{key}"


def with_value(config: Mapping[str, Any], path: Sequence[str], value: float) -> dict[str, Any]:
    """Return a nested config with one value changed; a number in the path is a place in a list."""
    key, *rest = path
    inner = config[key]
    if not rest:
        return {**config, key: value}
    if isinstance(inner, Sequence):
        place = int(rest[0])
        return {**config, key: [*inner[:place], value, *inner[place + 1 :]]}
    return {**config, key: with_value(inner, rest, value)}
