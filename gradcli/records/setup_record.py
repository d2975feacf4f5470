"""How a training is set up, as observed in its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """A parameter group of the optimizer: how it moves which parameters.

    What an optimizer does not have is NaN.
    """

    parameters: tuple[int, ...]
    """Their indices among the run's parameters, in the order of the layers' parameters."""
    learning_rate: float
    weight_decay: float = math.nan
    momentum: float = math.nan
    """`momentum`, or the first of `betas`."""
    second_momentum: float = math.nan
    """The second of `betas`, or `alpha`."""
    epsilon: float = math.nan
    decoupled: bool = False
    """Whether the decay shrinks the weights directly, as in AdamW."""


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The values of one tensor: the first input of the model, or its output."""

    shape: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float
    whole: bool = False
    """Whether the type is an integer, as for word indices."""


@dataclass(frozen=True, slots=True)
class SetupRecord:
    """What a training is set up to do, as observed in one of its steps.

    It is observed at the first steps and now and then later; the last one counts, and the
    counters include the earlier ones. What could not be observed is None or empty.
    """

    step: int
    """The updates made before."""
    groups: tuple[ParameterGroup, ...]
    """Of the watched optimizer; a parameter in no group is never updated by it."""
    requires_grad: tuple[bool, ...]
    """Of each parameter."""
    call_order: tuple[int, ...] = ()
    """The indices of the layers in the order in which the forward pass first called them; layers
    that were not called are left out."""
    calls: tuple[int, ...] = ()
    """How many times one forward pass called each layer, (L,)."""
    single_path: bool | None = None
    """Whether every way from the loss to the first layer passes through each of the called layers,
    once: only then do they have an order that is theirs alone. False with residual or parallel
    branches, and if a layer is called several times; None if unknown."""
    eval_mode: tuple[str, ...] = ()
    """Modules that behave differently while training (dropout, batch norm) but were in eval mode
    in a forward pass that gradients flow through."""
    unmade_statistics: tuple[str, ...] = ()
    """Those of `eval_mode` whose running mean is 0 and running variance 1, as before training."""
    inputs: TensorRange | None = None
    """The first tensor that the model takes; that the first layer takes, if the loop calls the
    layers itself, as `model.forward(x)` does."""
    outputs: TensorRange | None = None
    """The first tensor with an axis that the model returns, or that the last layer does."""
    output_sums: tuple[float, float] = (math.nan, math.nan)
    """The smallest and the largest sum of the output over its last axis: both 1 after a softmax."""
    output_grad_norm: float = math.nan
    """||dL/doutput|| times the root of the batch size: for the mean cross-entropy of guessing
    among many classes about 1, whatever the model and the batch."""
    usual_target: tuple[int, float] = (-1, math.nan)
    """The class that the gradient w.r.t. the output, (n, classes), raises most in the most rows,
    and its share of these rows: of a cross-entropy, the commonest label of the batch. -1 if the
    output has another shape, and if no class is raised."""
    targets_seen: int = 0
    """The rows in which a class is raised. In others the gradient has been rounded to 0."""
    loss_path: tuple[str, ...] = ()
    """The operations from the loss backwards while there is only one way, without views:
    `("NllLoss", "LogSoftmax", "Softmax", "Addmm")` for cross-entropy after a softmax."""
    output_at: int = -1
    """How many operations of `loss_path` come before the model's output; -1 if it is not on it."""
    without_gradient: tuple[int, ...] = ()
    """The parameters whose gradient is None, not zero: nothing of the loss depends on them."""
    weight_gains: tuple[float, ...] = ()
    """Of each layer, the weights' root mean square times sqrt(fan_in), (L,): 1 keeps the size of a
    linear signal. NaN for layers that do not multiply a signal by a matrix, such as lookup
    tables."""
    identical_units: tuple[int, ...] = ()
    """The layers whose units all have the same weights: they compute and learn the same."""
    dropout: tuple[str, float] = ("", 0.0)
    """The module in training mode that drops the largest share, and this share."""
    own_functions: tuple[tuple[str, int], ...] = ()
    """The `torch.autograd.Function`s of the user's in the loss's graph, each with the index of a
    layer whose result it works on; -1 if there is none."""
    cut_off: tuple[tuple[int, int, int], ...] = ()
    """The layers that a forward pass calls several times, if the loss depends on some of these
    calls only: the layer, how many calls it depends on, and how many there are that could get a
    gradient."""
    kept_elsewhere: tuple[int, ...] = ()
    """The layers that the watched optimizer does not hold, and that still had the gradients of
    before its last update when a backward pass added to them."""
    replaced: tuple[int, ...] = ()
    """The layers of which the model now has other parameters than at the start of the training,
    and the watched optimizer does not hold these."""
    broadcast_to: tuple[int, ...] = ()
    """The shape that the loss brings the output to, if it compares each row with every target:
    (n, n) for an output of n rows."""
    updates_watched: int = 0
    """The updates before which it was seen whether the gradients had been cleared."""
    not_cleared: int = 0
    """How many of these began their backward pass with the gradients of the update before."""
