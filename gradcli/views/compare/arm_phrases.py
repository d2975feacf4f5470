"""What a comparison and its trials are, in short phrases: the same words on every screen."""

from __future__ import annotations

import math

from gradcli.comparison.results import ComparisonInfo, RunningTrial, TrialResult
from gradcli.views import numbers
from gradcli.views.heading import describe_data


def describe_comparison(info: ComparisonInfo) -> list[str]:
    """Return what a comparison is in phrases, those that matter most first.

    What its arms differ in is left out: each says so in its name.
    """
    phrases = (
        ("data", describe_data(info.data)),
        ("model", f"{info.model} {numbers.count(info.model_size)} parameters"),
        ("protocol", f"protocol {info.protocol.name}"),
        ("epochs", numbers.count(info.epochs, "epoch")),
        ("protocol", _describe_protocol(info)),
        ("clip", f"clip {info.clip}"),
        ("schedule", info.schedule),
        ("activation", info.activation),
        ("batch_size", f"batch {info.batch_size}"),
        (
            "engine",
            f"{numbers.count(info.jobs, 'job')} with {numbers.count(info.threads, 'thread')}",
        ),
        ("device", info.device),
    )
    overrides = [override for arm in info.arms for override in arm.overrides]
    varied = {override.partition("=")[0].partition(".")[0] for override in overrides}
    return [phrase for key, phrase in phrases if phrase and key not in varied]


def describe_trial(trial: RunningTrial | TrialResult) -> list[str]:
    """Return which trial it is: its arm, learning rate, seed and stage."""
    rate = learning_rate(trial.learning_rate)
    return [trial.arm, f"lr {rate}", f"seed {trial.seed}", trial.stage]


def learning_rate(value: float) -> str:
    """Write a learning rate with three significant digits, as short as it can be."""
    return numbers.ABSENT if math.isnan(value) else f"{value:.3g}"


def describe_failure(trial: TrialResult) -> str:
    """Say which trial failed, and why."""
    reason = trial.error or "it left no result"
    return f"failed: {', '.join(describe_trial(trial))}: {reason}"


def _describe_protocol(info: ComparisonInfo) -> str:
    """Say what is tried with each arm."""
    protocol = info.protocol
    if not protocol.tune:
        return f"no tuning, {numbers.count(len(protocol.seeds), 'seed')}"
    rates = max((len(arm.learning_rates) for arm in info.arms), default=0)
    trials = len(protocol.tuning_seeds)
    each = f" on {numbers.count(trials, 'seed')}" if trials > 1 else ""
    halved = " with halving" if protocol.halving else ""
    fresh = numbers.count(len(protocol.seeds), "fresh seed")
    return f"{numbers.count(rates, 'learning rate')}{each}{halved}, then {fresh}"
