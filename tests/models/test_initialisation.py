"""The statistics of each initialisation against its closed form."""

import math

import pytest
import torch
from scipy import integrate, stats
from torch import nn

from gradcli.errors import UserError
from gradcli.models import (
    Default,
    Kaiming,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Xavier,
    Zeros,
    usual_gain,
)

ALL = [Default(), Xavier(), Kaiming(), Orthogonal(), Normal(), TruncatedNormal(), Zeros()]


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def network():
    """Layers with some 40,000 weights each, so that a standard deviation shows to 1 %."""
    return nn.Sequential(
        nn.Conv2d(8, 128, 7), nn.BatchNorm2d(128), nn.Linear(400, 100), nn.Linear(100, 400)
    )


def fans(weight):
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def gate_blocks(recurrent):
    """Each gate's matrix by itself."""
    return [
        block
        for name, p in recurrent.named_parameters()
        if name.startswith("weight")
        for block in p.detach().split(recurrent.hidden_size)
    ]


def assert_drawn_from(weight, std, distribution):
    sample = weight.detach().flatten().double() / std
    assert sample.mean().abs() < 4 / math.sqrt(len(sample))
    assert sample.std().item() == pytest.approx(1.0, abs=0.02)
    if distribution == "uniform":
        assert sample.abs().max() <= math.sqrt(3.0) * 1.0001
        reference = stats.uniform(-math.sqrt(3.0), 2 * math.sqrt(3.0))
    else:
        reference = stats.norm()
    assert stats.kstest(sample.numpy(), reference.cdf).pvalue > 1e-3


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("gain", [None, 0.5])
def test_kaiming_and_xavier_have_their_variance(distribution, gain):
    factor = math.sqrt(2.0) if gain is None else gain
    for initialisation, variance in [
        (Kaiming, lambda fan_in, fan_out: 1 / fan_in),
        (Xavier, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    ]:
        model = network()
        initialisation(gain=gain, distribution=distribution)(model, nn.ReLU())
        for layer in (model[0], model[2], model[3]):
            std = factor * math.sqrt(variance(*fans(layer.weight)))
            assert_drawn_from(layer.weight, std, distribution)


def test_kaiming_by_fan_out():
    model = network()
    Kaiming(mode="fan_out")(model, nn.Identity())
    for layer in (model[0], model[2], model[3]):
        assert_drawn_from(layer.weight, 1 / math.sqrt(fans(layer.weight)[1]), "normal")


def test_normal_and_truncated_normal():
    model = network()
    Normal(std=0.3)(model, nn.ReLU())
    assert_drawn_from(model[2].weight, 0.3, "normal")
    TruncatedNormal(std=0.3)(model, nn.ReLU())
    for layer in (model[0], model[2], model[3]):
        assert layer.weight.abs().max() <= 0.6
        expected = 0.3 * stats.truncnorm(-2, 2).std()
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)


def test_zeros():
    model = network()
    Zeros(bias=0.5)(model, nn.ReLU())
    for layer in (model[0], model[2], model[3]):
        assert not layer.weight.any()
        assert (layer.bias == 0.5).all()


@pytest.mark.parametrize("gain", [None, 0.7])
def test_orthogonal_matrices(gain):
    model = nn.Sequential(nn.Linear(30, 20), nn.Conv2d(2, 5, 3))
    Orthogonal(gain=gain)(model, nn.Tanh())
    square = (5 / 3 if gain is None else gain) ** 2
    for layer in model:
        weight = layer.weight.detach().flatten(1)
        torch.testing.assert_close(weight @ weight.T, square * torch.eye(len(weight)))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_each_gate_of_a_recurrent_module_is_a_separate_matrix(kind):
    model = kind(24, 16, num_layers=2)
    Orthogonal()(model, nn.ReLU())
    for block in gate_blocks(model):
        torch.testing.assert_close(block @ block.T, torch.eye(16))
    model = kind(200, 200)
    Xavier(distribution="normal")(model, nn.ReLU())
    for block in gate_blocks(model):
        assert block.shape == (200, 200)
        assert_drawn_from(block, math.sqrt(2 / 400), "normal")
    Kaiming(gain=3.0)(model, nn.ReLU())
    for block in gate_blocks(model):
        assert_drawn_from(block, 3.0 / math.sqrt(200), "normal")


@pytest.mark.parametrize("initialisation", ALL, ids=lambda i: type(i).__name__)
def test_it_fills_weights_and_biases_and_leaves_norm_layers_alone(initialisation):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 3), nn.LSTM(4, 3))
    norms = nn.Sequential(nn.BatchNorm2d(3), nn.LayerNorm((4, 4)), nn.GroupNorm(2, 4))
    for p in norms.parameters():
        nn.init.uniform_(p)
    drawn = {name: p.clone() for name, p in model.named_parameters()}
    norms_before = nn.utils.parameters_to_vector(norms.parameters()).clone()
    initialisation(nn.Sequential(model, norms), nn.ReLU())
    assert torch.equal(nn.utils.parameters_to_vector(norms.parameters()), norms_before)
    for name, p in model.named_parameters():
        if isinstance(initialisation, Default):
            assert torch.equal(p, drawn[name])
        elif "bias" in name:
            assert torch.equal(p, torch.zeros_like(p))
        else:
            assert not (p == drawn[name]).any()


def test_biases_can_be_set_or_left():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    drawn = model[0].bias.clone()
    Normal(bias=None)(model, nn.ReLU())
    assert torch.equal(model[0].bias, drawn)
    Default(bias=0.25)(model, nn.ReLU())
    assert torch.equal(model[0].bias, torch.full((3,), 0.25))
    assert torch.equal(model[1].bias, torch.zeros(3))


@pytest.mark.parametrize(
    ("activation", "name", "parameter"),
    [
        (nn.Identity(), "linear", None),
        (nn.Sigmoid(), "sigmoid", None),
        (nn.Tanh(), "tanh", None),
        (nn.ReLU(), "relu", None),
        (nn.LeakyReLU(0.2), "leaky_relu", 0.2),
        (nn.SELU(), "selu", None),
    ],
)
def test_gains_that_torch_knows(activation, name, parameter):
    assert usual_gain(activation) == nn.init.calculate_gain(name, parameter)


@pytest.mark.parametrize(
    ("activation", "documented"),
    [(nn.ELU(), 1.245), (nn.GELU(), 1.534), (nn.SiLU(), 1.677), (nn.Softplus(), 1.042)],
)
def test_other_gains_keep_the_second_moment(activation, documented):
    def integrand(z):
        return activation(torch.tensor(z, dtype=torch.float64)).item() ** 2 * stats.norm.pdf(z)

    second_moment, _ = integrate.quad(integrand, -10, 10)
    assert usual_gain(activation) == pytest.approx(1 / math.sqrt(second_moment), rel=1e-6)
    assert usual_gain(activation) == pytest.approx(documented, abs=6e-4)


def test_a_learned_slope_has_its_gain_and_no_gradient():
    activation = nn.PReLU(init=0.3)
    assert usual_gain(activation) == pytest.approx(math.sqrt(2 / (1 + 0.3**2)), rel=1e-5)
    assert activation.weight.grad is None


@pytest.mark.parametrize(
    ("cls", "wrong", "where"),
    [
        (Kaiming, {"gain": -1.0}, "init.gain"),
        (Orthogonal, {"gain": math.inf}, "init.gain"),
        (Xavier, {"distribution": "gaussian"}, "init.distribution"),
        (Kaiming, {"mode": "fan"}, "init.mode"),
        (Normal, {"std": -0.1}, "init.std"),
        (TruncatedNormal, {"std": 0.0}, "init.std"),
    ],
)
def test_values_out_of_range_name_their_key(cls, wrong, where):
    with pytest.raises(UserError) as caught:
        cls(**wrong)
    assert caught.value.where == where
