"""The batches of a stream, where a trainer, an evaluation and a probe look for them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice

import torch
from torch import Tensor

from gradcli.data.batch_source import Batch, BatchSource
from gradcli.data.streams.stream import Stream


class StreamedBatches(BatchSource):
    """The batches of a stream, brought to the training device.

    Args:
        stream: is read anew for each epoch and each evaluation.
        batch_size: what the loader is asked for, if it takes that.
        device: where the batches are brought.
    """

    def __init__(self, stream: Stream, batch_size: int, *, device: torch.device | str) -> None:
        self._stream, self._asked = stream, batch_size
        length = stream.length(batch_size)
        self.size, self.batch_size = length.examples, length.batch_size
        self.steps_per_epoch = length.batches
        self.device = torch.device(device)

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch; those that are left out are read, too."""
        nameless = torch.empty(0, dtype=torch.int64)
        with closing(self._stream.read(self._asked, seed, epoch)) as pairs:
            for inputs, targets in islice(pairs, start, None):
                yield Batch(nameless, self._moved(inputs), self._moved(targets))

    def in_order(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield the batches, the same ones whatever the run's seed."""
        with closing(self._stream.in_evaluation(self._asked)) as pairs:
            for inputs, targets in pairs:
                yield self._moved(inputs), self._moved(targets)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device, non_blocking=True)
