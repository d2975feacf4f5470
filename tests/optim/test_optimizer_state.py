"""A loaded state is stored as the weights are, in whatever order the checkpoint holds it.

Earlier versions stored large weights by columns if a run had several threads, and the states of
their optimizers with them. A fused kernel on the CPU goes through the memory of a weight and its
state side by side: with different orders it would update the wrong elements, without an error.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradcli.fast.update import Update
from gradcli.optim import load_optimizer_state

OPTIMIZERS = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adagrad fused": lambda p: torch.optim.Adagrad(p, fused=True),
    "adam": torch.optim.Adam,
    "adam fused": lambda p: torch.optim.Adam(p, fused=True),
    "adam fused amsgrad": lambda p: torch.optim.Adam(p, fused=True, amsgrad=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, fused=True),
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd fused momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
}
SHAPES = ((24, 7), (24,), (7, 24))


def by_columns(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.t().contiguous().t() if tensor.ndim == 2 else tensor


def parameters(*, first_by_columns: bool) -> list[nn.Parameter]:
    """A matrix, a vector, and a matrix that is always stored by rows."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator) for shape in SHAPES]
    if first_by_columns:
        made[0] = by_columns(made[0])
    return [nn.Parameter(one) for one in made]


def give_gradients(weights: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        gradient = torch.randn(weight.shape, generator=generator)
        weight.grad = gradient if weight.is_contiguous() else by_columns(gradient)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_a_state_is_stored_as_the_weights_are(name, before, after):
    earlier, plain = parameters(first_by_columns=before), parameters(first_by_columns=False)
    first, reference = OPTIMIZERS[name](earlier), OPTIMIZERS[name](plain)
    later = parameters(first_by_columns=after)
    update = Update(first)
    for seed in range(6):
        if seed == 3:
            for now, then in zip(later, earlier, strict=True):
                now.data.copy_(then)
            resumed = OPTIMIZERS[name](later)
            load_optimizer_state(resumed, copy.deepcopy(first.state_dict()))
            update = Update(resumed)
        ours = earlier if seed < 3 else later
        give_gradients(ours, seed)
        give_gradients(plain, seed)
        update()
        reference.step()
    for one, other in zip(later, plain, strict=True):
        # A vectorised kernel rounds the incomplete stretch at its end differently.
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)


def test_a_state_that_belongs_to_no_parameter_is_loaded_unchanged():
    ours = parameters(first_by_columns=True)
    optimizer = torch.optim.SGD(ours, lr=0.1, momentum=0.9)
    give_gradients(ours, 0)
    optimizer.step()
    optimizer.state["count"] = 3
    optimizer.state["own"] = {"mean": torch.ones(2)}
    other = torch.optim.SGD(parameters(first_by_columns=False), lr=0.1, momentum=0.9)
    load_optimizer_state(other, copy.deepcopy(optimizer.state_dict()))
    assert other.state["count"] == 3
    assert torch.equal(other.state["own"]["mean"], torch.ones(2))
