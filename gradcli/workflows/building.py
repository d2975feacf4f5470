"""From a config to a trainer: data, model, optimizer, schedule and clipping, built and described.

Everything is built here and nothing is trained. Runs, trials, plans and inspections share it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gradcli.config import Composed, DataConfig
from gradcli.config.targets import configured_rate, construct
from gradcli.data import Dataset, load_dataset
from gradcli.data.streams.stream import Stream
from gradcli.errors import DamagedFileError, UserError, exception_in_words, place_in_own_code
from gradcli.models import ZooModel, build_model, build_own_model
from gradcli.models.activation_checkpointing import checkpoint_blocks
from gradcli.objectives import Objective, loss_levels
from gradcli.optim import (
    LearningRate,
    RuledGroup,
    build_optimizer,
    build_schedule,
    route,
)
from gradcli.records import GroupInfo, LossLevels, Recorder, RunInfo
from gradcli.runs import Run
from gradcli.system.paths import Paths
from gradcli.training import PassPlan, Trainer, TrainingPlan, total_steps, worthwhile_threads
from gradcli.workflows.splits import augment_name, batch_size_of, batch_sources, input_scaling


def obtain_data(
    data: DataConfig, data_dir: Path | None, download: Callable[[int, int, str], None]
) -> Dataset:
    """Load the data that a config asks for.

    Args:
        data: the config of the data, with its class imported.
        data_dir: where data sets are looked for and downloaded to; None is the cache.
        download: called during a download: bytes so far, all bytes (0 if unknown), the file.

    Raises:
        UserError: if the data is not available.
    """
    assert data.source is not None, "with_source() comes first"
    return load_dataset(
        data.name,
        source=construct(data.source, data.arguments, "data"),
        val=data.val,
        folder=Path(data.folder) if data.folder else None,
        data_dir=data_dir,
        progress=lambda progress: download(
            progress.received_bytes, progress.total_bytes or 0, progress.file
        ),
    )


def obtain_data_of(
    run: Run, data: DataConfig, paths: Paths, download: Callable[[int, int, str], None]
) -> Dataset:
    """Load the data that a run was trained on.

    Raises:
        UserError: if the data is not available, or has changed.
    """
    data_dir = None if paths.data_dir is None else paths.absolute(paths.data_dir)
    dataset = obtain_data(data, data_dir, download)
    if "info" in run.state:  # else the process ended before it loaded any data
        refuse_other_data(dataset, run.info.data.sha256, data, where=str(run.path / "config.yaml"))
    return dataset


def refuse_other_data(dataset: Dataset, sha256: str, data: DataConfig, *, where: str) -> None:
    """Refuse data that has changed since a run or a comparison began.

    Raises:
        UserError: if the fingerprint is not `sha256`.
    """
    if dataset.info.sha256 != sha256:
        own = data.arguments.get("path") or data.folder
        raise UserError(
            f"The data set {dataset.info.name} has changed since then.",
            where=f"data in {where}",
            hint=f"put the original data back at {own}"
            if own
            else "--data-dir DIR, with the original data",
        )


@contextmanager
def built_trainer(
    composed: Composed, dataset: Dataset, checkpoint: dict[str, Any] | None = None
) -> Iterator[Trainer]:
    """Build a trainer, at a checkpoint if there is one, under the settings of its run.

    Raises:
        DamagedFileError: if the checkpoint is not one of this config.
    """
    with run_settings(composed):
        trainer = build_trainer(composed, dataset)
        if checkpoint is not None:
            _set_to(trainer, checkpoint)
        yield trainer


def _set_to(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    try:
        trainer.load_state_dict(checkpoint)
    # What torch and the optimizers raise if the states are those of other modules.
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        first = exception_in_words(error).partition("\n")[0]
        raise DamagedFileError(
            f"The checkpoint does not fit the model and the optimizer of the config: {first}",
            where="checkpoints/last.pt and config.yaml",
        ) from None


def build_recorders(composed: Composed) -> list[Recorder]:
    """Build the recorders that the config names, in its order."""
    return [
        construct(composed.classes[f"recorder/{section.option}"], section.arguments, "recorder")
        for section in composed.config.recorders
    ]


def build_network(composed: Composed, dataset: Dataset) -> nn.Module:
    """Build the model, initialised, on the CPU: the data's own, or that of the config."""
    config, classes = composed.config, composed.classes
    if dataset.make_model is not None:
        return build_own_model(
            dataset.make_model,
            dataset.train.at_hand.inputs[:2],
            dataset.train.at_hand.targets[:2],
            loss=dataset.objective.loss,
            scores={one.metric.name: one.of_batch for one in dataset.objective.measures},
            seed=config.seed,
        )
    _refuse_logits_for_nll(classes["model"], dataset.objective)
    return build_model(
        classes["model"],
        config.model.arguments,
        activation=lambda: construct(
            classes["activation"], config.activation.arguments, "activation"
        ),
        initialisation=construct(classes["init"], config.init.arguments, "init"),
        input_shape=dataset.info.shape,
        classes=dataset.outputs,
        seed=config.seed,
        input_type=dataset.input_type,
        per_position=bool(dataset.vocabulary),
    )


def _refuse_logits_for_nll(model: type, objective: Objective) -> None:
    """Refuse a shipped model, which returns logits, for a loss of log-probabilities."""
    if objective.name == "nll" and model.__module__.startswith("gradcli."):
        raise UserError(
            f"nll needs log-probabilities, and {model.__name__} returns logits.",
            where="data.loss",
            hint="data.loss=cross_entropy, which is nll of the log-softmax of logits",
        )


def build_trainer(composed: Composed, dataset: Dataset) -> Trainer:
    """Build data, model, optimizer, schedule and clipping as the config says."""
    config, classes = composed.config, composed.classes
    device = choose_device(config.device)
    model = build_network(composed, dataset).to(device)
    if config.activation_checkpointing:
        checkpoint_blocks(model)
    threads = torch.get_num_threads()
    if config.threads is None and device.type == "cpu":
        threads = worthwhile_threads(model, batch_size_of(config, dataset), threads)
    optimizer = build_optimizer(
        classes["optimizer"],
        config.optimizer.arguments,
        model,
        device=device,
        decay_biases_and_norms=config.decay_biases_and_norms,
        groups=_ruled_groups(composed),
    )
    splits = batch_sources(composed, dataset, device)
    plan = TrainingPlan(
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
        record_every=config.monitor.every_step,
        probe_every=config.monitor.every,
        passes=PassPlan(
            precision=config.precision,
            micro_batch_size=config.batch_size if config.accumulate > 1 else None,
            compiled=config.compile,
        ),
        threads=threads,
    )
    learning_rate = LearningRate(
        optimizer,
        build_schedule(classes["schedule"], config.schedule.arguments),
        total_steps(splits["train"].steps_per_epoch, plan.epochs, plan.max_steps),
    )
    clip = construct(classes["clip"], config.clip.arguments, "clip")
    return Trainer(model, dataset.objective, splits, optimizer, learning_rate, clip, plan)


def describe_run(composed: Composed, dataset: Dataset, trainer: Trainer, run: str) -> RunInfo:
    """Return the header of the run in the directory named `run`."""
    config = composed.config
    groups = _describe_groups(composed, trainer.model)
    # How many examples a stream has may depend on the size of its batches.
    train, val, test = (trainer.splits[name].size for name in ("train", "val", "test"))
    return RunInfo(
        run=run,
        name=config.name or "",
        data=replace(dataset.info, train=train, val=val, test=test),
        model=model_name(composed, dataset),
        model_size=trained_size(trainer.model),
        optimizer=config.optimizer.option,
        learning_rate=groups[0].learning_rate
        if groups
        else float(trainer.optimizer.defaults["lr"]),
        schedule=config.schedule.option,
        clip=describe_clip(composed),
        activation=activation_name(composed, dataset),
        device=device_name(trainer.device),
        threads=torch.get_num_threads(),
        batch_size=batch_size_of(config, dataset),
        accumulate=min(
            config.accumulate, math.ceil(batch_size_of(config, dataset) / config.batch_size)
        ),
        epochs=config.epochs,
        total_steps=trainer.total_steps,
        start_step=trainer.step,
        layers=trainer.layers,
        metric=trainer.objective.metric,
        loss=trainer.objective.name,
        groups=groups,
        levels=_levels(dataset),
        further_metrics=tuple(one.metric for one in trainer.objective.further),
        augment=augment_name(composed),
        input_scaling=input_scaling(composed.config.data, dataset),
    )


def _levels(dataset: Dataset) -> LossLevels:
    """Return what the loss can be compared with.

    Of a stream, only reading all of it would tell: other examples, which are like it, do instead.
    """
    levels_of = dataset.objective.levels
    in_memory = {
        name: split.targets
        for name, split in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test))
        if not isinstance(split, Stream) and len(split)
    }
    if not in_memory:
        return LossLevels(streamed=levels_of is not None)
    streamed = isinstance(dataset.train, Stream)
    like_train = next(iter(in_memory.values()))
    return loss_levels(levels_of, like_train, in_memory.get("val"), streamed=streamed)


def _ruled_groups(composed: Composed) -> tuple[RuledGroup, ...]:
    """Return the optimizer's groups with their classes."""
    return tuple(
        RuledGroup(
            name=group.name,
            rule=group.rule,
            kwargs=group.own,
            optimizer_class=composed.classes[group.section.key] if group.has_own_class else None,
        )
        for group in composed.config.optimizer.parameter_groups
    )


def _describe_groups(composed: Composed, model: nn.Module) -> tuple[GroupInfo, ...]:
    """Return what the optimizer's groups took of a model, and with which settings."""
    routed = route(model, _ruled_groups(composed))
    sections = {one.name: one.section for one in composed.config.optimizer.parameter_groups}
    rates = {
        name: configured_rate(composed.classes[section.key], section.arguments)
        for name, section in sections.items()
    }
    return tuple(
        GroupInfo(
            name=name,
            optimizer=section.target,
            keywords=section.arguments,
            learning_rate=math.nan if (rate := rates[name]) is None else rate,
            parameters=tuple(routed[name]),
        )
        for name, section in sections.items()
    )


def model_name(composed: Composed, dataset: Dataset) -> str:
    """Return the name of the model: the option of the config, or of what makes the data's own."""
    if dataset.make_model is None:
        section = composed.config.model
        of_a_zoo = issubclass(composed.classes["model"], ZooModel)
        return f"{section.option}.{section.arguments['name']}" if of_a_zoo else section.option
    name = getattr(dataset.make_model, "__name__", type(dataset.make_model).__name__)
    return "model" if name == "<lambda>" else name


def activation_name(composed: Composed, dataset: Dataset) -> str:
    """Return the activation that the model is built with; empty if its class takes none."""
    if dataset.make_model is not None:
        return ""
    accepted = inspect.signature(composed.classes["model"]).parameters
    return composed.config.activation.option if "activation" in accepted else ""


def trained_size(model: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def describe_clip(composed: Composed) -> str:
    """Return the clipping rule with its first argument, such as `norm 1.0`."""
    clip = composed.config.clip
    first = next(iter(clip.arguments.values()), None)
    return clip.option if first is None else f"{clip.option} {first}"


def choose_device(name: str) -> torch.device:
    """Return the device; `auto` is an accelerator if there is one.

    Raises:
        UserError: if PyTorch does not see the device.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available()}
    present["mps"] = torch.backends.mps.is_available()
    if name == "auto":
        name = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present[name]:
        raise UserError(
            f"PyTorch does not see a {name} device on this machine.",
            where="device",
            choices=[name for name in present if present[name]],
            hint="device=auto",
        )
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return the type of the device, and the name of a graphics card."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


@contextmanager
def run_settings(composed: Composed) -> Iterator[None]:
    """Set threads and seeds for a run, and restore those of the caller afterwards."""
    config = composed.config
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        # Dropout draws from torch's default generator. A separate seed keeps its numbers apart
        # from those of the weights and of the order of the batches.
        stream = np.random.SeedSequence(config.seed, spawn_key=(1,)).generate_state(1, np.uint64)
        torch.manual_seed(int(stream[0]))
        try:
            if config.threads is not None:
                torch.set_num_threads(config.threads)
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def failures_in_words(trainer: Trainer) -> Iterator[None]:
    """Turn an exception of the user's own code into an error that says where it arose.

    Raises:
        UserError: in its place.
    """
    try:
        yield
    except Exception as error:
        place = place_in_own_code(error, even_if_gradcli_raised=False)
        if isinstance(error, UserError) or not place:
            raise
        raise UserError(
            f"Training failed after step {trainer.step}: {exception_in_words(error)}", where=place
        ) from error
