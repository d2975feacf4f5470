"""A data set in batches as a config asks for them: normalised, and augmented for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from gradcli.config import Composed, DataConfig, TrainConfig
from gradcli.config.targets import construct
from gradcli.data import (
    AugmentedBatches,
    Batches,
    BatchSource,
    Dataset,
    NoAugmentation,
    Split,
    steps_per_epoch,
)
from gradcli.data.streams.stream import Stream
from gradcli.data.streams.streamed_batches import StreamedBatches
from gradcli.errors import UserError

_EVALUATION_BATCH: Final = 1000


def batch_sources(
    composed: Composed, dataset: Dataset, device: torch.device
) -> Mapping[str, BatchSource]:
    """Return the batches of `train`, `val` and `test`: those of `train` are of whole updates.

    Raises:
        UserError: if no batch is left of the data, it cannot be augmented as the config says, or an
            update is to take several batches of a stream that has its own.
    """
    config = composed.config

    def evaluated(split: Split | Stream) -> BatchSource:
        if isinstance(split, Stream):
            return StreamedBatches(split, config.update_batch_size, device=device)
        return Batches(split, _EVALUATION_BATCH, device=device, **_scaling(composed, dataset))

    return {
        "train": training_batches(composed, dataset, device),
        "val": evaluated(dataset.val),
        "test": evaluated(dataset.test),
    }


def training_batches(composed: Composed, dataset: Dataset, device: torch.device) -> BatchSource:
    """Return the batches of a training.

    Raises:
        UserError: as `batch_sources` does.
    """
    config = composed.config
    if isinstance(dataset.train, Stream):
        return _streamed(composed, dataset.train, device)
    arguments = {
        **_scaling(composed, dataset),
        "batch_size": config.update_batch_size,
        "device": device,
        "drop_last": config.data.drop_last,
    }
    augmentation = construct(composed.classes["augment"], config.augment.arguments, "augment")
    if isinstance(augmentation, NoAugmentation):
        return Batches(dataset.train, **arguments)
    return AugmentedBatches(dataset.train, augmentation, **arguments)


def _streamed(composed: Composed, train: Stream, device: torch.device) -> BatchSource:
    """Return the batches of a stream, whose loader does what the config does for others."""
    config = composed.config
    if augment_name(composed):
        raise UserError(
            "The training examples are a stream, whose loader may change them as it likes.",
            where="augment",
            hint="augment=none, and the transforms in the data set that the loader reads",
        )
    if config.accumulate > 1 and not train.takes_batch_size:
        raise UserError(
            f"accumulate={config.accumulate} takes {config.accumulate} batches of a size that "
            "gradcli sets; the training stream has batches of its own.",
            where="accumulate",
            hint="def train(batch_size): return DataLoader(..., batch_size=batch_size)",
        )
    return StreamedBatches(train, config.update_batch_size, device=device)


def augment_name(composed: Composed) -> str:
    """Return the option of the augmentation; empty if there is none."""
    is_none = issubclass(composed.classes["augment"], NoAugmentation)
    return "" if is_none else composed.config.augment.option


def batch_size_of(config: TrainConfig, dataset: Dataset) -> int:
    """Return how many examples an update takes: no more than there are."""
    if isinstance(dataset.train, Stream):
        return dataset.train.length(config.update_batch_size).batch_size
    return min(config.update_batch_size, len(dataset.train))


def steps_per_epoch_of(config: TrainConfig, dataset: Dataset) -> int:
    """Return the updates of an epoch."""
    if isinstance(dataset.train, Stream):
        return dataset.train.length(config.update_batch_size).batches
    return steps_per_epoch(
        len(dataset.train), config.update_batch_size, drop_last=config.data.drop_last
    )


def input_scaling(data: DataConfig, dataset: Dataset) -> str:
    """Return the override that scales the inputs; empty if they are scaled, or if none can."""
    if dataset.has_pixels:
        return "data.normalize=mean_std" if data.normalize != "mean_std" else ""
    return "data.standardize=true" if data.arguments.get("standardize") is False else ""


def _scaling(composed: Composed, dataset: Dataset) -> dict[str, Any]:
    """Return how the batches of a data set are normalised."""
    normalize = composed.config.data.normalize if dataset.has_pixels else None
    return {"normalize": normalize, "mean": dataset.mean, "std": dataset.std}
