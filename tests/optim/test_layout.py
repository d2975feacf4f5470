"""Updates do not depend on the order in which a weight lies in memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradcli.optim import Update, keeps_layout, load_optimizer_state

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


def by_input(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.t().contiguous().t() if tensor.ndim == 2 else tensor


def parameters(*, turned: bool) -> list[nn.Parameter]:
    """The first matrix, a vector and a matrix that always lies as PyTorch lays it out."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator) for shape in SHAPES]
    if turned:
        made[0] = by_input(made[0])
    return [nn.Parameter(one) for one in made]


def give_gradients(weights: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        gradient = torch.randn(weight.shape, generator=generator)
        weight.grad = by_input(gradient) if not weight.is_contiguous() else gradient


def assert_alike(ours: list[nn.Parameter], plain: list[nn.Parameter]) -> None:
    for one, other in zip(ours, plain, strict=True):
        # A vectorised kernel rounds its last, incomplete stretch otherwise than the others.
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_a_weight_laid_out_by_input_is_updated_as_any_other(name, factor):
    ours, plain = parameters(turned=True), parameters(turned=False)
    update, reference = Update(OPTIMIZERS[name](ours)), OPTIMIZERS[name](plain)
    for seed in range(4):
        give_gradients(ours, seed)
        give_gradients(plain, seed)
        for weight in plain:
            weight.grad.mul_(factor)
        update(factor)
        reference.step()
        assert ours[0].stride() == (1, 24)
        for one, other in zip(ours, plain, strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=0)
    assert_alike(ours, plain)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("turned", [True, False])
def test_a_state_of_another_layout_is_laid_out_as_the_weights_are(name, turned):
    """As when a run that began with one thread goes on with two, or the other way round."""
    earlier, plain = parameters(turned=not turned), parameters(turned=False)
    first, reference = OPTIMIZERS[name](earlier), OPTIMIZERS[name](plain)
    later = parameters(turned=turned)
    update = Update(first)
    for seed in range(6):
        if seed == 3:
            for now, before in zip(later, earlier, strict=True):
                now.data.copy_(before)
            resumed = OPTIMIZERS[name](later)
            load_optimizer_state(resumed, copy.deepcopy(first.state_dict()))
            update = Update(resumed)
        ours = earlier if seed < 3 else later
        give_gradients(ours, seed)
        give_gradients(plain, seed)
        update()
        reference.step()
    assert_alike(later, plain)


def test_a_state_that_belongs_to_no_parameter_is_loaded_as_it_is():
    ours = parameters(turned=True)
    optimizer = torch.optim.SGD(ours, lr=0.1, momentum=0.9)
    give_gradients(ours, 0)
    optimizer.step()
    optimizer.state["count"] = 3
    optimizer.state["own"] = {"mean": torch.ones(2)}
    other = torch.optim.SGD(parameters(turned=False), lr=0.1, momentum=0.9)
    load_optimizer_state(other, copy.deepcopy(optimizer.state_dict()))
    assert other.state["count"] == 3
    assert torch.equal(other.state["own"]["mean"], torch.ones(2))


def test_only_optimizers_of_torch_are_known_to_keep_any_layout():
    class Own(torch.optim.SGD):
        pass

    assert keeps_layout(torch.optim.Adam)
    assert not keeps_layout(Own)
