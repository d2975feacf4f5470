"""The commands that a comparison prints: to train its best arm, and to compare again elsewhere."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from gradcli.comparison.plan import Plan
from gradcli.comparison.protocol import LEARNING_RATE, Trial, config_key, with_rate, with_value
from gradcli.comparison.results import RankedArm
from gradcli.comparison.search import Range, Setting
from gradcli.comparison.summary import ArmTrials
from gradcli.system.paths import options_beside

# No common optimizer needs more, so a comparison that began above it restarts from here.
_HIGHEST_SENSIBLE_RATE = 1.0
# Rates further apart than a decade leap over what is good.
_WIDEST_STEP = 10.0


def _data_option(plan: Plan, config: Mapping[str, Any]) -> str:
    """Return the option of the group `data` that stands for what was used.

    A data set with a name of its own keeps its class, and is not found by its name. One that is
    found by its name may have stood in for the option, as mnist does for auto.
    """
    named_by_user = "_target_" in config["data"]
    return str(config["choices"]["data"]) if named_by_user else plan.info.data.name


def winner_command(plan: Plan, winner: RankedArm, paths: Sequence[str] = ()) -> str:
    """Return the command that repeats the first measuring trial of an arm, to the bit.

    Empty if the arm has no score: a trial that diverged is not worth repeating. So it is for a
    problem that no file has, which no command can train.
    """
    data = plan.info.data
    if not (winner.test_score.count or winner.val_score.count) or (
        data.file_sha256 and not data.file
    ):
        return ""
    return _train_command(
        plan, winner.name, winner.learning_rate, winner.seeds[0], winner.setting, paths
    )


def trial_command(plan: Plan, trial: Trial, paths: Sequence[str] = ()) -> str:
    """Return the command that repeats a trial to the bit; empty if no command can train it."""
    data = plan.info.data
    if data.file_sha256 and not data.file:
        return ""
    return _train_command(plan, trial.arm, trial.learning_rate, trial.seed, trial.setting, paths)


def _train_command(
    plan: Plan,
    name: str,
    learning_rate: float,
    seed: int,
    setting: Setting,
    paths: Sequence[str],
) -> str:
    """Return the command that trains an arm."""
    arm = next(arm for arm in plan.arms if arm.name == name)
    others = [(key, value) for key, value in setting if key != LEARNING_RATE]
    searched = {_override(key, arm.config).partition("=")[0] for key, _ in others}
    decided = {"data", "epochs", "seed", "threads", "name", "optimizer.lr", "checkpoint.keep"}
    decided |= searched
    overrides = [
        *([] if plan.info.data.file_sha256 else [f"data={_data_option(plan, arm.config)}"]),
        f"optimizer={arm.optimizer}",
        *(
            word
            for word in (*plan.train_overrides, *arm.info.overrides)
            if word.lstrip("+").partition("=")[0] not in decided
        ),
        f"epochs={arm.config['epochs']}",
        f"seed={seed}",
        f"threads={arm.config['threads']}",
    ]
    if not math.isnan(learning_rate):
        overrides.append(f"optimizer.lr={learning_rate:g}")
        groups = with_rate(arm.config["optimizer"], learning_rate).get("groups") or {}
        overrides += [
            f"optimizer.groups.{name}.lr={group['lr']!r}"
            for name, group in groups.items()
            if group and "lr" in group and f"optimizer.groups.{name}.lr" not in searched
        ]
    config = dict(arm.config)
    for key, value in others:
        config = with_value(config, config_key(key).split("."), value)
    overrides += dict.fromkeys(_override(key, config) for key, _ in others)
    return shlex.join(["gradcli", "train", *options_beside(paths, overrides), *overrides])


def _override(key: str, config: Mapping[str, Any]) -> str:
    """Return the override that sets a searched key to its value in a config.

    One element of a list cannot be set alone, so it is the whole list.
    """
    path = config_key(key).split(".")
    if path[-1].isdecimal():
        path = path[:-1]
    value: Any = config
    for part in path:
        value = value[part]
    written = f"[{','.join(map(repr, value))}]" if isinstance(value, list | tuple) else repr(value)
    return f"{'.'.join(path)}={written}"


def retry_command(plan: Plan, arms: Sequence[ArmTrials], paths: Sequence[str] = ()) -> str:
    """Return the command that compares the arms again at lower learning rates.

    Empty unless every trial diverged.
    """
    trials = [trial for arm in arms for trial in (*arm.tuning, *arm.measuring)]
    if not trials or any(trial.status != "diverged" for trial in trials):
        return ""
    if plan.info.search is not None:
        lower = {
            arm.optimizer: Range(one.key, one.low / 1000, one.low, one.scale)
            for arm in plan.arms
            for one in arm.info.ranges
            if one.key == LEARNING_RATE
        }
        return _search_again(plan, list(lower.items()), paths) if lower else ""
    tried = [rate for arm in arms for rate in arm.state.rates if not math.isnan(rate)]
    highest = min([*tried, _HIGHEST_SENSIBLE_RATE])
    return _compare_again(plan, [highest / by for by in (10, 100, 1000)] if tried else [], paths)


def extend_command(
    plan: Plan,
    winner: RankedArm,
    arms: Sequence[ArmTrials],
    paths: Sequence[str] = (),
    others: Sequence[RankedArm] = (),
) -> str:
    """Return the command that compares the arms again with learning rates beyond the winner's.

    The rates are those of the winner's grid and three more beyond the end, at the distance of the
    last two, but at most a decade. Ranges of a search grow by half
    beyond an end, those of all arms. Empty if what the winner does best with is no end of what
    was tried.
    """
    if not winner.test_score.count:
        return ""
    if winner.setting_at_edge:
        wider = [_wider_ranges(plan, arm) for arm in (winner, *others)]
        return _search_again(plan, list(chain.from_iterable(wider)), paths) if wider[0] else ""
    if not winner.learning_rate_at_edge:
        return ""
    rates = next(arm.state.rates for arm in arms if arm.name == winner.name)
    best, beside = (rates[-1], rates[-2]) if winner.learning_rate == rates[-1] else rates[:2]
    factor = min(max(best / beside, 1 / _WIDEST_STEP), _WIDEST_STEP)
    beyond = [best * factor**step for step in (1, 2, 3)]
    return _compare_again(plan, sorted([*rates, *(float(f"{rate:.2g}") for rate in beyond)]), paths)


def _wider_ranges(plan: Plan, arm: RankedArm) -> list[tuple[str, Range]]:
    """Return the ranges of an arm that can go on beyond the ends where it did best."""
    chosen = dict(arm.setting)
    ranges = next(one.info.ranges for one in plan.arms if one.name == arm.name)
    wider = [
        (one, _wider(one, chosen[one.key])) for one in ranges if one.key in arm.setting_at_edge
    ]
    return [(arm.optimizer, found) for one, found in wider if found != one]


def _wider(one: Range, best: float) -> Range:
    """Return a range that goes on beyond the end near which the best value is.

    Values below 0 are none, and what is spread evenly below 1, such as a fraction, stays there.
    """
    low, high = one.low, one.high
    if one.position(best) < 1 / 2:
        low = max(one.beyond(-1 / 2), 0.0)
    else:
        high = one.beyond(3 / 2)
        if one.scale == "linear" and one.high < 1:
            high = min(high, (1 + one.high) / 2)
    return Range(one.key, low, high, one.scale)


def _search_again(plan: Plan, changed: Sequence[tuple[str, Range]], paths: Sequence[str]) -> str:
    """Return the command that makes the same search with some ranges of optimizers changed."""
    search = plan.info.search
    typed = {f"{name}:{one.key}": f"{one.low:.12g}..{one.high:.12g}" for name, one in changed}
    kept = [word for word in (search.keys if search else ()) if word.partition("=")[0] not in typed]
    words = ["--search", ",".join([*kept, *(f"{key}={ends}" for key, ends in typed.items())])]
    if search and search.method != "sobol":
        words.append(f"search={search.method}")
    return _compare_again(plan, [], paths, words)


def _of_protocol(plan: Plan) -> list[str]:
    """Return the words for a comparison of the same effort."""
    words = ["--protocol", plan.info.protocol.name]
    if plan.info.search is not None:
        words.append(f"protocol.search_settings={plan.info.search.settings}")
    if plan.info.protocol.halving:
        words.append("protocol.halving=true")
    return words


def _compare_again(
    plan: Plan, rates: Sequence[float], paths: Sequence[str], search: Sequence[str] = ()
) -> str:
    """Return the command that makes the same comparison with other learning rates or ranges."""
    varied: dict[str, dict[str, None]] = {}
    for word in (word for arm in plan.arms for word in arm.info.overrides):
        key, _, value = word.partition("=")
        varied.setdefault(key, {})[value] = None
    words = [
        *("--optimizers", ",".join(dict.fromkeys(arm.optimizer for arm in plan.arms))),
        *(("--lrs", ",".join(f"{rate:g}" for rate in rates)) if rates else ()),
        *search,
        *chain.from_iterable(
            ("--vary", f"{key}={','.join(values)}")
            for key, values in varied.items()
            if key != "optimizer.lr"
        ),
        *_of_protocol(plan),
        *("--seeds", str(len(plan.protocol.seeds))),
        *(word for word in plan.train_overrides if word.partition("=")[0] != "optimizer.lr"),
    ]
    options = options_beside(paths, words)
    return shlex.join(["gradcli", "compare-optimizers", *options, *words])
