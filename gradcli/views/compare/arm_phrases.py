"""A comparison and its trials in short phrases: the same words on every screen."""

from __future__ import annotations

import math

from gradcli.comparison.live import RunningTrial
from gradcli.comparison.results import ComparisonInfo, TrialResult
from gradcli.notation import numbers
from gradcli.views.heading import describe_data


def describe_comparison(info: ComparisonInfo) -> list[str]:
    """Describe a comparison in phrases, the most important first.

    What its arms differ in is left out: their names say it.
    """
    phrases = (
        ("data", describe_data(info.data)),
        ("model", f"{info.model} {numbers.count(info.model_size)} parameters"),
        ("protocol", f"protocol {info.protocol.name}"),
        ("epochs", numbers.count(info.epochs, "epoch")),
        ("protocol", _describe_protocol(info)),
        ("augment", f"augment {info.augment}" if info.augment else ""),
        ("clip", f"clip {info.clip}"),
        ("schedule", info.schedule),
        ("activation", info.activation),
        ("batch_size", f"batch {info.batch_size}"),
        (
            "engine",
            _describe_engine(info),
        ),
        ("device", info.device),
    )
    overrides = [override for arm in info.arms for override in arm.overrides]
    varied = {override.partition("=")[0].partition(".")[0] for override in overrides}
    return [phrase for key, phrase in phrases if phrase and key not in varied]


def describe_trial(trial: RunningTrial | TrialResult) -> list[str]:
    """Return the arm, the learning rate and other searched keys, the seed and the stage."""
    rate = learning_rate(trial.learning_rate)
    others = [f"{key} {value:.6g}" for key, value in trial.setting if key != "lr"]
    return [trial.arm, " ".join([f"lr {rate}", *others]), f"seed {trial.seed}", trial.stage]


def learning_rate(value: float) -> str:
    """Write a learning rate with up to three significant digits."""
    return numbers.ABSENT if math.isnan(value) else f"{value:.3g}"


def describe_failure(trial: TrialResult) -> str:
    """Say which trial failed, and why."""
    reason = trial.error or "it has no result"
    return f"failed: {', '.join(describe_trial(trial))}: {reason}"


def _describe_engine(info: ComparisonInfo) -> str:
    """Say how many trials run at the same time, and where if it is not the usual place."""
    jobs = f"{numbers.count(info.jobs, 'job')} with {numbers.count(info.threads, 'thread')}"
    return jobs if info.engine == "local" else f"{jobs} ({info.engine})"


def _describe_protocol(info: ComparisonInfo) -> str:
    """Say how each arm is tuned and measured."""
    protocol = info.protocol
    if not protocol.tune:
        return f"no tuning, {numbers.count(len(protocol.seeds), 'seed')}"
    halved = " with halving" if protocol.halving else ""
    fresh = numbers.count(len(protocol.seeds), "fresh seed")
    if info.search is not None:
        named = (word.partition("=")[0].rpartition(":")[2] for word in info.search.keys)
        keys = ", ".join(dict.fromkeys(named))
        settings = numbers.count(info.search.settings, "setting")
        return f"{settings} of {keys} by {info.search.method}{halved}, then {fresh}"
    rates = max((len(arm.learning_rates) for arm in info.arms), default=0)
    trials = len(protocol.tuning_seeds)
    each = f" on {numbers.count(trials, 'seed')}" if trials > 1 else ""
    return f"{numbers.count(rates, 'learning rate')}{each}{halved}, then {fresh}"
