"""The plan of a comparison, from its overrides: arms, learning rates, data and seeds.

Planning needs torch, the data and a model, so the engine does it, not the process that shows the
comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradcli.comparison.plan import Plan
from gradcli.comparison.protocol import Arm, ArmSearch, Protocol, grid_around
from gradcli.comparison.results import ArmInfo, ComparisonInfo, ProtocolInfo
from gradcli.comparison.target import TargetOrigin, TargetPlan
from gradcli.config import (
    ComposedArm,
    ComposedComparison,
    DataConfig,
    TrainConfig,
    compose_comparison,
)
from gradcli.config.parameter_groups import with_explicit_rates
from gradcli.data import Dataset
from gradcli.errors import UserError
from gradcli.system.paths import Paths
from gradcli.training import total_steps
from gradcli.workflows.building import (
    activation_name,
    build_network,
    choose_device,
    describe_clip,
    device_name,
    model_name,
    trained_size,
)
from gradcli.workflows.comparing.search_planning import plan_searches, search_info, stored_searcher
from gradcli.workflows.preflight import remarks_before_training
from gradcli.workflows.splits import augment_name, batch_size_of, steps_per_epoch_of
from gradcli.workflows.tracked.tracked_runs import build_trackers


def plan_comparison(
    overrides: Sequence[str],
    vary: Sequence[str],
    paths: Paths,
    load_data: Callable[[DataConfig], Dataset],
    *,
    jobs: int,
) -> Plan:
    """Compose the arms of a comparison, and decide how they are tuned and measured.

    Args:
        overrides: Hydra overrides, of the comparison's own keys and of those of a training run.
        vary: overrides with several values, `KEY=V1,V2`, which are crossed with the optimizers.
        paths: the user's config folder, and the packages they may use.
        load_data: returns the data that the config asks for.
        jobs: the number of trials that will run at the same time, for the record.

    Raises:
        UserError: for anything wrong with the config or the data.
    """
    composed = compose_comparison(
        overrides, vary, config_dir=paths.config_dir, allow_import=paths.allow_import
    )
    config, protocol = composed.config, composed.config.protocol
    dataset = load_data(composed.data())
    data = dataset.info
    arms = composed.arms(data)
    shown = arms[0].composed
    build_trackers(shown)  # which fails if a library is missing: here, and not in every trial
    remarks = [one for arm in arms for one in remarks_before_training(arm.composed, dataset)]
    if composed.searched:
        searches, search_remarks = plan_searches(arms, composed)
        tuned = [
            _searched_arm(arm, search, dataset) for arm, search in zip(arms, searches, strict=True)
        ]
        remarks += search_remarks
    else:
        tuned = [_arm(arm, composed, dataset) for arm in arms]
    search = search_info(composed, tuned)
    tunes = search is not None or any(len(arm.rates) > 1 for arm in tuned)
    first = config.seed + (protocol.tuning_seeds if tunes else 0)
    tuning_seeds = tuple(range(config.seed, first))
    seeds = tuple(range(first, first + protocol.seeds))
    rungs = tuple(sorted(protocol.rungs)) if protocol.halving and tunes else ()
    given = protocol.target
    return Plan(
        info=ComparisonInfo(
            path="",
            name="",
            data=data,
            model=model_name(shown, dataset),
            model_size=trained_size(build_network(shown, dataset)),
            activation=activation_name(shown, dataset),
            schedule=shown.config.schedule.option,
            clip=describe_clip(shown),
            batch_size=batch_size_of(shown.config, dataset),
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
            target_score=dataset.target_score if given is None else given,
            metric=dataset.objective.metric,
            augment=augment_name(shown),
            search=search,
            arms=tuple(arm.info for arm in tuned),
            engine=composed.engine,
            jobs=jobs,
            device=device_name(choose_device(shown.config.device)),
            threads=config.threads,
            already_done=0,
        ),
        arms=tuple(tuned),
        protocol=Protocol(
            tuning_seeds,
            seeds,
            protocol.widenings,
            protocol.widen_by,
            rungs,
            budgets=search.budgets[:-1] if search else (),
        ),
        searcher=stored_searcher(composed) if search else None,
        train_overrides=composed.overrides,
        remarks=tuple(dict.fromkeys(remarks)),
        target=TargetPlan(_target_origin(given, dataset, tunes), validates=True),
    )


def _target_origin(given: float | None, dataset: Dataset, tunes: bool) -> TargetOrigin:
    """Return where the score that is timed comes from."""
    if given is not None:
        return "protocol"
    if dataset.make_model is not None and not math.isnan(dataset.target_score):
        return "problem"
    return "tuning" if tunes else "data"


def _arm(arm: ComposedArm, composed: ComposedComparison, dataset: Dataset) -> Arm:
    """Give an arm its learning rates.

    Raises:
        UserError: if they are to be tuned and its optimizer has none.
    """
    config, protocol = composed.config, composed.config.protocol
    optimizer = arm.composed.config.optimizer
    is_list = isinstance(config.lrs, list)
    # The rates of parameter groups keep their proportion to the optimizer's own.
    needs_rate = bool(optimizer.parameter_groups) if is_list else protocol.tune
    if needs_rate and not arm.learning_rate:
        purpose = (
            "for its groups to keep their proportion to" if is_list else "to build a grid around"
        )
        raise UserError(
            f"{arm.optimizer} has no learning rate above 0 {purpose}.",
            where=f"optimizer.lr in {arm.composed.files['optimizer']}",
            hint="protocol.tune=false" if is_list else "protocol.tune=false, or --lrs LIST",
        )
    grid = None
    if isinstance(config.lrs, list):
        rates = tuple(sorted(set(map(float, config.lrs))))
    elif not protocol.tune or arm.learning_rate is None:
        rates = (math.nan if arm.learning_rate is None else arm.learning_rate,)
    else:
        grid = grid_around(arm.learning_rate, protocol.learning_rates, protocol.per_decade)
        rates = grid.rates
    return Arm(
        info=ArmInfo(arm.name, arm.optimizer, arm.overrides, rates),
        config=_trial_config(arm),
        grid=grid if len(rates) > 1 else None,
        steps=_total_steps(arm.composed.config, dataset),
    )


def _searched_arm(arm: ComposedArm, search: ArmSearch, dataset: Dataset) -> Arm:
    rate = math.nan if arm.learning_rate is None else arm.learning_rate
    return Arm(
        info=ArmInfo(arm.name, arm.optimizer, arm.overrides, (rate,), search.ranges),
        config=_trial_config(arm),
        grid=None,
        steps=_total_steps(arm.composed.config, dataset),
        search=search,
    )


def _trial_config(arm: ComposedArm) -> dict[str, Any]:
    """Return the config of an arm's trials, with every learning rate of its groups."""
    plain, optimizer = arm.composed.plain, arm.composed.config.optimizer
    explicit = with_explicit_rates(optimizer, arm.composed.classes, plain["optimizer"])
    return {**plain, "optimizer": explicit}


def _total_steps(config: TrainConfig, dataset: Dataset) -> int:
    """Return the updates of a whole trial."""
    return total_steps(steps_per_epoch_of(config, dataset), config.epochs, config.max_steps)
