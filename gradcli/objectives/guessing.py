"""What guessing costs: the loss of the best constant output, from the targets alone.

The targets decide it in closed form for the losses of PyTorch that are named here. A function of
the user's own is never called for it: it may count its calls, or draw random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.records import UNKNOWN_LEVELS, LossLevels

#: The target that `torch.nn.functional.cross_entropy` leaves out.
NO_TARGET: Final = -100
# Of more targets than this, a part tells the same: each may be an image.
_MOST_TARGETS: Final = 2**22
_FEWEST_EXAMPLES: Final = 10_000


class Levels(NamedTuple):
    """The fields of `LossLevels` that targets (n, ...) decide by themselves."""

    guessing: float = math.nan
    lowest: float = math.nan
    chance: float = math.nan
    of_zero: float = math.nan
    of_few: float = math.nan
    usual_targets: tuple[float, float] = (math.nan, math.nan)


LevelsOf = Callable[[Tensor], Levels]


def loss_levels(
    levels_of: LevelsOf | None, train: Tensor, val: Tensor | None, *, streamed: bool = False
) -> LossLevels:
    """Return the levels of a loss on training and validation targets, (n, ...) each.

    Args:
        levels_of: that of the loss; None if it is not known.
        train: the targets of the training examples.
        val: those of the validation examples; None if they are not known, and there may be none.
        streamed: whether `train` are targets of other examples, because these are a stream.
    """
    if levels_of is None:
        return UNKNOWN_LEVELS
    return LossLevels(
        **levels_of(_part(train))._asdict(),
        guessing_val=math.nan if val is None or not len(val) else levels_of(_part(val)).guessing,
        streamed=streamed,
    )


def _part(targets: Tensor) -> Tensor:
    """Return enough of the targets: evenly spaced examples."""
    step = min(targets.numel() // _MOST_TARGETS, len(targets) // _FEWEST_EXAMPLES)
    return targets[:: max(1, step)]


def of_classes(targets: Tensor) -> Levels:
    """Return the levels of a mean cross-entropy.

    Guessing gives the frequencies of the classes, whose entropy is the loss.

    Args:
        targets: classes, int64 (n, ...), of which -100 is none; or probabilities (n, classes, ...).
    """
    if not targets.is_floating_point():
        counts = targets[targets >= 0].bincount().double()
        return Levels(float(_entropies(counts / counts.sum())), 0.0, 0.5)
    if targets.dim() < 2:
        return Levels()  # which no cross-entropy takes
    rows = targets.double().movedim(1, -1).flatten(0, -2)
    return Levels(float(_entropies(rows.mean(0))), float(_entropies(rows).mean()), 0.5)


def of_two_classes(targets: Tensor) -> Levels:
    """Return the levels of a mean binary cross-entropy with targets of 0 to 1, (n, ...).

    Guessing gives the mean of each output's targets.
    """
    ones = targets.double()
    both = torch.stack((ones, 1 - ones), dim=-1)
    return Levels(float(_entropies(both.mean(0)).mean()), float(_entropies(both).mean()), 0.5)


def of_squares(targets: Tensor) -> Levels:
    """Return the levels of a mean squared error of targets (n, ...).

    Guessing gives the mean of each output's targets; its loss is their variance.
    """
    values = targets.double()
    return _levels_of_numbers(values, (values - values.mean(dim=0)).square(), values.square())


def of_distances(targets: Tensor) -> Levels:
    """Return the levels of a mean absolute error of targets (n, ...).

    Guessing gives the median of each output's targets.
    """
    values = targets.double()
    return _levels_of_numbers(values, (values - values.median(dim=0).values).abs(), values.abs())


def _levels_of_numbers(targets: Tensor, of_guessing: Tensor, of_zero: Tensor) -> Levels:
    """Return the levels of a mean of losses, given those of guessing and of outputs of 0."""
    guessing = float(of_guessing.mean())
    ordered = targets.flatten().sort().values
    tail = len(ordered) // 20
    of_examples = of_guessing.flatten(1).mean(1) if of_guessing.dim() > 1 else of_guessing
    few = of_examples.topk(math.ceil(len(of_examples) / 100)).values
    return Levels(
        guessing=guessing,
        lowest=0.0,
        chance=guessing,
        of_zero=float(of_zero.mean()),
        of_few=float(few.sum()) / (guessing * len(of_examples)) if guessing > 0 else math.nan,
        usual_targets=(float(ordered[tail]), float(ordered[len(ordered) - 1 - tail])),
    )


def _entropies(shares: Tensor) -> Tensor:
    """Return -sum(p log(p / sum(p))) over the last axis: the entropy of what adds up to 1."""
    total = shares.sum(-1, keepdim=True)
    return torch.sum(torch.special.xlogy(shares, total) - torch.special.xlogy(shares, shares), -1)


_FUNCTIONS: Final[tuple[tuple[Any, LevelsOf], ...]] = (
    (F.cross_entropy, of_classes),
    (F.nll_loss, of_classes),
    (F.binary_cross_entropy, of_two_classes),
    (F.binary_cross_entropy_with_logits, of_two_classes),
    (F.mse_loss, of_squares),
    (F.l1_loss, of_distances),
)
_MODULES: Final[tuple[tuple[type[nn.Module], LevelsOf], ...]] = (
    (nn.CrossEntropyLoss, of_classes),
    (nn.NLLLoss, of_classes),
    (nn.BCELoss, of_two_classes),
    (nn.BCEWithLogitsLoss, of_two_classes),
    (nn.MSELoss, of_squares),
    (nn.L1Loss, of_distances),
)
#: What makes such a module another loss than its function, and the values that do not.
_AS_USUAL: Final = {
    "reduction": "mean",
    "weight": None,
    "pos_weight": None,
    "label_smoothing": 0.0,
    "ignore_index": NO_TARGET,
}


def levels_of_function(loss: Any) -> LevelsOf | None:
    """Return what gives the levels of a loss of PyTorch, a function or a module; else None."""
    if isinstance(loss, nn.Module):
        if any(getattr(loss, name, usual) != usual for name, usual in _AS_USUAL.items()):
            return None
        return next((found for kind, found in _MODULES if type(loss) is kind), None)
    return next((found for function, found in _FUNCTIONS if function is loss), None)
