"""What training yields while it runs: steps, layers, probes and faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# As text: the list of runs, for which NumPy would take longer to load than the runs, needs none.
Floats: TypeAlias = "NDArray[np.floating]"
Doubles: TypeAlias = "NDArray[np.float64]"
Integers: TypeAlias = "NDArray[np.integer]"

#: The parts of a training step whose time is shown, in the order in which they run.
PHASES = ("data", "forward", "loss", "backward", "update", "monitor")

#: The bins of gradient histograms: bin k holds magnitudes from 10**DECADES[k] to below ten
#: times that. The first bin also holds all smaller ones, and the last all larger ones.
DECADES = range(-24, 8)


@dataclass(frozen=True, slots=True)
class StepRecords:
    """A block of consecutive training steps, one row per step.

    Norms are L2 norms of the gradients, before and after clipping. With n steps and P
    parameters (in the order of the layers' parameters), the shapes are (n,) and (n, P).
    """

    step: Integers
    """The number of updates made when this one is done, from 1."""
    epoch: Integers
    """The epoch that the step belongs to, from 1."""
    loss: Floats
    """The mean loss of the batch, before the update."""
    learning_rate: Floats
    grad_norm_before_clip: Floats
    """The norm over all parameters."""
    clip_coefficient: Floats
    """The norm over all parameters after clipping, divided by the one before; 1 is unclipped."""
    parameter_grad_norm_before_clip: Floats
    parameter_grad_norm_after_clip: Floats
    phase_seconds: dict[str, float] = field(default_factory=dict)
    """The time that the steps of this block took, by phase (`PHASES`)."""

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What is measured of each layer at the first steps and every `monitor.every` steps.

    There is one value per layer.

    A value that does not exist is NaN (a frozen layer has no update ratio).
    """

    step: int
    weight_norm: tuple[float, ...]
    """The norm of the layer's parameters before the update."""
    update_ratio: tuple[float, ...]
    """||new - old|| / ||old|| over the layer's parameters, without zero-initialised biases."""
    input_grad_norm: tuple[float, ...]
    """The norm of the gradient of the batch's mean loss w.r.t. the layer's input.

    Only of the backward passes whose gradients the update is made of."""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """The first non-finite value (inf or NaN): its place and its batch. Training stops there."""

    step: int
    """The step whose update was not made; if the phase is `update`, the one whose update did it; in
    an evaluation, the last one before it."""
    epoch: int
    phase: Literal["inputs", "parameters", "forward", "loss", "backward", "update"]
    """`inputs`: what the model or the loss was given. `parameters`: a parameter or a buffer, before
    any update. `update`: a parameter, although the gradients were finite."""
    layer: str | None
    """The layer whose output, gradient or parameter is the first non-finite one; None for the
    inputs, for the loss, and between two layers that the loop calls one by one."""
    loss: float
    batch: tuple[int, ...]
    """The examples' indices in the training split; empty if it was met in an evaluation."""
    operation: str = ""
    """What made the value, as PyTorch names it: `log`, or `SqrtBackward0` in the backward pass."""
    cause: str = ""
    """Why it did, in words: the logarithm of 0."""
    tensor: str = ""
    """The name of the input, parameter or buffer."""
    after: str = ""
    """The last place before it that was finite, where a module is not known or calls others."""
    before: str = ""
    """The next place, which was given the value."""
    unsure: str = ""
    """Why the place is not certain, as a clause; empty if it is."""
    forward_pass: int = 0
    """Which of the update's forward passes it was, from 1: the micro-batch of an accumulation.
    0 if it is not known."""
    forward_passes: int = 0
    """How many there were until it was found."""
    split: str = ""
    """The split whose evaluation after that step met it, `val` or `test`; empty in training."""


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe at one step: its result in a few numbers and as a whole, and its cost.

    Numbers that a probe does not have are NaN, as are all numbers of one without a result.
    """

    step: int
    """The updates made before."""
    probe: str
    """As `--probe` names it."""
    value: float = math.nan
    """The result in one number; the probe's `summary` says which."""
    low: float = math.nan
    """The lower end of the value's interval, or the smallest of what it stands for."""
    high: float = math.nan
    """The upper end, or the largest of what it stands for."""
    limit: float = math.nan
    """What the value must stay below, in the same unit."""
    seconds: float = math.nan
    passes: float = math.nan
    """The cost in forward-backward passes of one training batch."""
    refused: str = ""
    """Why there is no result: the probe does not apply to the model, or it failed; else empty."""
    result: Any = None
    """All that was found, as plain values: what `inspect-gradients --probe --json` prints."""


def was_clipped(after: Floats, before: Floats | float = 1.0) -> NDArray[np.bool_]:
    """Whether clipping made a gradient smaller, by more than the rounding of a float32 column.

    Args:
        after: norms after clipping; or clip coefficients, which are relative to a norm of 1.
        before: the same norms before clipping.
    """
    smaller: NDArray[np.bool_] = after < before * (1 - 1e-6)
    return smaller
