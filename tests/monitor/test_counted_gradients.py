"""Gradients w.r.t. inputs belong to the pass whose loss was handed over, and to no other."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.records import LayerRecord

BATCH = 8


def watch(model, optimizer, **options):
    """Return a monitor of every update, and the layer records that it will emit."""
    records = []

    def emit(record):
        if isinstance(record, LayerRecord):
            records.append(record)

    return LoopMonitor(model, optimizer, emit=emit, every=1, **options), records


def norm(*gradients):
    return math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))


def critic():
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))


def hidden(model, inputs):
    """Return the input of a critic's last layer, as a leaf."""
    return torch.tanh(model[0](inputs)).detach().requires_grad_()


def own_gradients(model, *batches):
    """Return the norm of the critic's own gradients w.r.t. the inputs of its last layer."""
    inputs = [hidden(model, batch) for batch in batches]
    loss = sum(model[2](one).square().mean() for one in inputs)
    return norm(*torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize("kind", ["before", "after", "frozen meanwhile", "zeros"])
def test_a_generators_pass_is_not_the_discriminators(kind):
    torch.manual_seed(0)
    model, generator = critic(), nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    other = torch.optim.Adam(generator.parameters(), lr=0.01)
    monitor, records = watch(model, optimizer)
    expected = []

    def train_generator():
        if kind == "frozen meanwhile":
            model.requires_grad_(False)
        other.zero_grad()
        model(generator(torch.randn(BATCH, 2))).mean().backward()
        other.step()
        model.requires_grad_()

    for _ in range(4):
        if kind != "after":
            train_generator()
        real, fake = torch.randn(BATCH, 3), generator(torch.randn(BATCH, 2)).detach()
        loss = model(real).square().mean() + model(fake).square().mean()
        optimizer.zero_grad(set_to_none=kind != "zeros")
        expected.append(own_gradients(model, real, fake))
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        if kind == "after":
            train_generator()
    assert [record.input_grad_norm[1] for record in records] == pytest.approx(expected)
    assert all(math.isnan(record.input_grad_norm[0]) for record in records)


def test_the_discriminators_pass_is_not_the_generators():
    torch.manual_seed(0)
    generator, model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)), critic()
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.01)
    other = torch.optim.Adam(model.parameters(), lr=0.01)
    monitor, records = watch(generator, optimizer)
    for _ in range(3):
        noise = torch.randn(BATCH, 2)
        other.zero_grad()
        model(generator(noise)).mean().backward()  # not detached: it reaches the generator, too
        other.step()
        optimizer.zero_grad()
        features = torch.tanh(generator[0](noise)).detach().requires_grad_()
        (expected,) = torch.autograd.grad(model(generator[2](features)).square().mean(), features)
        loss = model(generator(noise)).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        assert records[-1].input_grad_norm[1] == pytest.approx(norm(expected))


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.stem = nn.Linear(3, 5)
        self.block = nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.3), nn.Tanh(), nn.Linear(5, 5))
        self.head = nn.Linear(5, 2)
        self.reentrant = reentrant

    def forward(self, inputs):
        features = torch.tanh(self.stem(inputs))
        if self.reentrant is None:
            return self.head(self.block(features))
        return self.head(checkpoint(self.block, features, use_reentrant=self.reentrant))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_counts_each_gradient_once(reentrant, parts):
    found, weights = [], []
    for how in (None, reentrant):
        torch.manual_seed(0)
        model = Checkpointed(how)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor, records = watch(model, optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            for _ in range(parts):
                loss = model(torch.randn(BATCH, 3)).square().mean() / parts
                loss.backward()
            monitor.step(loss)
            optimizer.step()
        found.append([record.input_grad_norm[1:] for record in records])
        weights.append(model.head.weight)
    assert torch.equal(*weights)
    assert torch.tensor(found[1]).isfinite().all()
    torch.testing.assert_close(torch.tensor(found[1]), torch.tensor(found[0]), rtol=1e-5, atol=0)


def test_checkpointing_after_another_pass_counts_only_its_own():
    torch.manual_seed(0)
    model = Checkpointed(True)
    model.block[1].p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(2):
        model(torch.randn(BATCH, 3)).sum().backward()
        optimizer.zero_grad()
        batch = torch.randn(BATCH, 3)
        features = torch.tanh(model.stem(batch)).detach().requires_grad_()
        inner = torch.tanh(model.block[0](features))
        last = model.block[3](inner)
        expected = torch.autograd.grad(
            model.head(last).square().mean(), [features, inner, last], retain_graph=True
        )
        loss = model(batch).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        assert records[-1].input_grad_norm[1:] == pytest.approx([norm(one) for one in expected])


@pytest.mark.parametrize("how", ["autograd.grad", "backward"])
def test_adversarial_inputs_are_made_by_a_pass_that_does_not_count(how):
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(3):
        batch = torch.randn(BATCH, 3, requires_grad=True)
        attack = model(batch).square().mean()
        if how == "backward":
            attack.backward()
            (gradient,) = (batch.grad,)
        else:
            (gradient,) = torch.autograd.grad(attack, batch)
        attacked = (batch + 0.5 * gradient.sign()).detach().requires_grad_()
        optimizer.zero_grad()
        features = hidden(model, attacked)
        (expected,) = torch.autograd.grad(model[2](features).square().mean(), features)
        loss = model(attacked).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        assert records[-1].input_grad_norm == pytest.approx((norm(attacked.grad), norm(expected)))


def test_a_gradient_penalty_counts_through_the_loss_that_contains_it():
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)

    def penalised(features, batch):
        scores = model[2](features)
        (slope,) = torch.autograd.grad(scores.sum(), batch, create_graph=True)
        return scores.square().mean() + (slope.norm(dim=1) - 1).square().mean()

    for _ in range(3):
        batch = torch.randn(BATCH, 3, requires_grad=True)
        features = torch.tanh(model[0](batch))
        expected = torch.autograd.grad(penalised(features, batch), [batch, features])
        optimizer.zero_grad()
        scores = model(batch)
        (slope,) = torch.autograd.grad(scores.sum(), batch, create_graph=True)
        loss = scores.square().mean() + (slope.norm(dim=1) - 1).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        assert records[-1].input_grad_norm == pytest.approx([norm(one) for one in expected])


def test_of_two_forward_passes_only_those_of_the_loss_count():
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    first, second, unused = torch.randn(3, BATCH, 3)
    scores = model(first), model(second), model(unused)
    expected = own_gradients(model, first, second)
    loss = scores[0].square().mean() + scores[1].square().mean()
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].input_grad_norm[1] == pytest.approx(expected)


def test_a_tensor_that_a_layer_takes_twice_counts_once():
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    features = torch.randn(BATCH, 6, requires_grad=True)
    loss = (model[2](features) * model[2](features)).mean()
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].input_grad_norm[1] == pytest.approx(norm(features.grad))


def test_a_later_pass_through_the_same_graph_does_not_count():
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    batch = torch.randn(BATCH, 3)
    expected = own_gradients(model, batch)
    loss = model(batch).square().mean()
    loss.backward(retain_graph=True)
    monitor.step(loss)
    (5 * loss).backward()
    optimizer.step()
    assert records[0].input_grad_norm[1] == pytest.approx(expected)


def test_gradients_that_the_loop_assigns_itself_are_of_the_last_pass():
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    torch.autograd.grad(model(torch.randn(BATCH, 3)).sum(), list(model.parameters()))
    batch = torch.randn(BATCH, 3)
    expected = own_gradients(model, batch)
    loss = model(batch).square().mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient
    monitor.step(loss)
    optimizer.step()
    assert records[0].input_grad_norm[1] == pytest.approx(expected)


def test_a_layer_whose_gradients_are_zero_does_not_look_cleared():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    squares = 0.0
    for batch in torch.randn(3, BATCH, 3):
        features = torch.tanh(model[2](torch.relu(model[0](batch)))).detach().requires_grad_()
        squares += norm(*torch.autograd.grad(model[4](features).square().mean(), features)) ** 2
        loss = model(batch).square().mean()
        loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].input_grad_norm[2] == pytest.approx(math.sqrt(squares))


class Sharpness(torch.optim.SGD):
    """Sharpness-aware minimisation in small: the gradient is taken at w + e, the update at w."""

    @torch.no_grad()
    def climb(self):
        self.moved = [0.05 * p.grad for group in self.param_groups for p in group["params"]]
        for parameter, move in zip(self.param_groups[0]["params"], self.moved, strict=True):
            parameter.add_(move)
        self.zero_grad()

    @torch.no_grad()
    def back(self):
        for parameter, move in zip(self.param_groups[0]["params"], self.moved, strict=True):
            parameter.sub_(move)


@pytest.mark.parametrize("handed_over", ["first", "second"])
def test_a_double_step_is_measured_at_the_pass_handed_over_and_the_update_made(handed_over):
    torch.manual_seed(0)
    model = critic()
    optimizer = Sharpness(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(3):
        batch = torch.randn(BATCH, 3)
        expected = {"first": own_gradients(model, batch)}
        loss = model(batch).square().mean()
        loss.backward()
        if handed_over == "first":
            monitor.step(loss)
        optimizer.climb()
        expected["second"] = own_gradients(model, batch)
        loss = model(batch).square().mean()
        loss.backward()
        if handed_over == "second":
            monitor.step(loss)
        optimizer.back()
        before = copy.deepcopy(model.state_dict())
        optimizer.step()
        optimizer.zero_grad()
        record = records[-1]
        assert record.input_grad_norm[1] == pytest.approx(expected[handed_over])
        old = norm(before["2.weight"], before["2.bias"])
        moved = norm(model[2].weight - before["2.weight"], model[2].bias - before["2.bias"])
        assert record.weight_norm[1] == pytest.approx(old)
        assert record.update_ratio[1] == pytest.approx(moved / old, rel=1e-4)


def test_a_loop_that_calls_the_layers_itself_is_measured_too():
    torch.manual_seed(0)
    model = critic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(2):
        batch = torch.randn(BATCH, 3)
        expected = own_gradients(model, batch)
        loss = F.mse_loss(model.forward(batch), torch.zeros(BATCH, 1))
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        assert records[-1].input_grad_norm[1] == pytest.approx(expected)
