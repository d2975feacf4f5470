"""Where batches come from: what a trainer, an evaluation and a probe ask of a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """The examples of one step, on the training device."""

    examples: Tensor
    """int64 (b,): their numbers in the split; (0,) if they have none."""
    inputs: Tensor
    """(b, ...)"""
    targets: Tensor
    """(b, ...)"""


class BatchSource(ABC):
    """A split as batches.

    Attributes:
        size: how many examples there are.
        batch_size: how many of them a batch has; the last one may have fewer.
        steps_per_epoch: how many batches an epoch of training has.
        device: where batches are.
    """

    size: int
    batch_size: int
    steps_per_epoch: int
    device: torch.device

    @abstractmethod
    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Return the batches of an epoch of training.

        They depend on the arguments only, so that a resumed run needs no generator state. **The
        tensors may be reused**: the next batch overwrites them, so clone what you want to keep.

        Args:
            seed: the run's.
            epoch: from 1.
            start: how many of its batches to leave out.
        """

    @abstractmethod
    def in_order(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield inputs and targets of all examples in batches, always in the same order.

        The tensors may be reused, as those of `epoch`.
        """

    def again(self, seed: int, epoch: int, number: int) -> Batch:
        """Return one batch of an epoch, counted from 0."""
        with closing(self.epoch(seed, epoch, number)) as batches:
            return next(batches)

    def first(self, seed: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of the `count` examples that a training begins with.

        There are fewer if an epoch has fewer.
        """
        parts, missing = [], count
        with closing(self.epoch(seed, 1)) as batches:
            for batch in batches:
                parts.append((batch.inputs[:missing].clone(), batch.targets[:missing].clone()))
                missing -= len(parts[-1][1])
                if missing <= 0:
                    break
        inputs, targets = zip(*parts, strict=True)
        return torch.cat(inputs), torch.cat(targets)
