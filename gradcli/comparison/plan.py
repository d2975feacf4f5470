"""The plan of a comparison: everything that its trials follow from, as stored on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NotRequired, TypedDict

from gradcli.comparison.protocol import Arm, Grid, Protocol
from gradcli.comparison.results import ArmInfo, ComparisonInfo
from gradcli.comparison.target import UNTOLD, TargetPlan
from gradcli.runs import ComparisonDirectory
from gradcli.runs.stored import MalformedError, decoded, reading


@dataclass(frozen=True)
class Plan:
    """What is compared, and how. `info.arms` are the `info` of each of `arms`."""

    info: ComparisonInfo
    arms: tuple[Arm, ...]
    protocol: Protocol
    train_overrides: tuple[str, ...]
    """The user's overrides of a training run's keys: what every trial has in common."""
    remarks: tuple[str, ...] = ()
    """What the user should know before any trial runs."""
    target: TargetPlan = UNTOLD
    """Where the score that is timed comes from, and how often trials look for it."""

    @property
    def request_id(self) -> str:
        """A hash of everything that the result depends on: equal for equal questions."""
        asked = {
            "arms": [_arm_json(arm) for arm in self.arms],
            "protocol": asdict(self.protocol),
            "target": self.info.target_score,
            # Without it, what was asked before there was a target from tuning.
            **({"target_from": "protocol"} if self.target.origin == "protocol" else {}),
            "data_sha256": self.info.data.identity,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values, which `plan_from_json` reads."""
        info = asdict(self.info)
        if not self.info.augment:
            del info["augment"]  # earlier readers refuse what they do not know
        return {
            "request": self.request_id,
            "info": info,
            "arms": [_arm_json(arm) for arm in self.arms],
            "protocol": asdict(self.protocol),
            "train_overrides": list(self.train_overrides),
            "remarks": list(self.remarks),
            "target": asdict(self.target),
        }


class _Config(TypedDict):
    """What is read of the config of an arm before it is composed again."""

    data: dict[str, Any]
    optimizer: dict[str, Any]
    epochs: int
    threads: int


@dataclass(frozen=True)
class _StoredArm:
    """An arm under the keys that `comparison.json` has always had."""

    name: str
    optimizer: str
    overrides: tuple[str, ...]
    config: _Config
    rates: tuple[float, ...]
    grid: Grid | None
    steps: int


class _StoredPlan(TypedDict):
    info: ComparisonInfo
    arms: tuple[_StoredArm, ...]
    protocol: Protocol
    train_overrides: tuple[str, ...]
    remarks: NotRequired[tuple[str, ...]]
    target: NotRequired[TargetPlan]


def plan_of(directory: ComparisonDirectory) -> Plan:
    """Return the plan of a comparison on the disk.

    Raises:
        DamagedFileError: if `comparison.json` does not hold it as it was written.
    """
    with reading(directory.path / directory.state_file):
        return plan_from_json(directory.state)


def plan_from_json(state: Mapping[str, Any]) -> Plan:
    """Read back the plan that `Plan.as_json` wrote.

    Raises:
        MalformedError: if it was changed since, so that it is no plan.
    """
    stored = decoded(_StoredPlan, {**state, "info": _info_of_any_schema(state.get("info"))})
    arms = tuple(map(_arm, stored["arms"]))
    if not arms:
        raise MalformedError("has no arms")
    return Plan(
        info=replace(stored["info"], arms=tuple(arm.info for arm in arms)),
        arms=arms,
        protocol=stored["protocol"],
        train_overrides=stored["train_overrides"],
        remarks=stored.get("remarks", ()),
        target=stored.get("target", UNTOLD),
    )


def _info_of_any_schema(info: Any) -> Any:
    """Return what is stored of a comparison; schema 1 knew no metric but the accuracy."""
    if not isinstance(info, dict) or "target_accuracy" not in info:
        return info
    others = {key: value for key, value in info.items() if key != "target_accuracy"}
    return {**others, "target_score": info["target_accuracy"]}


def _arm_json(arm: Arm) -> dict[str, Any]:
    """Return an arm under the keys that `comparison.json` has always had."""
    return {
        "name": arm.name,
        "optimizer": arm.optimizer,
        "overrides": arm.info.overrides,
        "config": arm.config,
        "rates": arm.rates,
        "grid": arm.grid and asdict(arm.grid),
        "steps": arm.steps,
    }


def _arm(stored: _StoredArm) -> Arm:
    return Arm(
        info=ArmInfo(
            name=stored.name,
            optimizer=stored.optimizer,
            overrides=stored.overrides,
            learning_rates=tuple(map(float, stored.rates)),
        ),
        config=stored.config,
        grid=stored.grid,
        steps=stored.steps,
    )
