"""How a loop of the user's own is put together: what the graph of its loss shows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli


@pytest.fixture
def examine(tmp_path, inspect):
    """Return a function that trains on random batches and returns the findings."""

    def train(model, loss_of, *, inputs=10, steps=40, rate=1e-3, only=None):
        held = (model if only is None else only).parameters()
        optimizer = torch.optim.Adam([one for one in held if one.requires_grad], lr=rate)
        with gradcli.GradientMonitor(model, optimizer, runs_dir=tmp_path, every=10) as monitor:
            for step in range(steps):
                x = torch.randn(32, inputs, generator=torch.Generator().manual_seed(step))
                optimizer.zero_grad()
                loss = loss_of(model(x), x)
                loss.backward()
                monitor.step(loss)
                optimizer.step()
        return inspect(target=monitor.run).findings

    return train


def regression():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))


def summed(x):
    return 2 * x[:, 0] + x[:, 1]


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda out, x: F.mse_loss(out, summed(x)),
        lambda out, x: (out - summed(x)).abs().mean(),
        lambda out, x: F.smooth_l1_loss(out.squeeze(1), summed(x)[:, None]),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_outputs_that_are_broadcast_against_the_targets(examine, loss_of):
    first = examine(regression(), loss_of)[0]
    assert first.code == "labels"
    assert "(32, 32)" in first.message
    assert "squeeze" in first.mend


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda out, x: F.mse_loss(out, summed(x)[:, None]),
        lambda out, x: F.mse_loss(out.squeeze(1), summed(x)),
        # Pairs on purpose: of two examples, the one with the larger target should score higher.
        lambda out, x: F.softplus(-(out - out.T) * (summed(x)[:, None] - summed(x)).sign()).mean(),
    ],
)
def test_outputs_that_are_compared_as_they_should_be(examine, loss_of):
    assert "labels" not in [finding.code for finding in examine(regression(), loss_of)]


@pytest.mark.parametrize("clears", [True, False])
def test_a_second_optimizer_whose_gradients_are_not_cleared(tmp_path, inspect, clears):
    model = regression()
    first = torch.optim.SGD(model[0].parameters(), lr=1e-3)
    second = torch.optim.SGD(model[2].parameters(), lr=1e-3)
    with gradcli.GradientMonitor(model, first, runs_dir=tmp_path, every=10) as monitor:
        for step in range(40):
            x = torch.randn(32, 10, generator=torch.Generator().manual_seed(step))
            first.zero_grad()
            if clears:
                second.zero_grad()
            loss = F.mse_loss(model(x).squeeze(1), summed(x))
            loss.backward()
            monitor.step(loss)
            first.step()
            second.step()
    found = inspect(target=monitor.run).findings
    said = [(one.layer, "holds 2" in one.mend) for one in found if one.code == "not-cleared"]
    assert said == ([] if clears else [("2", True)])


def test_gradients_that_pile_up_in_layers_that_nobody_updates_are_no_fault(examine):
    """A head is trained on features that were not frozen: their gradients are not used."""
    model = regression()
    found = examine(model, lambda out, x: F.mse_loss(out.squeeze(1), summed(x)), only=model[2])
    assert "not-cleared" not in [finding.code for finding in found]


class Adapted(nn.Module):
    """A frozen layer with an adapter of two matrices, of which the second begins at 0."""

    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, 4, bias=False)
        self.up = nn.Linear(4, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, inputs):
        return self.base(inputs) + self.up(self.down(inputs))


@pytest.mark.parametrize("both", [True, False])
def test_an_adapter_of_which_both_matrices_begin_at_zero(examine, both):
    model = regression()
    model[0] = Adapted(model[0])
    if both:
        nn.init.zeros_(model[0].down.weight)
    found = examine(model, lambda out, x: F.mse_loss(out.squeeze(1), summed(x)))
    codes = [finding.code for finding in found]
    assert "dead-units" not in codes
    assert ("initial-scale" in codes) == both
    if both:
        assert "0.down" in found[0].message
        assert "are all 0" in found[0].message


class Masked(nn.Module):
    """Matrices of its own, and a mask of 0 between them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(0.3 * torch.randn(10, 16))
        self.last = nn.Parameter(0.3 * torch.randn(16, 1))
        self.register_buffer("mask", torch.zeros(16))

    def forward(self, inputs):
        return ((inputs @ self.first) * self.mask).relu() @ self.last


def test_matrices_of_a_module_of_ones_own_that_are_multiplied_by_zero(examine):
    first = examine(Masked(), lambda out, x: F.mse_loss(out.squeeze(1), summed(x)))[0]
    assert first.code == "no-gradient"
    assert "first and last of the model" in first.message
    assert "mask" in first.mend


def test_a_relu_at_the_end_is_not_said_to_be_in_the_loss(examine):
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3), nn.ReLU())
    first = examine(model, lambda out, x: F.cross_entropy(out, x[:, :3].argmax(1)))[0]
    assert first.code == "softmax-before-loss"
    assert "either sign" in first.message


class Rows(nn.Module):
    """A recurrent cell that is called for each of five time steps."""

    def __init__(self, detach):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head, self.detach = nn.GRUCell(2, 8), nn.Linear(8, 1), detach

    def forward(self, inputs):
        state = torch.zeros(len(inputs), 8)
        for row in inputs.view(-1, 5, 2).unbind(1):
            state = self.cell(row, state.detach() if self.detach else state)
        return self.head(state)


@pytest.mark.parametrize("detach", [True, False])
def test_a_state_that_is_detached_at_each_time_step(examine, detach):
    found = examine(Rows(detach), lambda out, x: F.mse_loss(out.squeeze(1), summed(x)))
    said = [(one.layer, one.evidence["calls"]) for one in found if one.code == "no-gradient"]
    assert said == ([("cell", 5)] if detach else [])
    if detach:
        assert "depends on 1 call alone" in found[0].message
        assert "detach()" in found[0].mend


def test_a_layer_that_is_called_for_several_inputs_is_not_cut(examine):
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Linear(2, 1)

        def forward(self, inputs):
            return sum(self.part(one) for one in inputs.view(-1, 5, 2).unbind(1))

    found = examine(Pairs(), lambda out, x: F.mse_loss(out.squeeze(1), summed(x)))
    assert "no-gradient" not in [finding.code for finding in found]


@pytest.mark.parametrize(("rate", "verdict"), [(1.0, "undetermined"), (1e-3, "healthy")])
def test_large_updates_under_a_loss_that_need_not_fall(examine, rate, verdict):
    """As of a critic, whose loss is below 0 when it wins."""

    def loss_of(out, x):
        return -(out.squeeze(1) * summed(x).sign()).tanh().mean() - 0.01

    found = examine(regression(), loss_of, rate=rate)[-1]
    assert found.code == verdict
    if verdict == "undetermined":
        assert "a tenth of the learning rate" in found.message
