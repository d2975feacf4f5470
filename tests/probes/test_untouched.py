"""The promise of every probe: nothing is different afterwards."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from gradcli.probes.alpha import step_alpha
from gradcli.probes.descent import loss_along_gradient
from gradcli.probes.histograms import gradient_histograms
from gradcli.probes.measuring.activations import probe_signals
from gradcli.probes.measuring.finite_differences import check_gradients
from gradcli.probes.measuring.gradient_noise import gradient_noise
from gradcli.probes.measuring.hessian import sharpness
from gradcli.probes.measuring.through_time import hidden_state_gradients
from gradcli.probes.measuring.untouched import untouched


class Moody(nn.Module):
    """Has all that a probe could disturb: batch norm, dropout, a frozen layer, a recurrence,
    an activation in place, and a forward pass that draws from every random state and counts."""

    def __init__(self, norm):
        super().__init__()
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.hidden = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6) if norm else nn.LayerNorm(6)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.3)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.output = nn.Linear(6, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls = self.calls + 1
        noise = 1e-3 * (random.random() + np.random.random())
        states, _ = self.rnn(images.squeeze(1))
        signal = self.norm(self.hidden(states[:, -1]) + noise)
        return self.output(self.frozen(self.dropout(self.activation(signal))))


def alpha_of_a_step(model, inputs, labels):
    before = {name: p.detach() + 0.01 for name, p in model.named_parameters()}
    return step_alpha(model, before, inputs, labels)


def sharpness_for_adam(model, inputs, labels):
    trained = [p for p in model.parameters() if p.requires_grad]
    return sharpness(model, inputs, labels, optimizer=torch.optim.Adam(trained))


PROBES = {
    "signals": lambda model, inputs, labels: probe_signals(model, [(inputs, labels)] * 2),
    "histograms": gradient_histograms,
    "noise": gradient_noise,
    "sharpness": sharpness_for_adam,
    "alpha": alpha_of_a_step,
    "descent": loss_along_gradient,
    "hidden states": hidden_state_gradients,
    "check": check_gradients,
}


def everything(model):
    """All that a probe must leave as it was."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": {
            name: id(t) for name, t in (*model.named_parameters(), *model.named_buffers())
        },
        "gradients": {
            n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()
        },
        "gradient objects": [id(p.grad) for p in model.parameters()],
        "trained": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "hooks": [
            len(hooks)
            for module in model.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.append(*np.random.get_state()[1:3]),
        "python": random.getstate(),
    }


def assert_same(after, before):
    assert after.keys() == before.keys()
    for key, old in before.items():
        new = after[key]
        if isinstance(old, dict):
            assert_same(new, old)
        elif isinstance(old, torch.Tensor | np.ndarray):
            assert (new == old).all(), key
        else:
            assert new == old, key


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_changes_nothing(probe, training, batch):
    # Per-example gradients and batch norm in training exclude each other.
    model = Moody(norm=not (probe == "noise" and training)).train(training)
    inputs, labels = batch(6)
    model(inputs).sum().backward()
    before, batch_before = everything(model), (inputs.clone(), labels.clone())
    PROBES[probe](model, inputs, labels)
    assert_same(everything(model), before)
    assert torch.equal(inputs, batch_before[0])
    assert torch.equal(labels, batch_before[1])
    assert not inputs.requires_grad
    assert inputs.grad is None


@pytest.mark.parametrize("probe", PROBES)
def test_training_continues_as_if_nothing_had_been_probed(probe, batch):
    def train(probed):
        torch.manual_seed(3)
        model = Moody(norm=probe != "noise")
        optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
        random.seed(1)
        np.random.seed(1)
        for step in range(3):
            inputs, labels = batch(6, seed=step)
            if probed:
                PROBES[probe](model, inputs, labels)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        return model.state_dict()

    with_probe, without = train(True), train(False)
    assert all(torch.equal(with_probe[name], without[name]) for name in without)


def test_everything_is_put_back_after_an_error_too():
    model = nn.BatchNorm1d(3)
    before = everything(model)
    with pytest.raises(ZeroDivisionError), untouched(model):
        model(torch.randn(4, 3))
        model.running_mean = torch.ones(3)
        random.random()
        np.random.random()
        raise ZeroDivisionError
    assert_same(everything(model), before)


def test_the_test_would_see_a_probe_that_is_careless(batch):
    model = Moody(norm=True)
    before = everything(copy.deepcopy(model))
    model(batch(6)[0])
    after = everything(model)
    assert not torch.equal(after["torch"], before["torch"])
    assert not np.array_equal(after["numpy"], before["numpy"])
    assert after["python"] != before["python"]
    assert not torch.equal(
        after["state"]["norm.running_mean"], before["state"]["norm.running_mean"]
    )
    assert after["state"]["calls"] != before["state"]["calls"]
