"""Batches from tensors in memory, and the order in which an epoch visits the examples."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradcli.data.batch_source import Batch, BatchSource
from gradcli.data.dataset import Split
from gradcli.errors import UserError

Normalize = Literal["mean_std", "0-1", "none"]


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch visits `count` examples.

    It depends on the arguments only, so that a resumed run needs no generator state.

    Returns:
        int64 (count,): a permutation, on the CPU.
    """
    state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(state[0])))


def steps_per_epoch(examples: int, batch_size: int, *, drop_last: bool) -> int:
    """Return the number of batches in an epoch; `drop_last` leaves out a smaller last one."""
    return examples // batch_size if drop_last else -(-examples // batch_size)


class Batches(BatchSource):
    """Gathers batches from a split that is kept on the training device.

    Inputs that are not to be normalised are handed out as they are. Images stay bytes and become
    float32 batch by batch. MNIST's 50,000 images then take 39 MB, and 157 MB as float32. Both fit a
    budget of 200 MB, but bytes are also faster, because a quarter as many come from main memory.
    Median microseconds for the normalised inputs of a batch of 128 (2 cores of an AMD EPYC, torch
    2.13, 1 and 2 threads):

        float32, normalised beforehand: index_select       68   51
        uint8: index_select, copy_, add with a factor      34   38

    Normalising beforehand would also delay the first step by 310 ms.

    Args:
        split: the examples.
        batch_size: examples per batch; more than there are means all of them.
        normalize: the value for a pixel x of 0..255: `mean_std` (x/255 - mean)/std, `0-1`
            x/255, `none` x. None: the inputs are no pixels.
        mean: of the training pixels, scaled to [0, 1].
        std: the standard deviation of the training pixels, scaled to [0, 1].
        device: where the split and the batches are kept.
        drop_last: leave out the last batch of an epoch if it is smaller than the others.

    Raises:
        UserError: if `drop_last` would leave no batch.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        normalize: Normalize | None,
        mean: float = math.nan,
        std: float = math.nan,
        device: torch.device | str = "cpu",
        drop_last: bool = False,
    ) -> None:
        if drop_last and batch_size > len(split):
            raise UserError(
                f"With data.drop_last, no batch of {batch_size} is left of {len(split)} training "
                "examples.",
                where="batch_size",
                hint=f"batch_size={len(split)} or data.drop_last=false",
            )
        self.batch_size = min(batch_size, len(split)) or 1
        self.size = len(split)
        self.device = torch.device(device)
        self.steps_per_epoch = steps_per_epoch(len(split), batch_size, drop_last=drop_last)
        self.all_inputs = split.inputs.to(device)
        self.all_targets = split.targets.to(device)
        self._gathered = _empty_batch(self.all_inputs, self.batch_size)
        self._targets = _empty_batch(self.all_targets, self.batch_size)
        self._normalizes = normalize is not None
        if normalize is not None:
            self._inputs = torch.empty_like(self._gathered, dtype=torch.float32)
            self._scale, shift = _affine(normalize, mean, std)
            self._shift = torch.tensor(shift, dtype=torch.float32, device=device)

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Return the batches of an epoch of training, in the order of `epoch_order`."""
        order = epoch_order(self.size, seed, epoch).to(self.device)
        parts = islice(torch.split(order, self.batch_size), start, self.steps_per_epoch)
        return (Batch(indices, *self.gather(indices)) for indices in parts)

    def in_order(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield inputs and targets of all examples in batches, in the order of the split."""
        for start in range(0, self.size, self.batch_size):
            stop = min(start + self.batch_size, self.size)
            yield self.gather(torch.arange(start, stop, device=self.device))

    def sample(self, count: int) -> Batches:
        """Return `count` of the examples as batches, always the same ones; all if there are fewer.

        They are drawn at random: the classes of a split may be in order.
        """
        if count >= self.size:
            return self
        chosen = epoch_order(self.size, seed=0, epoch=0)[:count].sort().values.to(self.device)
        some = copy.copy(self)  # its batches overwrite those of the split
        some.size, some.steps_per_epoch = (
            count,
            steps_per_epoch(count, self.batch_size, drop_last=False),
        )
        some.all_inputs = self.all_inputs[chosen]
        some.all_targets = self.all_targets[chosen]
        return some

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the examples with the given indices as a batch.

        It does not wait for an accelerator. **The tensors are reused**: the next call overwrites
        them, so clone what you want to keep.

        Args:
            indices: int64 (b,) with b <= `batch_size`, on the split's device.

        Returns:
            Inputs (b, ...), float32 if they are normalised, and targets (b, ...).
        """
        gathered, targets = self._gathered, self._targets
        count = len(indices)
        if count < self.batch_size:  # the views cost 10 us per step
            gathered, targets = gathered[:count], targets[:count]
        torch.index_select(self.all_inputs, 0, indices, out=gathered)
        torch.index_select(self.all_targets, 0, indices, out=targets)
        return self._scaled(gathered), targets

    def _scaled(self, gathered: Tensor) -> Tensor:
        """Return inputs (b, ...) normalised, if they are to be."""
        if not self._normalizes:
            return gathered
        count = len(gathered)
        inputs = self._inputs if count == self.batch_size else self._inputs[:count]
        inputs.copy_(gathered)
        torch.add(self._shift, inputs, alpha=self._scale, out=inputs)
        return inputs


def _empty_batch(examples: Tensor, size: int) -> Tensor:
    """Return room for a batch of some examples (n, ...)."""
    return torch.empty((size, *examples.shape[1:]), dtype=examples.dtype, device=examples.device)


def _affine(normalize: Normalize, mean: float, std: float) -> tuple[float, float]:
    """Return the factor and the summand that normalise a pixel of 0..255."""
    if normalize == "none":
        return 1.0, 0.0
    if normalize == "0-1":
        return 1 / 255, 0.0
    # If all images are the same, the deviation is 0 and cannot divide.
    return 1 / (255 * (std or 1.0)), -mean / (std or 1.0)
