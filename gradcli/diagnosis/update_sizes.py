"""How large updates are: the one that broke a layer, and what they would settle at."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    FIRST_UPDATES,
    LOSS_THROWN_UP,
    SETTLED_TOO_LARGE,
    SETTLED_TOO_LARGE_SGD,
    SMALL_WEIGHTS,
    TINY_BATCH,
    UPDATE_JUMP,
    UPDATES_TOGETHER,
)
from gradcli.diagnosis.loss_course import highest_loss, loss_at_first
from gradcli.records import Doubles

# Of more, a short training sees next to nothing.
_LARGEST_MOMENTUM = 0.999
_RECURRENT = ("RNN", "LSTM", "GRU")


def first_jump(evidence: Evidence) -> tuple[int, int, float] | None:
    """Return the first measured update that changed a layer by a large share of its norm.

    Returns:
        Its step, the layer's place and the update ratio; None if there was none.
    """
    return next(_jumps(evidence), None)


def harmful_jump(evidence: Evidence) -> tuple[int, int, float] | None:
    """Return what `first_jump` does, but without RMSprop's first updates if they did no harm.

    They are ten times as large as the rate says, in sound trainings too.
    """
    is_tiny = 0 < evidence.batch_size <= TINY_BATCH.value  # then the loss jumps anyway
    thrown_up = highest_loss(evidence) > LOSS_THROWN_UP.value * loss_at_first(evidence)
    if not evidence.is_adaptive or (thrown_up and not is_tiny):
        return first_jump(evidence)
    return next((jump for jump in _jumps(evidence) if jump[0] > FIRST_UPDATES.value), None)


def _jumps(evidence: Evidence) -> Iterator[tuple[int, int, float]]:
    ratios = np.nan_to_num(evidence.update_ratios, posinf=np.inf)
    for step, row in zip(evidence.record_steps.tolist(), ratios, strict=False):
        if len(row) and row.max() > UPDATE_JUMP.value:
            place = int(row.argmax())
            yield step, place, float(row[place])


def settled_update(evidence: Evidence) -> float:
    """Return how large updates would become, relative to the weights; 0 if that is not known.

    The first update of a run is that of the initial weights, so it is in proportion to the learning
    rate, whatever came after it. With momentum m, later ones add up to 1/(1-m) of it; those of
    RMSprop fall to sqrt(1-alpha) of it, since its mean of squares begins at zero.
    """
    return float(_settled_updates(evidence).max(initial=0.0))


def updates_too_large(evidence: Evidence) -> bool:
    """Whether already the first update shows that the learning rate is far too high."""
    limit = SETTLED_TOO_LARGE if evidence.is_adaptive else SETTLED_TOO_LARGE_SGD
    return settled_update(evidence) > limit.value


def updates_too_large_together(evidence: Evidence) -> bool:
    """Whether the updates of all layers together replace what the network computes."""
    return settled_together(evidence) > UPDATES_TOGETHER.value


def settled_together(evidence: Evidence) -> float:
    """Return the sum of what `settled_update` describes over all layers; 0 if unknown."""
    return float(_settled_updates(evidence).sum())


def _settled_updates(evidence: Evidence) -> Doubles:
    """Return what `settled_update` describes for each layer of usual weights; none if unknown."""
    ratios, setup = evidence.update_ratios, evidence.setup
    first_rate, rate = evidence.rate_of_first_update, evidence.info.learning_rate
    if not len(ratios) or not first_rate > 0 or setup is None:
        return np.empty(0)
    group = setup.groups[0] if setup.groups else None
    momentum = group.momentum if group is not None and group.momentum > 0 else 0.0
    second = group.second_momentum if group is not None else math.nan
    is_rmsprop = second > 0 and evidence.info.optimizer.lower() == "rmsprop"
    times = 1 / math.sqrt(1 - second) if is_rmsprop else 1.0  # its first updates are too large
    first_ratios = _first_ratios(evidence, times)
    # Relative to weights that begin near zero, such as the scale of a branch, any update is large.
    gains, measured = evidence.initial_gains, np.isfinite(first_ratios)
    # So it is relative to recurrent ones, which begin smaller the larger their state is.
    recurrent = np.array([layer.kind.startswith(_RECURRENT) for layer in evidence.layers])
    gains = np.where(recurrent, np.nan, gains)
    usual = gains >= SMALL_WEIGHTS.value if np.isfinite(gains).any() else measured
    first = first_ratios[usual & measured] * rate / first_rate
    adds_up = is_rmsprop or not second > 0
    return first / times / (1 - min(momentum, _LARGEST_MOMENTUM) if adds_up else 1.0)


def _first_ratios(evidence: Evidence, times: float) -> Doubles:
    """Return the size of the first update relative to the weights, (L,); NaN if unknown.

    One that float32 cannot hold is computed: the rate times the gradient, or, under an optimizer
    that divides by the gradient's size, `times` the rate for each weight.
    """
    ratios = np.asarray(evidence.update_ratios[0], dtype=np.float64)
    if not np.isinf(ratios).any() or not len(evidence.norms):
        return ratios
    sizes = [sum(one.size for one in layer.parameters) for layer in evidence.layers]
    moves = times * np.sqrt(sizes) if evidence.is_adaptive else np.float64(evidence.norms[0])
    weights = np.where(evidence.weights > 0, evidence.weights, np.nan)
    return np.where(np.isinf(ratios), evidence.rate_of_first_update * moves / weights, ratios)
