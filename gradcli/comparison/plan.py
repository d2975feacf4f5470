"""The plan of a comparison: everything that its trials follow from, as stored on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gradcli.comparison.protocol import Arm, Grid, Protocol
from gradcli.comparison.results import ArmInfo, ComparisonInfo, ProtocolInfo
from gradcli.records import DataInfo


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

    @property
    def request_id(self) -> str:
        """A hash of everything that the result depends on: equal for equal questions."""
        asked = {
            "arms": [_arm_json(arm) for arm in self.arms],
            "protocol": asdict(self.protocol),
            "target": self.info.target_accuracy,
            "data_sha256": self.info.data.sha256,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values, which `plan_from_json` reads."""
        return {
            "request": self.request_id,
            "info": asdict(self.info),
            "arms": [_arm_json(arm) for arm in self.arms],
            "protocol": asdict(self.protocol),
            "train_overrides": list(self.train_overrides),
            "remarks": list(self.remarks),
        }


def plan_from_json(state: Mapping[str, Any]) -> Plan:
    """Read back the plan that `Plan.as_json` wrote."""
    info = state["info"]
    arms = tuple(_arm(arm) for arm in state["arms"])
    return Plan(
        info=ComparisonInfo(
            **{
                **info,
                "data": DataInfo(**_with_tuples(info["data"])),
                "protocol": ProtocolInfo(**_with_tuples(info["protocol"])),
                "arms": tuple(arm.info for arm in arms),
            }
        ),
        arms=arms,
        protocol=Protocol(**_with_tuples(state["protocol"])),
        train_overrides=tuple(state["train_overrides"]),
        remarks=tuple(state.get("remarks", ())),
    )


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


def _arm(values: Mapping[str, Any]) -> Arm:
    return Arm(
        info=ArmInfo(
            name=values["name"],
            optimizer=values["optimizer"],
            overrides=tuple(values["overrides"]),
            # NaN, for an optimizer without a learning rate, was written as a string.
            learning_rates=tuple(float(rate) for rate in values["rates"]),
        ),
        config=values["config"],
        grid=values["grid"] and Grid(**_with_tuples(values["grid"])),
        steps=values["steps"],
    )


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
