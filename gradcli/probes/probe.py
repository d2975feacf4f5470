"""What a probe is: a name, what it costs, how it runs, and how its result is shown.

A probe is one file next to this one that ends with a `Probe`. The file is imported to draw and to
read stored runs, so it imports torch, SciPy and matplotlib only inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from gradcli.notation import numbers
from gradcli.records import ProbeRecord

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from gradcli.gradients.layer_probe import LayerProbe
    from gradcli.objectives import LossFunction

Result = TypeVar("Result")

#: Called with the probe that runs next, its number from 1, and how many there are.
Announce = Callable[[str, int, int], object]


def silently(probe: str, number: int, total: int) -> None:
    """Announce nothing."""


class MakeStep(Protocol):
    """Makes the next training step, which changes the model, and returns its batch."""

    def __call__(self, probe: LayerProbe | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs (b, ...) and targets (b, ...)."""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """What is probed: a model that nobody else needs, since some probes train it on.

    Args:
        model: in training mode, on its device.
        optimizer: of the model, in the state in which it would make its next step; in that before
            its first step if only the weights are known.
        loss: what it is trained to minimise.
        batches: the probe set, as pairs of inputs and targets. A probe of a single batch takes
            the first one.
        step: makes the next training step; raises `UserError` if that is not known.
        steps_made: the updates made so far; 0 for a fresh model.
        evaluated: a context in which the model has the weights that the optimizer wants evaluated,
            if those are not the ones that it trains. Probes run in it, unless they make steps.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: LossFunction
    batches: Sequence[tuple[Tensor, Tensor]]
    step: MakeStep
    steps_made: int
    evaluated: Callable[[], AbstractContextManager[None]] = nullcontext

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first examples of the probe set, as one batch."""
        import torch

        inputs, targets = (torch.cat(tensors) for tensors in zip(*self.batches, strict=True))
        return inputs[:count], targets[:count]


class ProbeSummary(NamedTuple):
    """A result in a few numbers, NaN for those that a probe does not have.

    A run writes them down at each step at which it probes its model; see `ProbeRecord`.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    limit: float = math.nan


def _nothing(record: ProbeRecord, batch_size: int) -> str:
    return ""


def _limit(record: ProbeRecord, batch_size: int) -> float:
    return record.limit


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the few numbers of a `ProbeRecord` are read in tables and pictures over a run.

    Args:
        meaning: what the value is, as a table's or a picture's heading.
        write: turns the value into text.
        against: what the value is compared with, as text; given the record and the batch size.
        limit: what it is compared with, as a number; NaN if there is no limit.
        limit_name: the name of that number in a picture's legend.
        logarithmic: whether the values may be of any magnitude.
    """

    meaning: str
    write: Callable[[float], str] = numbers.known_norm
    against: Callable[[ProbeRecord, int], str] = _nothing
    limit: Callable[[ProbeRecord, int], float] = _limit
    limit_name: str = "limit"
    logarithmic: bool = False


@dataclass(frozen=True, kw_only=True)
class Probe(Generic[Result]):
    """A costly look at a model, taken on request and never at every step.

    Args:
        name: what `--probe` and `monitor.probes` call it.
        cost: in forward-backward passes of one batch, as text.
        run: looks at the target and returns a result of plain numbers, NumPy arrays, and
            dataclasses, tuples or lists of them. It raises `UserError` for a model to which it
            does not apply; any other exception is a failure of the probe. It leaves the model as
            it was unless `takes_steps`.
        summary: the result in a few numbers.
        sentences: the result as text, one paragraph each; given the training batch size too.
        reading: how the summary is read.
        draw: draws the result into an empty figure, whose height and title (`suptitle`) it may
            set; the model's name is added to the title. None for no picture.
        takes_steps: whether it makes training steps. Such probes run last.
        unasked: whether an inspection runs it on this target without being asked; None for
            never.
        own_option: the option that asks for it, if that is not `--probe`; `all` leaves it out.
        told_by_layer: whether the table of layers shows the result, so that `--json` does not
            repeat it.
        conclusions: what follows from the result, for `--json` to print next to it.
    """

    name: str
    cost: str
    run: Callable[[ProbeTarget], Result]
    summary: Callable[[Result], ProbeSummary]
    sentences: Callable[[Result, int], list[str]]
    reading: Reading
    draw: Callable[[Figure, Result], None] | None = None
    takes_steps: bool = False
    unasked: Callable[[ProbeTarget], bool] | None = None
    own_option: str = ""
    told_by_layer: bool = False
    conclusions: Callable[[Result], Mapping[str, Any]] | None = None


def spread(value: float, parts: Sequence[float]) -> ProbeSummary:
    """Return a value with the smallest and the largest of the parts that it stands for."""
    return ProbeSummary(value, min(parts, default=math.nan), max(parts, default=math.nan))


#: Begins the reason why a probe has no result if its own code failed, as opposed to a model that
#: it cannot look at.
FAILED = "failed: "


def no_result(reason: str) -> str:
    """Say why a probe has no result: it failed, or it does not apply to the model."""
    return reason if reason.startswith(FAILED) else f"not applicable: {reason}"


def plain(result: Any) -> Any:
    """Turn dataclasses into mappings and arrays into lists, however deep."""
    if is_dataclass(result):
        return {field.name: plain(getattr(result, field.name)) for field in fields(result)}
    if isinstance(result, tuple | list):
        return [plain(item) for item in result]
    return result.tolist() if isinstance(result, np.ndarray | np.generic) else result


def with_sign(value: float) -> str:
    """Write a value of the order of 1 with its sign; one that is not known as absent."""
    return numbers.ABSENT if math.isnan(value) else f"{value:+.2f}"
