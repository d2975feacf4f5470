"""Batches whose images are changed at random, each by a seed of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from gradcli.data.augment.augmentation import Augmentation
from gradcli.data.batch_source import Batch
from gradcli.data.batches import Batches, epoch_order
from gradcli.data.dataset import Split
from gradcli.errors import UserError, exception_in_words, place_in_own_code

#: Tells the seeds of the images from that of the order, which comes from the same run and epoch.
_STREAM: Final = 1


def image_seeds(count: int, seed: int, epoch: int) -> list[int]:
    """Return the seed of each of `count` examples in an epoch of a run with a seed.

    It depends on the run's seed, the epoch and the example's number only, so that every optimizer
    sees the same images, and a resumed run needs no generator state.
    """
    sequence = np.random.SeedSequence((seed, epoch, _STREAM))
    seeds: list[int] = sequence.generate_state(count, np.uint64).tolist()
    return seeds


class AugmentedBatches(Batches):
    """Batches of a training split, changed by an augmentation before they are normalised.

    A transform of a batch would draw once for all its images, so each image is changed alone, on
    the CPU: there the draws are the same for every device. The caller's random state is left as it
    was.

    Args:
        split: the examples, on the CPU.
        augmentation: changes an image.
        arguments: all others of `Batches`.

    Raises:
        UserError: if the examples are no images, or the augmentation does not change one into
            another of the same shape and type.
    """

    def __init__(self, split: Split, augmentation: Augmentation, **arguments: Any) -> None:
        refuse_no_images(split)
        super().__init__(split, **arguments)
        self._augmentation, self._images = augmentation, split.inputs
        self._changed = torch.empty(
            (self.batch_size, *self._images.shape[1:]), dtype=self._images.dtype
        )
        self._change(torch.zeros(1, dtype=torch.int64), image_seeds(1, 0, 0))

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Return the batches of an epoch of training, in the order of `epoch_order`."""
        seeds = image_seeds(self.size, seed, epoch)
        parts = torch.split(epoch_order(self.size, seed, epoch), self.batch_size)
        for examples in islice(parts, start, self.steps_per_epoch):
            changed, indices = self._change(examples, seeds), examples.to(self.device)
            gathered, targets = self._gathered[: len(indices)], self._targets[: len(indices)]
            gathered.copy_(changed)
            torch.index_select(self.all_targets, 0, indices, out=targets)
            yield Batch(indices, self._scaled(gathered), targets)

    def images(self, examples: Tensor, seed: int, epoch: int) -> Tensor:
        """Return images (b, channels, height, width) as an epoch has them, before normalisation.

        Args:
            examples: int64 (b,): their numbers, b <= `batch_size`.
            seed: the run's.
            epoch: from 1.
        """
        return self._change(examples, image_seeds(self.size, seed, epoch)).clone()

    def _change(self, examples: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return images, each changed by its seed; the next call overwrites them."""
        with _random_state_kept():
            for place, example in enumerate(examples.tolist()):
                torch.default_generator.manual_seed(seeds[example])
                self._changed[place] = self._checked(self._images[example].clone())
        return self._changed[: len(examples)]

    def _checked(self, image: Tensor) -> Tensor:
        shape, dtype = image.shape, image.dtype
        try:
            found = self._augmentation(image)
        except Exception as error:
            raise UserError(
                f"The augmentation cannot change an image of {_described(shape, dtype)}: "
                f"{exception_in_words(error)}",
                where=place_in_own_code(error) or "augment",
            ) from error
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"The augmentation makes an image of {_described(found.shape, found.dtype)} of one "
                f"of {_described(shape, dtype)}; shape and type must stay as they are.",
                where="augment",
                hint=f"a crop to size {list(shape[1:])}, and no change of type",
            )
        return found


def refuse_no_images(split: Split) -> None:
    """Refuse examples that are no images (channels, height, width).

    Raises:
        UserError: if they are numbers or texts.
    """
    shape = tuple(split.inputs.shape[1:])
    if len(shape) != 3:
        raise UserError(
            f"An augmentation changes images, (channels, height, width); these examples have the "
            f"shape {shape}.",
            where="augment",
            hint="augment=none",
        )
    if tuple(split.targets.shape[-2:]) == shape[-2:] and split.targets.dim() > 2:
        raise UserError(
            f"An augmentation moves the images, and would leave the targets, {shape[-2:]} like "
            "them, where they are.",
            where="augment",
            hint="augment=none; or a stream whose data set changes both alike",
        )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _described(shape: torch.Size, dtype: torch.dtype) -> str:
    return f"{tuple(shape)} {str(dtype).removeprefix('torch.')}"
