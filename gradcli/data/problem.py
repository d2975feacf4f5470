"""A problem of the user's own: data, a model and a loss in one object."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from gradcli.data.dataset import Dataset, Split
from gradcli.data.examples import dataset_of
from gradcli.data.streams.stream import KINDS, SplitName, Stream, is_loader_factory
from gradcli.errors import UserError, exception_in_words, nearest, place_in_own_code
from gradcli.objectives import LossFunction, MetricChoice, chosen_objective

#: What a split may be: (inputs, targets), each a tensor or an array (n, ...); a map-style
#: `torch.utils.data.Dataset` of such pairs; or a `LoaderFactory`.
Examples = Any

_AS_ONE_BATCH: Final = 4096


class Problem:
    """What is to be learnt, for `train`, `compare` and `inspect`.

        problem = gradcli.Problem(model=make_model, train=(x, y), test=(x2, y2), loss="mse")

    Examples are used as they are: nothing is normalised. float64 becomes float32, apart from
    tensors for a model whose weights are float64. Integer targets become int64, the type that
    losses of classes take.

    Args:
        model: a class or function that makes the model. It is called under the run's seed, which
            then decides the weights.
        train: the training examples: a pair (inputs, targets) of tensors or arrays (n, ...), or a
            map-style data set of pairs, which is read into memory once. Or what makes a loader of
            batches, such as a function that returns a `DataLoader`: a stream, which is read anew
            in each epoch. It is called without arguments, or with `batch_size` if it takes that.
        val: the validation examples, on which choices are made; None takes a sixth of `train`.
        test: the test examples, read once at the end; None takes a sixth of `train`.
        steps_per_epoch: how many batches of the training stream an epoch has, if its loader has no
            length or is to be cut short; or how many each stream has, by `train`, `val`, `test`.
        loss: the name of a loss (cross_entropy, nll, bce_with_logits, mse, l1, next_token), or a
            function of (outputs, targets) that returns the mean over the batch, ().
        metric: what models are scored by: the name of a metric (accuracy, top5, mae, mse, rmse,
            r2); or a name, a function of (outputs, targets), and `maximize` or `minimize`. The
            function returns a score for each example, (b,), or one for the batch, (). None is what
            goes with a named loss, and the loss itself for a function.
        metrics: what models are scored by as well, each like `metric`: it is recorded and shown,
            and decides nothing.
        target: the validation score that a comparison times; None leaves it to the tuning.
        name: what screens call the data; None is the name of the file.

    Raises:
        UserError: if the loss or the metric is none.
    """

    def __init__(
        self,
        *,
        model: Callable[[], nn.Module],
        train: Examples,
        val: Examples = None,
        test: Examples = None,
        steps_per_epoch: int | Mapping[str, int] | None = None,
        loss: str | LossFunction = "cross_entropy",
        metric: MetricChoice | None = None,
        metrics: Sequence[MetricChoice] = (),
        target: float | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(model) or isinstance(model, nn.Module):
            raise UserError(
                f"Problem(model=...) takes what makes the model, not a {type(model).__name__}: "
                "each run begins with weights of its own.",
                where="model",
                hint="model=lambda: Net(...), or model=Net",
            )
        self.model = model
        self.objective = chosen_objective(loss, metric, metrics)
        self.target, self.name = target, name
        self._splits: Mapping[SplitName, Examples] = {"train": train, "val": val, "test": test}
        self._batches = _batches_of(steps_per_epoch, self._splits)
        # Where to look for the name under which another process finds this object.
        caller = inspect.currentframe()
        caller = caller and caller.f_back
        self._globals: Mapping[str, Any] = caller.f_globals if caller else {}
        file = self._globals.get("__file__")
        self._file = None if file is None else str(Path(file).absolute())

    @property
    def place(self) -> tuple[str, str] | None:
        """The file and the name under which a process that runs the file finds the problem.

        None if it has none, as one made in a function, in a notebook or on a command line.
        """
        names = [name for name, value in self._globals.items() if value is self]
        return (self._file, names[0]) if self._file and names else None

    @property
    def code_sha256(self) -> str:
        """A hash of the code of the model, the loss and the metrics, as far as Python knows it."""
        scores = (measure.score for measure in self.objective.measures)
        parts = (self.model, self.objective.loss, *scores)
        return hashlib.sha256("\n".join(_source(part) for part in parts).encode()).hexdigest()

    def _split(self, name: SplitName, examples: Examples) -> Split | Stream:
        """Return the examples of a split as tensors, or as a stream."""
        if is_loader_factory(examples):
            return Stream(examples, name, self._batches.get(name))
        return _split(examples, KINDS[name])

    def dataset(self, name: str) -> Dataset:
        """Return the examples as tensors, with the objective and the model.

        Args:
            name: what to call them if the problem has no name of its own.

        Raises:
            UserError: if the examples cannot be used.
        """
        train, val, test = (
            None if examples is None else self._split(name, examples)
            for name, examples in self._splits.items()
        )
        if train is None:
            raise UserError("The problem has no training examples.", where="train")
        given = [split for split in (train, val, test) if split is not None]
        if any(_has_float64(split) for split in given) and not _is_of_float64(self.model):
            train = _as_float32(train)
            val = None if val is None else _as_float32(val)
            test = None if test is None else _as_float32(test)
        return dataset_of(
            train,
            val,
            test,
            name=self.name or name,
            objective=self.objective,
            target_score=math.nan if self.target is None else self.target,
            make_model=self.model,
        )


def _batches_of(
    steps_per_epoch: int | Mapping[str, int] | None, splits: Mapping[SplitName, Examples]
) -> Mapping[str, int]:
    """Return how many batches are taken of which stream.

    Raises:
        UserError: if it is no number above 0, or of a split that is no stream.
    """
    given = {"train": steps_per_epoch} if isinstance(steps_per_epoch, int) else steps_per_epoch
    streams = [name for name, examples in splits.items() if is_loader_factory(examples)]
    for name, number in (given or {}).items():
        if name not in splits:
            raise UserError(
                f"steps_per_epoch has a number for '{name}', which is no split.",
                where="steps_per_epoch",
                choices=nearest(name, splits) or tuple(splits),
            )
        examples = splits.get(name)  # type: ignore[call-overload]
        if isinstance(examples, Iterator):
            raise UserError(
                f"{name} is a {type(examples).__name__}, which yields its batches once only.",
                where=name,
                hint=f"{name}=FUNCTION, the function that makes it, without calling it",
            )
        if name not in streams or not isinstance(number, int) or number < 1:
            raise UserError(
                f"steps_per_epoch is {number!r} for {name}; it is a number above 0, for a stream.",
                where="steps_per_epoch",
                choices=streams,
                hint=None if streams else "train=..., what makes a loader",
            )
    return given or {}


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):  # typed in, built in, or an object that can be called
        return repr(type(code)) + getattr(code, "__qualname__", "")


def _split(examples: Examples, kind: str) -> Split:
    """Return examples of any form as tensors.

    Raises:
        UserError: if they have none that is known.
    """
    if isinstance(examples, TensorDataset):
        examples = examples.tensors
    if isinstance(examples, tuple | list) and len(examples) == 2:
        inputs, targets = (_tensor(part, kind) for part in examples)
        return Split(inputs, _as_int64(targets))
    if hasattr(examples, "__getitem__") and hasattr(examples, "__len__"):
        return _read(examples, kind)
    if isinstance(examples, Iterator):
        raise UserError(
            f"The {kind} examples are a {type(examples).__name__}, which yields them once only.",
            where=kind,
            hint="the function that makes it, without calling it",
        )
    raise UserError(
        f"The {kind} examples are a {type(examples).__name__}.",
        where=kind,
        hint="(inputs, targets), each a tensor or an array; a map-style data set of such pairs; or "
        "what makes a loader: lambda: DataLoader(...)",
    )


def _tensor(values: Any, kind: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    if isinstance(values, Mapping) or (
        isinstance(values, tuple | list) and any(isinstance(one, Tensor) for one in values)
    ):
        raise UserError(
            f"The {kind} inputs and targets are a tensor each; one of them is a "
            f"{type(values).__name__} of several.",
            where=kind,
            hint="one tensor, which the model or the loss takes apart",
        )
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind in "USMm":
        raise UserError(
            f"The {kind} examples hold values of type {array.dtype}, which are no numbers.",
            where=kind,
            hint="a tensor or an array of numbers",
        )
    copied = torch.from_numpy(np.array(array))
    return copied.float() if copied.dtype == torch.float64 else copied


def _read(dataset: Any, kind: str) -> Split:
    """Read a map-style data set into memory.

    Raises:
        UserError: if an example cannot be read, is no pair, or is another one at each reading.
    """
    parts = []
    for start in range(0, len(dataset), _AS_ONE_BATCH):
        numbers = range(start, min(start + _AS_ONE_BATCH, len(dataset)))
        parts.append(_collated([_example(dataset, number, kind) for number in numbers], kind))
    if not parts:
        raise UserError(f"The {kind} data set is empty.", where=kind)
    again = _collated([_example(dataset, 0, kind)], kind)
    if any(not _same(one[:1], other) for one, other in zip(parts[0], again, strict=True)):
        raise UserError(
            f"Example 0 of the {kind} data set is another one at each reading: it is augmented at "
            "random, and would be frozen by reading it once.",
            where=kind,
            hint="a data set without random transforms",
        )
    inputs, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Split(inputs, _as_int64(targets))


def _as_int64(targets: Tensor) -> Tensor:
    """Return integers as losses of classes take them, and any other targets as they are."""
    is_other = targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool
    return targets if is_other else targets.long()


def _has_float64(split: Split | Stream) -> bool:
    known = split.at_hand if isinstance(split, Stream) else split
    return torch.float64 in (known.inputs.dtype, known.targets.dtype)


def _as_float32(split: Split | Stream) -> Split | Stream:
    """Return a split whose float64 has become float32."""
    if isinstance(split, Stream):
        return split.as_float32()
    inputs, targets = (
        one.float() if one.dtype == torch.float64 else one for one in (split.inputs, split.targets)
    )
    return Split(inputs, targets)


def _is_of_float64(make_model: Callable[[], nn.Module]) -> bool:
    """Whether the model computes in float64, which takes making one: the caller's streams stay.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            model = make_model()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The model cannot be built: {exception_in_words(error)}",
            where=place_in_own_code(error) or "model",
        ) from error
    # What is no module is refused when the run's own model is built.
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return any(one.dtype == torch.float64 for one in weights)


def _example(dataset: Any, number: int, kind: str) -> Any:
    try:
        example = dataset[number]
    except Exception as error:
        raise UserError(
            f"Example {number:,} of the {kind} data set cannot be read: "
            f"{exception_in_words(error)}",
            where=place_in_own_code(error) or kind,
        ) from error
    if not isinstance(example, tuple | list) or len(example) != 2:
        raise UserError(
            f"Example {number:,} of the {kind} data set is a {type(example).__name__}, not a pair "
            "(input, target).",
            where=kind,
        )
    return example


def _collated(examples: list[Any], kind: str) -> tuple[Tensor, Tensor]:
    try:
        inputs, targets = default_collate(examples)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"The examples of the {kind} data set do not make a batch: {exception_in_words(error)}",
            where=kind,
            hint="examples of one shape, as tensors, arrays or numbers",
        ) from error
    for part in (inputs, targets):
        if not isinstance(part, Tensor):
            raise UserError(
                f"The examples of the {kind} data set collate to a {type(part).__name__}, not to "
                "a tensor.",
                where=kind,
            )
    return inputs, targets


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are alike; NaN is like NaN."""
    return torch.equal(one, other) or bool(
        ((one == other) | ((one != one) & (other != other))).all()
    )
