"""A split that does not fit into memory: it is read batch by batch, each time from the start."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gradcli.data.dataset import Split
from gradcli.data.streams.own_random_state import OwnRandomState
from gradcli.errors import UserError, exception_in_words, place_in_own_code

SplitName = Literal["train", "val", "test"]
#: What sentences call the examples of a split.
KINDS: Final[dict[SplitName, str]] = {"train": "training", "val": "validation", "test": "test"}
#: Makes what yields batches: called without arguments, or with `batch_size` if it takes that.
LoaderFactory = Callable[..., Iterable[tuple[Tensor, Tensor]]]

#: What torch says before the traceback of a loader's worker.
_IN_WORKER: Final = "\nOriginal Traceback (most recent call last):"
#: The batch size under which a stream is described, which does not depend on the config.
_SAMPLE: Final = 8
#: The seed and the epoch under which loaders are made and splits evaluated, whatever the seed of
#: the run. Epochs of training count from 1. If `val` and `test` draw examples, they draw others.
_FIXED: Final[dict[SplitName, tuple[int, int]]] = {"train": (0, 0), "val": (1, 0), "test": (2, 0)}
_HINT: Final = "a DataLoader, or anything that yields (inputs, targets), each a tensor (b, ...)"


@dataclass(frozen=True, slots=True)
class StreamLength:
    """How much there is of a stream."""

    batches: int
    batch_size: int
    """Of all batches but the last."""
    examples: int
    """As far as the loader knows; else as if all batches had that size."""

    @property
    def last_batch(self) -> int:
        """The examples in the last batch."""
        return self.examples - (self.batches - 1) * self.batch_size


class Stream:
    """Examples that a loader of the user's own yields in batches.

    The loader is made anew for every pass, always in the same random state. Its batches then
    depend on a seed and an epoch only: torch, NumPy and `random` are seeded with them, as are a
    `generator` of the loader and of its sampler, and `set_epoch` of its sampler is called.

    Args:
        make: makes the loader.
        split: which split it is.
        batches: how many batches it has, if the loader has no length, or is to be cut short.

    Attributes:
        at_hand: the first batch in the fixed random state, which stands for the others.
        keeps_float64: whether float64 does not become float32.
        takes_batch_size: whether the loader is made with a batch size that is asked for.

    Raises:
        UserError: if there is no first batch, or no length.
    """

    def __init__(self, make: LoaderFactory, split: SplitName, batches: int | None) -> None:
        self._make, self._split, self._announced = make, split, batches
        self.takes_batch_size = takes_batch_size(make)
        self._lengths: dict[int, StreamLength] = {}
        self.keeps_float64 = True
        self.kind = KINDS[split]
        with closing(self._pairs(_SAMPLE, *_FIXED[self._split])) as pairs:
            first = next(pairs, None)
        if first is None:
            raise UserError(f"The {self.kind} stream is empty.", where=split, hint=_HINT)
        self.at_hand = Split(*first)
        self.length(_SAMPLE)

    def __len__(self) -> int:
        return self.length(_SAMPLE).examples

    def as_float32(self) -> Stream:
        """Return the stream with float32 in place of float64."""
        narrowed = copy(self)
        narrowed.keeps_float64 = False
        narrowed.at_hand = Split(_narrowed(self.at_hand.inputs), _narrowed(self.at_hand.targets))
        return narrowed

    def length(self, batch_size: int) -> StreamLength:
        """Return how much there is of it, in batches of that size if the loader is asked for one.

        Raises:
            UserError: if it is not known.
        """
        if batch_size not in self._lengths:
            self._lengths[batch_size] = self._measured(self._loader(batch_size), batch_size)
        return self._lengths[batch_size]

    def read(
        self, batch_size: int, seed: int, epoch: int
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield the batches of an epoch: inputs (b, ...) and targets (b, ...).

        Raises:
            UserError: if the loader fails, ends early, or yields something else than before.
        """
        batches = self.length(batch_size).batches
        with closing(self._pairs(batch_size, seed, epoch)) as pairs:
            for number in range(batches):
                pair = next(pairs, None)
                if pair is None:
                    raise UserError(
                        f"The {self.kind} stream ended after {number:,} of {batches:,} batches.",
                        where=self._split,
                        hint="a length of the loader that is right, or steps_per_epoch=...",
                    )
                for name, found, known in (
                    ("inputs", pair[0], self.at_hand.inputs),
                    ("targets", pair[1], self.at_hand.targets),
                ):
                    if (found.shape[1:], found.dtype) != (known.shape[1:], known.dtype):
                        raise UserError(
                            f"The {name} of batch {number:,} of the {self.kind} stream are "
                            f"{_form(found)} per example; those of its first one were "
                            f"{_form(known)}.",
                            where=self._split,
                            hint="examples of one shape and type: padded, cropped or converted",
                        )
                yield pair

    def in_evaluation(self, batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield all batches, the same ones whatever the run's seed; see `read`."""
        return self.read(batch_size, *_FIXED[self._split])

    def _loader(self, batch_size: int) -> Iterable[Any]:
        """Make the loader."""
        with OwnRandomState(*_FIXED[self._split]).entered():
            try:
                made = self._make(**({"batch_size": batch_size} if self.takes_batch_size else {}))
            except UserError:
                raise
            except Exception as error:
                raise UserError(
                    f"The {self.kind} stream cannot be made: {exception_in_words(error)}",
                    where=place_in_own_code(error) or self._split,
                ) from error
        if not isinstance(made, Iterable):
            raise UserError(
                f"{self._split}=... made a {type(made).__name__}, which yields no batches.",
                where=self._split,
                hint=_HINT,
            )
        return made

    def _measured(self, loader: Iterable[Any], asked: int) -> StreamLength:
        """Return how much a loader says that it has."""
        in_loader = _length(loader)
        batches = self._announced if self._announced is not None else in_loader
        if batches is None:
            number = "N" if self._split == "train" else f'{{"{self._split}": N}}'
            raise UserError(
                f"The {self.kind} stream does not say how many batches it has.",
                where=self._split,
                hint=f"steps_per_epoch={number}, or a loader with a length",
            )
        if batches < 1:
            raise UserError(f"The {self.kind} stream has no batches.", where=self._split)
        size = asked if self.takes_batch_size else len(self.at_hand)
        known = None
        if isinstance(loader, DataLoader) and loader.batch_size is not None:
            size = loader.batch_size
            samples = _length(loader.sampler)
            known = _length(loader.dataset) if samples is None else samples
        every = batches * size
        return StreamLength(batches, size, every if known is None else min(known, every))

    def _pairs(
        self, batch_size: int, seed: int, epoch: int
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield what the loader yields, as long as it does."""
        loader = self._loader(batch_size)
        state = OwnRandomState(seed, epoch)
        _seed(loader, state.seed, epoch)
        iterator: Iterator[Any] | None = None
        try:
            for number in count():
                with state.entered():
                    try:
                        iterator = iter(loader) if iterator is None else iterator
                        batch = next(iterator)
                    except StopIteration:
                        return
                    except UserError:
                        raise
                    except Exception as error:
                        raise self._failed(number, error) from error
                yield self._pair(batch, number)
        finally:
            del iterator, loader  # an exception would keep them alive, and with them the workers

    def _failed(self, number: int, error: Exception) -> UserError:
        """Return the error that says which batch could not be read, and why."""
        words, place = exception_in_words(error), place_in_own_code(error)
        if _IN_WORKER in words:  # the traceback of the worker's own process, as text
            lines = words.strip().splitlines()
            frames = re.findall(r'File "([^"]+)", line (\d+), in ', words)
            words, place = lines[-1], ":".join(frames[-1]) if frames else ""
            # Its frames keep the workers alive.
            traceback.clear_frames(error.__traceback__)
        return UserError(
            f"Batch {number:,} of the {self.kind} stream cannot be read: {words}",
            where=place or self._split,
        )

    def _pair(self, batch: Any, number: int) -> tuple[Tensor, Tensor]:
        """Return a batch as two tensors.

        Raises:
            UserError: if it is something else.
        """
        wrong = ""
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            many = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            wrong = f"a {type(batch).__name__}{many}, not a pair (inputs, targets)"
        elif others := [one for one in batch if not isinstance(one, Tensor)]:
            wrong = f"a pair with a {type(others[0]).__name__}, not of two tensors"
        elif not all(one.dim() for one in batch):
            wrong = "a single example, not a batch of them"
        elif len(batch[0]) != len(batch[1]):
            wrong = f"{len(batch[0]):,} inputs and {len(batch[1]):,} targets"
        elif not len(batch[0]):
            wrong = "an empty pair"
        if wrong:
            raise UserError(
                f"Batch {number:,} of the {self.kind} stream is {wrong}.",
                where=self._split,
                hint=_HINT,
            )
        inputs, targets = batch
        return (inputs, targets) if self.keeps_float64 else (_narrowed(inputs), _narrowed(targets))


def is_loader_factory(examples: Any) -> bool:
    """Whether what a problem was given makes a loader, rather than being the examples."""
    is_class = isinstance(examples, type)
    return callable(examples) and (is_class or not hasattr(examples, "__getitem__"))


def takes_batch_size(make: LoaderFactory) -> bool:
    """Whether a factory has a parameter `batch_size` that nothing has set."""
    if isinstance(make, partial) and "batch_size" in make.keywords:
        return False
    try:
        return "batch_size" in inspect.signature(make).parameters
    except ValueError:  # of a class written in C
        return False


def _length(value: Any) -> int | None:
    """Return the length of what may have none."""
    try:
        return len(value)
    except (TypeError, NotImplementedError):
        return None


def _seed(loader: Iterable[Any], seed: int, epoch: int) -> None:
    """Have all that a loader draws from depend on a seed and an epoch."""
    samplers = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    if (within := getattr(samplers[1], "sampler", None)) is not samplers[0]:
        samplers.append(within)
    for part in (loader, *samplers):
        if isinstance(generator := getattr(part, "generator", None), torch.Generator):
            generator.manual_seed(seed)
    for part in samplers:
        if callable(set_epoch := getattr(part, "set_epoch", None)):
            set_epoch(epoch)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape[1:])}"


def _narrowed(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float64 else tensor
