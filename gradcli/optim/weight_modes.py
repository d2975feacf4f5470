"""Optimizers with two sets of weights: those that are trained, and those to evaluate.

Schedule-Free optimizers (Defazio et al. 2024, arXiv 2405.15682) take gradients at one point and
return another, an average of all iterates; so does Polyak's averaging. By the convention of the
package `schedulefree`, `optimizer.eval()` puts the weights to evaluate into the model, and
`optimizer.train()` those to train. Whoever forgets one of them measures or trains the wrong weights
without an error, so all calls are made here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradcli.optim.composite import CompositeOptimizer


def has_two_sets(optimizer: Optimizer | type[Optimizer]) -> bool:
    """Whether an optimizer, one of its members, or those of a class have `train` and `eval`."""
    if isinstance(optimizer, CompositeOptimizer):
        return any(map(has_two_sets, optimizer.members))
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


def set_to_training(optimizer: Optimizer) -> None:
    """Let the model hold the weights to train: some optimizers begin with those to evaluate."""
    for one in _with_two_sets(optimizer):
        one.train()


@contextmanager
def evaluation_weights(optimizer: Optimizer) -> Iterator[None]:
    """Let the model hold the weights to evaluate, and at the end those to train, to the bit.

    `train()` may compute the trained weights from the evaluated ones, which rounds. They are
    restored from a copy, so that an evaluation leaves no trace.

    Args:
        optimizer: with the weights to train; for one without modes nothing happens.
    """
    concerned = _with_two_sets(optimizer)
    parameters = [p for one in concerned for group in one.param_groups for p in group["params"]]
    trained = [parameter.detach().clone() for parameter in parameters]
    for one in concerned:
        one.eval()
    try:
        yield
    finally:
        for one in concerned:
            one.train()
        with torch.no_grad():
            for parameter, values in zip(parameters, trained, strict=True):
                parameter.copy_(values)


def evaluated_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor] | None:
    """Return a copy of the model's state with the weights to evaluate; None if it has no others."""
    if not has_two_sets(optimizer):
        return None
    with evaluation_weights(optimizer):
        return copy.deepcopy(model.state_dict())


def _with_two_sets(optimizer: Optimizer) -> list[Any]:
    members = optimizer.members if isinstance(optimizer, CompositeOptimizer) else (optimizer,)
    return [one for one in members if has_two_sets(one)]
