"""A data set in batches as a config asks for them: of its own size, unless a stream has another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch

from gradcli.config import TrainConfig
from gradcli.data import Batches, BatchSource, Dataset, steps_per_epoch
from gradcli.data.streams.stream import Stream
from gradcli.data.streams.streamed_batches import StreamedBatches
from gradcli.errors import UserError

_EVALUATION_BATCH: Final = 1000


def batch_sources(
    config: TrainConfig, dataset: Dataset, device: torch.device
) -> Mapping[str, BatchSource]:
    """Return the batches of `train`, `val` and `test`: those of `train` are of whole updates.

    Raises:
        UserError: if an update is to take several batches of a stream that has its own.
    """
    train = dataset.train
    if config.accumulate > 1 and isinstance(train, Stream) and not train.takes_batch_size:
        raise UserError(
            f"accumulate={config.accumulate} takes {config.accumulate} batches of a size that "
            "gradcli sets; the training stream has batches of its own.",
            where="accumulate",
            hint="def train(batch_size): return DataLoader(..., batch_size=batch_size)",
        )
    sources: dict[str, BatchSource] = {}
    for name, split in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        if isinstance(split, Stream):
            sources[name] = StreamedBatches(split, config.update_batch_size, device=device)
            continue
        sources[name] = Batches(
            split,
            config.update_batch_size if name == "train" else _EVALUATION_BATCH,
            normalize=config.data.normalize if dataset.has_pixels else None,
            mean=dataset.mean,
            std=dataset.std,
            device=device,
            drop_last=config.data.drop_last and name == "train",
        )
    return sources


def batch_size_of(config: TrainConfig, dataset: Dataset) -> int:
    """Return the size of the training batches."""
    if isinstance(dataset.train, Stream):
        return dataset.train.length(config.update_batch_size).batch_size
    return config.update_batch_size


def steps_per_epoch_of(config: TrainConfig, dataset: Dataset) -> int:
    """Return the updates of an epoch."""
    if isinstance(dataset.train, Stream):
        return dataset.train.length(config.update_batch_size).batches
    return steps_per_epoch(
        len(dataset.train), config.update_batch_size, drop_last=config.data.drop_last
    )
