"""The plan of a comparison: all that its trials follow from, as it is kept in its directory."""

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
    """What is compared, and how."""

    info: ComparisonInfo
    arms: tuple[Arm, ...]
    protocol: Protocol
    train_overrides: tuple[str, ...]
    """The user's overrides of a training run's keys: what every trial has in common."""

    @property
    def request_id(self) -> str:
        """A hash of all that the result depends on: two calls that share it ask the same."""
        asked = {
            "arms": [asdict(arm) for arm in self.arms],
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
            "arms": [asdict(arm) for arm in self.arms],
            "protocol": asdict(self.protocol),
            "train_overrides": list(self.train_overrides),
        }


def plan_from_json(state: Mapping[str, Any]) -> Plan:
    """Read back the plan that `Plan.as_json` wrote."""
    info = state["info"]
    return Plan(
        info=ComparisonInfo(
            **{
                **info,
                "data": DataInfo(**_with_tuples(info["data"])),
                "protocol": ProtocolInfo(**_with_tuples(info["protocol"])),
                "arms": tuple(ArmInfo(**_with_tuples(_with_rates(arm))) for arm in info["arms"]),
            }
        ),
        arms=tuple(_arm(arm) for arm in state["arms"]),
        protocol=Protocol(**_with_tuples(state["protocol"])),
        train_overrides=tuple(state["train_overrides"]),
    )


def _arm(values: dict[str, Any]) -> Arm:
    grid = values["grid"] and Grid(**_with_tuples(values["grid"]))
    rates = tuple(float(rate) for rate in values["rates"])
    return Arm(**{**_with_tuples(values), "rates": rates, "grid": grid})


def _with_rates(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with learning rates as numbers: a NaN was written as a string."""
    return {**values, "learning_rates": [float(rate) for rate in values["learning_rates"]]}


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
