"""An update on scaled gradients, by whichever way it is made."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradcli.fast.update import Update

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adam fused": lambda p: torch.optim.Adam(p, fused=True),
    "adagrad fused": lambda p: torch.optim.Adagrad(p, fused=True),
    "sgd fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "rmsprop": torch.optim.RMSprop,
}


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5))


def _give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("factor", [1.0, 0.3, torch.tensor(0.3, dtype=torch.float64)])
def test_an_update_is_step_on_scaled_gradients(name, factor):
    model, twin = _model(), _model()
    optimizer, other = (OPTIMIZERS[name](one.parameters()) for one in (model, twin))
    update = Update(other)
    for seed in range(4):
        for one in (model, twin):
            _give_gradients(one, seed)
        for parameter in model.parameters():
            parameter.grad.mul_(factor)
        optimizer.step()
        update(factor)
        for one, another in zip(model.parameters(), twin.parameters(), strict=True):
            # Dividing by 1 / 0.3 is rounded otherwise than multiplying by 0.3.
            torch.testing.assert_close(one, another, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(one.grad, another.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_state_continues_with_the_same_bits(name):
    """The first update after loading is made by `step`, those before and after it are not."""
    model = _model()
    optimizer = OPTIMIZERS[name](model.parameters())
    update = Update(optimizer)
    for seed in range(3):
        _give_gradients(model, seed)
        update(0.3)
    resumed = copy.deepcopy(model)
    other = OPTIMIZERS[name](resumed.parameters())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    resumed_update = Update(other)
    for seed in range(3, 6):
        for one, make in ((model, update), (resumed, resumed_update)):
            _give_gradients(one, seed)
            make(0.3)
        for one, another in zip(model.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, another)
    assert not hasattr(other, "grad_scale")


def test_any_watcher_sees_step_called():
    model = _model()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    update, seen = Update(optimizer), []
    for seed in range(3):
        _give_gradients(model, seed)
        update(0.5)
    optimizer.register_step_pre_hook(lambda one, *_: seen.append(float(one.grad_scale)))
    update(0.5)
    assert seen == [2.0]
