"""The plan of a comparison: everything that its trials follow from, as stored on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NotRequired, TypedDict

from gradcli.comparison.protocol import Arm, ArmSearch, Grid, Protocol
from gradcli.comparison.results import ArmInfo, ComparisonInfo
from gradcli.comparison.search import Setting
from gradcli.comparison.target import UNTOLD, TargetPlan
from gradcli.runs import ComparisonDirectory
from gradcli.runs.stored import MalformedError, decoded, reading


@dataclass(frozen=True)
class StoredSearcher:
    """What proposes the settings of a search: an option of `configs/search/`, resolved."""

    option: str
    target: str
    """The class, a `gradcli.comparison.search.Searcher`."""
    arguments: dict[str, Any]
    seed: int


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
    searcher: StoredSearcher | None = None
    """What proposes the settings of a search; None without one."""
    target: TargetPlan = UNTOLD
    """Where the score that is timed comes from, and how often trials look for it."""

    @property
    def request_id(self) -> str:
        """A hash of everything that the result depends on: equal for equal questions."""
        asked: dict[str, Any] = {
            "arms": [_arm_json(arm) for arm in self.arms],
            "protocol": _protocol_json(self.protocol),
            "target": self.info.target_score,
            # Without it, what was asked before there was a target from tuning.
            **({"target_from": "protocol"} if self.target.origin == "protocol" else {}),
            "data_sha256": self.info.data.identity,
        }
        if self.searcher is not None:
            asked["searcher"] = asdict(self.searcher)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values, which `plan_from_json` reads."""
        return {
            "request": self.request_id,
            "info": _info_json(self.info),
            "arms": [_arm_json(arm) for arm in self.arms],
            "protocol": _protocol_json(self.protocol),
            **({"searcher": asdict(self.searcher)} if self.searcher else {}),
            "train_overrides": list(self.train_overrides),
            "remarks": list(self.remarks),
            "target": asdict(self.target),
        }


# Earlier readers refuse what they do not know, so that what is unused is not written.


def _info_json(info: ComparisonInfo) -> dict[str, Any]:
    written = asdict(info)
    for key in ("augment", "search"):
        if not written[key]:
            del written[key]
    for arm in written["arms"]:
        if not arm["ranges"]:
            del arm["ranges"]
    return written


def _protocol_json(protocol: Protocol) -> dict[str, Any]:
    written = asdict(protocol)
    if not protocol.budgets:
        del written["budgets"]
    return written


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
    search: ArmSearch | None = None


class _StoredPlan(TypedDict):
    info: ComparisonInfo
    arms: tuple[_StoredArm, ...]
    protocol: Protocol
    train_overrides: tuple[str, ...]
    remarks: NotRequired[tuple[str, ...]]
    searcher: NotRequired[StoredSearcher]
    proposals: NotRequired[dict[str, tuple[tuple[Setting, ...], ...]]]
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
    proposals = stored.get("proposals", {})
    arms = tuple(_arm(arm, proposals.get(arm.name, ())) for arm in stored["arms"])
    if not arms:
        raise MalformedError("has no arms")
    return Plan(
        info=replace(stored["info"], arms=tuple(arm.info for arm in arms)),
        arms=arms,
        protocol=stored["protocol"],
        train_overrides=stored["train_overrides"],
        remarks=stored.get("remarks", ()),
        searcher=stored.get("searcher"),
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
    search = {"search": asdict(arm.search)} if arm.search else {}
    return {
        "name": arm.name,
        "optimizer": arm.optimizer,
        "overrides": arm.info.overrides,
        "config": arm.config,
        "rates": arm.rates,
        "grid": arm.grid and asdict(arm.grid),
        "steps": arm.steps,
        **search,
    }


def _arm(stored: _StoredArm, proposed: tuple[tuple[Setting, ...], ...]) -> Arm:
    """Return a stored arm, with the batches of settings that were proposed since."""
    search = stored.search
    if search is not None:
        search = replace(search, batches=(*search.batches, *proposed))
    return Arm(
        info=ArmInfo(
            name=stored.name,
            optimizer=stored.optimizer,
            overrides=stored.overrides,
            learning_rates=tuple(map(float, stored.rates)),
            ranges=search.ranges if search else (),
        ),
        config=stored.config,
        grid=stored.grid,
        steps=stored.steps,
        search=search,
    )
