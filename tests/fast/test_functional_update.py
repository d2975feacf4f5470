"""Updates by the functional forms leave the weights that `step` leaves, to the last bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradcli.fast import gate
from gradcli.fast.functional_update import FunctionalUpdate

pytestmark = pytest.mark.skipif(
    not gate.is_open(), reason="the gate is closed: PyTorch goes its own way"
)

SETTINGS = {
    "adadelta": lambda p: torch.optim.Adadelta(p, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr_decay=0.1),
    "adagrad fused": lambda p: torch.optim.Adagrad(p, fused=True),
    "adam": torch.optim.Adam,
    "adam fused": lambda p: torch.optim.Adam(p, fused=True),
    "adam amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True, weight_decay=0.1, fused=True),
    "adam foreach": lambda p: torch.optim.Adam(p, foreach=True, maximize=True),
    "adamax": torch.optim.Adamax,
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.1),
    "adamw fused": lambda p: torch.optim.AdamW(p, weight_decay=0.1, fused=True),
    "nadam": lambda p: torch.optim.NAdam(p, decoupled_weight_decay=True, weight_decay=0.1),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.1),
    "rmsprop": torch.optim.RMSprop,
    "rmsprop centered": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.9),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd fused": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "sgd nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "sgd dampening": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
}


class _Twins:
    """Two copies of a model: one is updated by `step`, one by the functional form."""

    def __init__(self, make, groups=None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5))
        self.twin = copy.deepcopy(self.model)
        groups = groups or (lambda model: model.parameters())
        self.optimizer, self.other = make(groups(self.model)), make(groups(self.twin))
        self.update = FunctionalUpdate(self.other)

    def backward(self, seed: int) -> None:
        inputs = torch.randn(8, 20, generator=torch.Generator().manual_seed(seed))
        for model in (self.model, self.twin):
            model.zero_grad()
            model(inputs).square().sum().backward()

    @torch.no_grad()
    def step(self) -> bool:
        """Make a step; return whether the functional form has made it."""
        self.optimizer.step()
        made = self.update()
        if not made:
            self.other.step()
            self.update.prepare()
        for one, other in zip(self.model.parameters(), self.twin.parameters(), strict=True):
            assert torch.equal(one, other)
        return made


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_are_the_same_to_the_last_bit(name):
    twins = _Twins(SETTINGS[name])
    made = []
    for seed in range(6):
        twins.backward(seed)
        for optimizer in (twins.optimizer, twins.other):
            optimizer.param_groups[0]["lr"] *= 0.9  # as a schedule does
        made.append(twins.step())
    assert made == [False] + [True] * 5
    for one, other in zip(twins.optimizer.state.values(), twins.other.state.values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one if one[key] is not None)


@pytest.mark.parametrize("name", ["adamw", "adamw fused", "sgd nesterov", "rmsprop"])
def test_groups_keep_their_own_settings(name):
    def groups(model):
        return [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.5},
        ]

    twins = _Twins(SETTINGS[name], groups)
    for seed in range(4):
        twins.backward(seed)
        assert twins.step() is (seed > 0)


def test_a_loaded_state_is_looked_up_anew():
    twins = _Twins(SETTINGS["adam fused"])
    for seed in range(3):
        twins.backward(seed)
        twins.step()
    for optimizer in (twins.optimizer, twins.other):
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    twins.backward(3)
    assert not twins.step()
    twins.backward(4)
    assert twins.step()


def test_what_the_form_does_not_know_is_left_to_step():
    twins = _Twins(SETTINGS["sgd fused"])
    twins.backward(0)
    twins.step()
    for model in (twins.model, twins.twin):
        model[0].bias.grad = None
    assert not twins.step()  # a parameter without a gradient
    twins.backward(1)
    for optimizer in (twins.optimizer, twins.other):
        optimizer.param_groups[0]["momentum"] = 0.9  # whose buffers are not there
    assert not twins.step()


@pytest.mark.parametrize("name", ["adam fused", "sgd fused"])
def test_found_inf_keeps_the_update_from_being_made(name):
    twins = _Twins(SETTINGS[name])
    for seed in range(3):
        for optimizer in (twins.optimizer, twins.other):
            optimizer.found_inf = torch.tensor(float(seed == 1))
        before = copy.deepcopy(twins.twin.state_dict())
        twins.backward(seed)
        twins.step()
        same = all(torch.equal(before[key], now) for key, now in twins.twin.state_dict().items())
        assert same is (seed == 1)


def test_a_closed_gate_leaves_it_to_step(monkeypatch):
    monkeypatch.setenv(gate.SWITCH, "0")
    twins = _Twins(SETTINGS["adam fused"])
    for seed in range(3):
        twins.backward(seed)
        assert not twins.step()


def test_a_users_own_class_is_left_alone():
    class Mine(torch.optim.SGD):
        pass

    twins = _Twins(lambda parameters: Mine(parameters, lr=0.1))
    for seed in range(3):
        twins.backward(seed)
        assert not twins.step()


@pytest.mark.parametrize("name", ["adam fused", "sgd", "rmsprop"])
def test_an_update_that_is_watched_is_made_by_step(name):
    twins = _Twins(SETTINGS[name])
    for seed in range(3):
        twins.backward(seed)
        twins.step()
    seen = []
    handle = twins.other.register_step_post_hook(lambda *_: seen.append("hook"))
    twins.backward(3)
    assert not twins.step()
    assert seen == ["hook"]
    handle.remove()
    with torch.autograd.profiler.profile():
        assert not twins.step()
    assert twins.step()
