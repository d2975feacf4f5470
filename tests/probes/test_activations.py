"""Signals and gradients by layer against autograd and plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.gradients.layers import find_layers
from gradcli.probes.measuring.activations import probe_signals
from gradcli.probes.measuring.elementwise import activation_shape, value_and_derivative


def by_name(report):
    return {layer.layer: layer for layer in report.layers}


def moments(tensor):
    values = tensor.detach().double()
    return (
        values.mean().item(),
        values.std(correction=0).item(),
        values.square().mean().sqrt().item(),
    )


def approx_moments(found):
    return pytest.approx((found.mean, found.std, found.rms), rel=1e-5, abs=1e-9)


def test_gradients_and_statistics_agree_with_autograd(make, batch):
    model = make("mlp", hidden=[12, 10])
    images, labels = batch(20)
    tape = [images.flatten(1).requires_grad_()]  # every signal from the pixels to the logits
    for module in (
        model.hidden1,
        model.activation1,
        model.hidden2,
        model.activation2,
        model.output,
    ):
        tape.append(module(tape[-1]))
    loss = F.cross_entropy(tape[-1], labels)
    gradients = torch.autograd.grad(loss, tape, retain_graph=True)
    report = probe_signals(model, [(images, labels)])
    assert report.examples == 20
    for index, name in ((0, "hidden1"), (2, "hidden2"), (4, "output")):
        found, module = by_name(report)[name], model.get_submodule(name)
        weight, bias = torch.autograd.grad(loss, module.parameters(), retain_graph=True)
        assert found.weight_grad_norm == pytest.approx(math.hypot(weight.norm(), bias.norm()))
        assert found.input_grad_norm == pytest.approx(gradients[index].norm().item())
        assert moments(tape[index + 1]) == approx_moments(found.output)
        assert moments(gradients[index + 1]) == approx_moments(found.output_grad)
    assert moments(tape[2]) == approx_moments(by_name(report)["hidden1"].activation)
    assert math.isnan(by_name(report)["output"].activation.mean)
    assert math.isnan(by_name(report)["output"].dead_fraction)


def test_batches_of_unequal_size_are_one_probe_set(make, batch):
    model = make("cnn", activation=nn.ReLU, channels=[3, 4], kernel_size=3, hidden=9)
    images, labels = batch(15)
    whole = by_name(probe_signals(model, [(images, labels)]))
    parts = by_name(probe_signals(model, [(images[:4], labels[:4]), (images[4:], labels[4:])]))
    for name, layer in whole.items():
        other = parts[name]
        assert (other.units, other.dead_units) == (layer.units, layer.dead_units)
        assert other.weight_grad_norm == pytest.approx(layer.weight_grad_norm, rel=1e-4)
        assert other.input_grad_norm == pytest.approx(layer.input_grad_norm, rel=1e-4)
        assert other.output.std == pytest.approx(layer.output.std, rel=1e-5)
        assert other.output_grad.rms == pytest.approx(layer.output_grad.rms, rel=1e-4)


def test_a_unit_is_dead_only_if_no_example_of_any_batch_wakes_it(make, batch):
    model = make("mlp", activation=nn.ReLU, hidden=[16])
    with torch.no_grad():
        model.hidden1.bias[:3] = -1e4  # dead
        model.hidden1.weight[3] = 0.0
        model.hidden1.bias[3] = -1.0
        model.hidden1.weight[3, 0] = 1.0  # awake if the first pixel is above one
    images, labels = batch(40)
    sleepy = images[:, 0, 0, 0] < 1
    asleep, awake = (images[sleepy], labels[sleepy]), (images[~sleepy], labels[~sleepy])
    assert len(awake[0])
    layer = by_name(probe_signals(model, [asleep]))["hidden1"]
    assert (layer.units, layer.dead_units) == (16, 4)
    layer = by_name(probe_signals(model, [asleep, awake]))["hidden1"]
    assert (layer.units, layer.dead_units) == (16, 3)
    assert layer.dead_fraction == 3 / 16


def test_zero_activations_are_not_dead_units(make, batch, kaiming):
    model = make("mlp", activation=nn.ReLU, initialisation=kaiming, hidden=[64, 64])
    for layer in probe_signals(model, [batch(256)]).layers[:-1]:
        assert layer.dead_units == 0
        assert 0.3 < layer.saturated_fraction < 0.7  # the zeros, which are healthy here
        assert not layer.saturates


def test_a_channel_is_a_unit_of_a_convolution(make, batch):
    model = make("cnn", activation=nn.ReLU, channels=[6], kernel_size=3, hidden=7)
    with torch.no_grad():
        model.conv1.bias[:2] = -100.0
    layer = by_name(probe_signals(model, [batch(8)]))["conv1"]
    assert (layer.units, layer.dead_units) == (6, 2)


@pytest.mark.parametrize(
    ("activation", "derivative", "largest"),
    [
        (nn.Tanh, lambda z: 1 - torch.tanh(z) ** 2, 1.0),
        (nn.Sigmoid, lambda z: torch.sigmoid(z) * (1 - torch.sigmoid(z)), 0.25),
    ],
)
def test_saturation_is_the_share_of_small_derivatives(make, batch, activation, derivative, largest):
    model = make("mlp", activation=activation, hidden=[30])
    with torch.no_grad():
        model.hidden1.weight.mul_(6.0)
    images, labels = batch(30)
    slopes = derivative(model.hidden1(images.flatten(1)))
    expected = (slopes < 0.05 * largest).double().mean().item()
    layer = by_name(probe_signals(model, [(images, labels)]))["hidden1"]
    assert 0.02 < expected < 0.9
    assert layer.saturated_fraction == pytest.approx(expected)
    assert layer.saturates


def test_vanishing_shows_in_the_slope_and_health_does_not(make, batch, kaiming):
    sigmoid = make("mlp", activation=nn.Sigmoid, hidden=[24] * 12)
    sick = probe_signals(sigmoid, [batch(32)])
    relu = make("mlp", activation=nn.ReLU, initialisation=kaiming, hidden=[24] * 12)
    healthy = probe_signals(relu, [batch(32)])
    assert sick.input_grad_slope.decades > 0.3
    assert sick.input_grad_slope.r_squared > 0.9
    assert abs(healthy.input_grad_slope.decades) < 0.1


def test_the_weight_scale_is_one_in_lecuns_units(make, batch):
    model = make("mlp", hidden=[200])
    with torch.no_grad():
        model.hidden1.weight.normal_(std=1 / 8, generator=torch.Generator().manual_seed(0))
    layer = by_name(probe_signals(model, [batch(4)]))["hidden1"]
    assert layer.weight_std_over_lecun == pytest.approx(1.0, abs=0.02)  # 64 pixels: 1/sqrt(64)
    assert layer.weight_rms == pytest.approx(model.hidden1.weight.square().mean().sqrt().item())


def test_a_norm_between_layer_and_activation_shares_the_activation(make, batch):
    model = make("mlp", activation=nn.ReLU, hidden=[12], norm="batch", dropout=0.2)
    found = by_name(probe_signals(model, [batch(20)]))
    assert found["norm1"].units == found["hidden1"].units == 12
    assert found["norm1"].activation == found["hidden1"].activation
    assert math.isnan(found["norm1"].weight_rms)


class Odd(nn.Module):
    """What user models do: work in place, use modules twice, freeze, and leave parts unused."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.shared = nn.Linear(8, 8)
        self.relu = nn.ReLU(inplace=True)
        self.gate = nn.Identity()
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.unused = nn.Linear(8, 8)
        self.slope = nn.PReLU()
        self.output = nn.Linear(8, 5)

    def forward(self, images):
        signal = self.relu(self.gate(self.first(images.flatten(1))))
        for _ in range(2):
            signal = self.relu(self.shared(signal))
        return self.output(self.slope(self.frozen(signal)))


def test_reused_in_place_frozen_and_unused_modules(batch):
    torch.manual_seed(0)
    model, (images, labels) = Odd(), batch(10)
    found = by_name(probe_signals(model, [(images, labels)]))
    loss = F.cross_entropy(model(images), labels)
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.shared.parameters())])
    assert found["shared"].weight_grad_norm == pytest.approx(norm.norm().item(), rel=1e-5)
    assert found["first"].activation.mean > 0  # the identity between is not an activation
    assert found["shared"].units == 8
    assert found["frozen"].units == 8  # of the learned slope that follows
    assert math.isnan(found["frozen"].weight_grad_norm)
    assert found["frozen"].input_grad_norm > 0
    assert found["unused"].weight_grad_norm == 0.0
    assert math.isnan(found["unused"].input_grad_norm)
    assert found["slope"].weight_grad_norm > 0
    assert [layer.name for layer in find_layers(model)] == list(found)


def test_what_is_not_finite_is_not_hidden(make, batch):
    model = make("mlp", hidden=[6])
    with torch.no_grad():
        model.hidden1.weight[0, 0] = math.nan
    found = by_name(probe_signals(model, [batch(4)]))
    assert math.isnan(found["hidden1"].output.mean)
    assert math.isnan(found["hidden1"].output.std)
    assert math.isnan(found["output"].weight_grad_norm)


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


@pytest.mark.parametrize(
    ("module", "largest", "saturates"),
    [
        (nn.Tanh(), 1.0, True),
        (nn.Sigmoid(), 0.25, True),
        (nn.Hardtanh(), 1.0, True),
        (nn.Softsign(), 1.0, True),
        (nn.ReLU(), 1.0, False),
        (nn.ReLU(inplace=True), 1.0, False),
        (nn.ReLU6(), 1.0, False),
        (nn.LeakyReLU(), 1.0, False),
        (nn.PReLU(), 1.0, False),
        (nn.Softplus(), 1.0, False),
        (nn.GELU(), 1.129, False),
        (Swish(), 1.0998, False),
    ],
    ids=str,
)
def test_activations_are_known_by_what_they_do(module, largest, saturates):
    shape = activation_shape(module, 0.05)
    assert shape.largest_derivative == pytest.approx(largest, rel=1e-3)
    assert shape.saturates is saturates


@pytest.mark.parametrize(
    "module",
    [
        nn.Identity(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Softmax(dim=-1),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.BatchNorm1d(4, affine=False),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Linear(4, 4),
        nn.CrossEntropyLoss(),
        nn.Sequential(nn.Tanh()),
    ],
    ids=str,
)
def test_other_modules_are_not_activations(module):
    assert activation_shape(module, 0.05) is None


def test_the_derivative_is_that_of_the_module():
    z = torch.linspace(-3, 3, 50, dtype=torch.float64).view(5, 10)
    values, derivative = value_and_derivative(nn.GELU(), z)
    assert torch.equal(values, F.gelu(z))
    numeric = (F.gelu(z + 1e-6) - F.gelu(z - 1e-6)) / 2e-6
    assert torch.allclose(derivative, numeric, atol=1e-8)
