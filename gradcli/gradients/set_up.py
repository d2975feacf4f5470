"""What modules and optimizers tell of themselves: modes, dropout, weights, parameter groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradcli.gradients.norms import sum_of_squares
from gradcli.gradients.shards import is_sharded, local_part, shards_of
from gradcli.records import LayerInfo, ParameterGroup

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_MULTIPLYING = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)
# Of other libraries' modules that drop something at random, and of their probability.
_DROPPING_NAMES = ("Dropout", "DropPath", "StochasticDepth")
_PROBABILITIES = ("p", "drop_prob", "prob", "drop_rate")
# Optimizers that shrink weights directly, without saying so in their parameter groups.
_DECOUPLED = frozenset({"AdamW", "Adafactor", "Muon", "Lion", "SGDW", "AdamWScheduleFree", "SOAP"})
# Optimizers whose momentum is the weight of a mean: it does not make their updates larger.
_OF_A_MEAN = frozenset({"Muon", "SGDScheduleFree"})


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a module behaves differently in training and in eval mode.

    By itself: a module that contains such modules does not count. Batch norm and instance norm do
    if they keep running statistics, and dropout does if it ever drops something.
    """
    name = type(module).__name__
    is_batch_norm = "BatchNorm" in name and "Frozen" not in name
    if is_batch_norm or isinstance(module, _BATCH_NORMS + _INSTANCE_NORMS):
        return getattr(module, "running_mean", None) is not None
    if isinstance(module, _DROPOUTS) or any(part in name for part in _DROPPING_NAMES):
        return not any(getattr(module, name, None) == 0 for name in _PROBABILITIES)
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU)


def largest_dropout(model: nn.Module) -> tuple[str, float]:
    """Return the module in training mode that drops the largest share, and this share."""
    found = ("", 0.0)
    for name, module in model.named_modules():
        if not module.training or not depends_on_mode(module):
            continue
        for key in _PROBABILITIES:
            share = getattr(module, key, None)
            if isinstance(share, float) and share > found[1]:
                found = (name, share)
    return found


@torch.no_grad()
def weight_gain(module: nn.Module) -> float:
    """Return rms * sqrt(fan_in) of the weights of a layer, else NaN.

    Of a linear or convolutional layer, and of a recurrent one the weights from a hidden state to
    the next (their largest): those decide whether signals keep their size through time. PyTorch
    gives all three 1/sqrt(3).
    """
    if isinstance(module, _MULTIPLYING):
        weights = [getattr(module, "weight", None)]
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        weights = [one for name, one in module.named_parameters() if name.startswith("weight_hh")]
    else:
        return math.nan
    found = [one for one in weights if isinstance(one, Tensor) and one.ndim > 1]
    squares = [sum_of_squares(local_part(one).cpu()) for one in found]
    shards = shards_of(found)
    if shards is not None:
        squares = shards.totals(squares)
    norms = [math.sqrt(sum_ / one.shape[0]) for sum_, one in zip(squares, found, strict=True)]
    return max(norms, default=math.nan)


@torch.no_grad()
def has_identical_units(module: nn.Module) -> bool:
    """Whether all output units of a linear or convolutional layer have the same weights, not 0.

    Not looked for if the weights are sharded, so that a process has some of the units only.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(module, _MULTIPLYING):
        return False
    if not isinstance(weight, Tensor) or weight.ndim < 2 or weight.shape[0] < 2:
        return False
    if is_sharded(weight):
        return False
    if not torch.equal(weight[0], weight[1]):
        return False  # as nearly always; comparing all units costs as much as a small update
    return bool((weight == weight[:1]).all()) and bool(weight[0].any())


def parameter_groups(
    optimizer: Any, parameters: Sequence[nn.Parameter]
) -> tuple[ParameterGroup, ...]:
    """Describe the groups of an optimizer, as it would make its next update.

    Args:
        optimizer: with `param_groups`.
        parameters: of the model, in the run's order; others are left out.
    """
    place = {id(parameter): index for index, parameter in enumerate(parameters)}
    found = []
    # Several optimizers under one decay as each of them does.
    grouped = [
        (member, group)
        for member in getattr(optimizer, "members", (optimizer,))
        for group in getattr(member, "param_groups", ())
    ]
    for member, group in grouped:
        class_decouples = type(member).__name__ in _DECOUPLED or isinstance(
            member, torch.optim.AdamW
        )
        betas = group.get("betas")
        first, second = (
            betas[:2]
            if isinstance(betas, tuple | list) and len(betas) > 1
            else (
                group.get("momentum"),
                group.get("alpha"),
            )
        )
        found.append(
            ParameterGroup(
                parameters=tuple(place[id(p)] for p in group["params"] if id(p) in place),
                learning_rate=_number(group.get("lr")),
                weight_decay=_number(group.get("weight_decay")),
                momentum=_number(None if type(member).__name__ in _OF_A_MEAN else first),
                second_momentum=_number(second),
                epsilon=_number(group.get("eps")),
                decoupled=bool(
                    group.get(
                        "decoupled_weight_decay", group.get("weight_decouple", class_decouples)
                    )
                ),
            )
        )
    return tuple(found)


def replaced_layers(
    model: nn.Module,
    layers: Sequence[LayerInfo],
    parameters: Sequence[nn.Parameter],
    optimizer: Any,
) -> tuple[int, ...]:
    """Return the layers that have trained parameters now that nobody updates, in place of theirs.

    Args:
        model: as it is now.
        layers: as they were at the start.
        parameters: of these, one for each `ParameterInfo`.
        optimizer: with `param_groups`.
    """
    now = dict(model.named_parameters())
    held = {id(one) for group in getattr(optimizer, "param_groups", ()) for one in group["params"]}
    known = iter(parameters)
    found = []
    for index, layer in enumerate(layers):
        pairs = [(next(known), now.get(one.name)) for one in layer.parameters]
        # In place of a shard, `fully_shard` puts the whole parameter while it is gathered.
        if any(
            new is not None and new is not old and new.requires_grad and id(new) not in held
            for old, new in pairs
            if not is_sharded(old)
        ):
            found.append(index)
    return tuple(found)


def _number(value: Any) -> float:
    """Return a setting of an optimizer as a number; NaN if it is not one."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value.detach())
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


@torch.no_grad()
def has_unmade_statistics(module: nn.Module) -> bool:
    """Whether running statistics are as before training: a mean of 0, a variance of 1."""
    mean, variance = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    if not (isinstance(mean, Tensor) and isinstance(variance, Tensor)):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())
