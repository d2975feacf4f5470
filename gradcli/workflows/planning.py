"""The plan of a comparison, from its overrides: what is tried, with which rates, data and seeds.

It takes torch, the data and a model, and so is made by a worker, not by the process that shows
the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradcli.comparison.plan import Plan
from gradcli.comparison.protocol import Arm, Protocol, grid_around
from gradcli.comparison.results import ArmInfo, ComparisonInfo, ProtocolInfo
from gradcli.config import ComposedArm, ComposedComparison, DataConfig, compose_comparison
from gradcli.data import Dataset
from gradcli.errors import UserError
from gradcli.system.paths import Paths
from gradcli.workflows.building import (
    activation_name,
    build_network,
    choose_device,
    describe_clip,
    device_name,
    trained_size,
)

_TARGETS = {"mnist": 0.97, "fashion_mnist": 0.87}
_OTHER_TARGET = 0.9


def plan_comparison(
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    load_data: Callable[[DataConfig], Dataset],
    *,
    jobs: int,
) -> Plan:
    """Compose the arms of a comparison, and lay down what they are tried with.

    Args:
        overrides: Hydra overrides, of the comparison's own keys and of those of a training run.
        vary: overrides with several values, `KEY=V1,V2`, which are crossed with the optimizers.
        paths: where the user's own configs lie.
        load_data: returns the data that the config asks for.
        jobs: how many trials are to run at the same time, for the record.

    Raises:
        UserError: for anything wrong with the config or the data.
    """
    composed = compose_comparison(
        overrides, vary, config_dir=paths.config_dir, allow_import=paths.allow_import
    )
    config, protocol = composed.config, composed.config.protocol
    dataset = load_data(config.data)
    data = dataset.info
    arms = composed.arms(data.name)
    shown = arms[0].composed
    tuned = [_arm(arm, composed, data.train) for arm in arms]
    tunes = any(len(arm.rates) > 1 for arm in tuned)
    first = config.seed + (protocol.tuning_seeds if tunes else 0)
    tuning_seeds = tuple(range(config.seed, first))
    seeds = tuple(range(first, first + protocol.seeds))
    rungs = tuple(sorted(protocol.rungs)) if protocol.halving and tunes else ()
    target = protocol.target
    return Plan(
        info=ComparisonInfo(
            path="",
            name="",
            data=data,
            model=shown.config.model.option,
            model_size=trained_size(build_network(shown, dataset)),
            activation=activation_name(shown),
            schedule=shown.config.schedule.option,
            clip=describe_clip(shown),
            batch_size=shown.config.batch_size,
            epochs=shown.config.epochs,
            steps=tuned[0].steps,
            protocol=ProtocolInfo(
                name=composed.protocol,
                tune=tunes,
                tuning_seeds=tuning_seeds,
                seeds=seeds,
                per_decade=protocol.per_decade,
                widenings=protocol.widenings,
                widen_by=protocol.widen_by,
                halving=bool(rungs),
            ),
            target_accuracy=_TARGETS.get(data.name, _OTHER_TARGET) if target is None else target,
            arms=tuple(ArmInfo(arm.name, arm.optimizer, arm.overrides, arm.rates) for arm in tuned),
            engine=composed.engine,
            jobs=jobs,
            device=device_name(choose_device(shown.config.device)),
            threads=config.threads,
            already_done=0,
        ),
        arms=tuple(tuned),
        protocol=Protocol(tuning_seeds, seeds, protocol.widenings, protocol.widen_by, rungs),
        train_overrides=composed.overrides,
    )


def _arm(arm: ComposedArm, composed: ComposedComparison, examples: int) -> Arm:
    """Give an arm its learning rates.

    Raises:
        UserError: where they are to be tuned, and its optimizer has none.
    """
    config, protocol = composed.config, composed.config.protocol
    grid = None
    if isinstance(config.lrs, list):
        rates = tuple(sorted(set(map(float, config.lrs))))
    elif not protocol.tune:
        rates = (math.nan if arm.learning_rate is None else arm.learning_rate,)
    elif not arm.learning_rate:
        raise UserError(
            f"{arm.optimizer} has no learning rate around which a grid could lie.",
            where=f"optimizer.lr in {arm.composed.files['optimizer']}",
            hint="protocol.tune=false, or --lrs LIST",
        )
    else:
        grid = grid_around(arm.learning_rate, protocol.learning_rates, protocol.per_decade)
        rates = grid.rates
    return Arm(
        name=arm.name,
        optimizer=arm.optimizer,
        overrides=arm.overrides,
        config=arm.composed.plain,
        rates=rates,
        grid=grid if len(rates) > 1 else None,
        steps=_total_steps(arm.composed.plain, examples),
    )


def _total_steps(config: dict[str, Any], examples: int) -> int:
    """Return the updates of a whole trial."""
    per_epoch = examples / config["batch_size"]
    steps_per_epoch = math.floor(per_epoch) if config["data"]["drop_last"] else math.ceil(per_epoch)
    whole: int = steps_per_epoch * config["epochs"]
    return min(whole, config["max_steps"] or whole)
