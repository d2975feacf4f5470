"""What modules and optimizers tell of themselves."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcli.gradients.layers import find_layers, layer_parameters
from gradcli.gradients.set_up import (
    depends_on_mode,
    has_identical_units,
    has_unmade_statistics,
    largest_dropout,
    parameter_groups,
    replaced_layers,
    weight_gain,
)

# Modes.


class FrozenBatchNorm2d(nn.Module):
    """As torchvision has it."""

    running_mean = torch.zeros(2)


class FastBatchNorm(nn.Module):
    def __init__(self, running_mean):
        super().__init__()
        self.running_mean = running_mean


class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob


class StochasticDepth(nn.Module):
    def __init__(self, prob):
        super().__init__()
        self.prob = prob


class FeatureDropout(nn.Module):
    """Without a probability that anybody could look at."""


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.BatchNorm1d(2), True),
        (nn.BatchNorm2d(2, track_running_stats=False), False),
        (nn.InstanceNorm1d(2), False),
        (nn.InstanceNorm1d(2, track_running_stats=True), True),
        (FrozenBatchNorm2d(), False),
        (FastBatchNorm(torch.zeros(2)), True),
        (FastBatchNorm(None), False),
        (nn.LayerNorm(2), False),
        (nn.Dropout(0.1), True),
        (nn.Dropout(0.0), False),
        (nn.AlphaDropout(0.0), False),
        (DropPath(0.2), True),
        (DropPath(0.0), False),
        (StochasticDepth(0.2), True),
        (StochasticDepth(0), False),
        (FeatureDropout(), True),
        (nn.RReLU(), True),
        (nn.ReLU(), False),
        (nn.LSTM(2, 2, num_layers=2, dropout=0.1), True),
        (nn.LSTM(2, 2), False),
        (nn.MultiheadAttention(2, 1, dropout=0.1), True),
        (nn.MultiheadAttention(2, 1), False),
        (nn.Sequential(nn.Dropout(0.5)), False),
    ],
)
def test_which_modules_depend_on_their_mode(module, expected):
    assert depends_on_mode(module) is expected


def test_the_largest_dropout_is_that_of_a_module_in_training_mode():
    model = nn.Sequential(nn.Dropout(0.9), nn.Dropout(0.2), DropPath(0.4), nn.Dropout(0.3))
    model[0].eval()
    assert largest_dropout(model) == ("2", 0.4)
    model[2].eval()
    assert largest_dropout(model) == ("3", 0.3)
    assert largest_dropout(model.eval()) == ("", 0.0)


def test_the_first_of_equal_dropouts_is_named():
    assert largest_dropout(nn.Sequential(nn.Dropout(0.2), nn.Dropout(0.2))) == ("0", 0.2)


def test_what_is_no_share_of_dropout_is_not_taken_for_one():
    class Powers(nn.Module):
        p = 0.5  # the exponent of a norm

    class HalfDropPath(DropPath):
        p = "half"

    assert largest_dropout(Powers()) == ("", 0.0)
    assert largest_dropout(HalfDropPath(0.25)) == ("", 0.25)


# Weights.


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda: nn.Linear(50, 40), 50),
        (lambda: nn.Conv2d(3, 8, 5), 75),
        (lambda: nn.Conv1d(16, 32, 3, groups=2), 24),
        (lambda: nn.GRUCell(30, 20), 20),
    ],
)
def test_the_gain_is_rms_times_the_root_of_fan_in(make, fan_in):
    module = make()
    weight = module.weight_hh if isinstance(module, nn.GRUCell) else module.weight
    values = weight.detach().numpy().astype(np.float64)
    expected = math.sqrt(np.square(values).mean() * fan_in)
    assert weight_gain(module) == pytest.approx(expected)
    # PyTorch draws uniformly between -1/sqrt(fan_in) and 1/sqrt(fan_in).
    assert expected == pytest.approx(1 / math.sqrt(3), rel=0.06)


def test_the_gain_of_a_recurrent_layer_is_the_largest_of_its_hidden_weights():
    layer = nn.RNN(3, 2, num_layers=2)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            weight.fill_(9.0 if "ih" in name else 1.0)
        layer.weight_hh_l1.copy_(3.0 * torch.eye(2))
        assert weight_gain(layer) == pytest.approx(3.0)
        layer.weight_hh_l0.copy_(4.0 * torch.eye(2))
    assert weight_gain(layer) == pytest.approx(4.0)


@pytest.mark.parametrize("module", [nn.Embedding(5, 3), nn.LayerNorm(3), nn.ReLU()])
def test_layers_that_multiply_no_signal_have_no_gain(module):
    assert math.isnan(weight_gain(module))


def test_a_weight_that_is_a_vector_has_no_gain_and_no_units():
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.ones(3))
    assert math.isnan(weight_gain(layer))
    assert not has_identical_units(layer)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: nn.Linear(3, 2), True),
        (lambda: nn.Conv2d(1, 4, 3), True),
        (lambda: nn.Linear(3, 1), False),  # a single unit is like no other
        (lambda: nn.Embedding(4, 3), False),
        (lambda: nn.ReLU(), False),
    ],
)
def test_units_of_equal_weights_are_identical(make, expected):
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.5)
    assert has_identical_units(module) is expected


# Statistics.


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda norm: None, True),
        (lambda norm: norm.running_mean[1].add_(0.1), False),
        (lambda norm: norm.running_var[0].mul_(0.5), False),
        (lambda norm: norm.running_var.zero_(), False),
    ],
)
def test_statistics_are_unmade_while_the_mean_is_0_and_the_variance_1(change, expected):
    norm = nn.BatchNorm1d(3)
    change(norm)
    assert has_unmade_statistics(norm) is expected


@pytest.mark.parametrize("module", [nn.BatchNorm1d(3, track_running_stats=False), nn.ReLU()])
def test_modules_without_statistics_have_no_unmade_ones(module):
    assert not has_unmade_statistics(module)


def test_a_mean_alone_is_no_statistics():
    assert not has_unmade_statistics(FastBatchNorm(torch.zeros(2)))


# Parameter groups.


def group_of(optimizer, parameters):
    (group,) = parameter_groups(optimizer, parameters)
    return group


class Plain:
    """An optimizer of somebody's own."""

    def __init__(self, *groups):
        self.param_groups = groups


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lr": 0.1, "momentum": 0.9, "alpha": 0.8}, (0.1, math.nan, 0.9, 0.8, math.nan)),
        ({"betas": (0.7, 0.6), "momentum": 0.9}, (math.nan, math.nan, 0.7, 0.6, math.nan)),
        ({"betas": [0.7, 0.6, 0.5], "eps": 1}, (math.nan, math.nan, 0.7, 0.6, 1.0)),
        ({"betas": (0.7,), "momentum": 0.9}, (math.nan, math.nan, 0.9, math.nan, math.nan)),
        ({"betas": 0.7, "weight_decay": 0.2}, (math.nan, 0.2, math.nan, math.nan, math.nan)),
        ({"lr": torch.tensor([0.5])}, (0.5, *[math.nan] * 4)),
        ({"lr": torch.ones(2), "momentum": True, "eps": "small"}, (math.nan,) * 5),
    ],
)
def test_settings_are_read_as_numbers_where_they_are_some(settings, expected):
    parameter = nn.Parameter(torch.ones(1))
    group = group_of(Plain({"params": [parameter], **settings}), [parameter])
    assert group.parameters == (0,)
    found = (group.learning_rate, group.weight_decay, group.momentum, group.second_momentum)
    assert (*found, group.epsilon) == pytest.approx(expected, nan_ok=True)


class Lion(Plain):
    pass


class MyAdamW(torch.optim.AdamW):
    pass


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (torch.optim.Adam, False),
        (torch.optim.AdamW, True),
        (MyAdamW, True),
        (lambda p: torch.optim.NAdam(p, decoupled_weight_decay=True), True),
        (lambda p: torch.optim.NAdam(p), False),
        (lambda p: Lion({"params": p}), True),
        (lambda p: Plain({"params": p, "weight_decouple": True}), True),
        (lambda p: Lion({"params": p, "weight_decouple": False}), False),
        (lambda p: Plain({"params": p}), False),
    ],
)
def test_which_optimizers_shrink_weights_directly(make, expected):
    parameters = [nn.Parameter(torch.ones(1))]
    assert group_of(make(parameters), parameters).decoupled is expected


def test_a_momentum_that_is_the_weight_of_a_mean_is_none_that_adds_up():
    parameters = [nn.Parameter(torch.ones(1))]
    made = type("Muon", (Plain,), {})({"params": parameters, "momentum": 0.95})
    assert math.isnan(group_of(made, parameters).momentum)
    summing = torch.optim.SGD(parameters, momentum=0.95)
    assert group_of(summing, parameters).momentum == 0.95


def test_groups_name_parameters_by_their_place_and_leave_out_others():
    parameters = [nn.Parameter(torch.ones(1)) for _ in range(4)]
    groups = [{"params": [parameters[3], nn.Parameter(torch.ones(1)), parameters[1]]}]
    groups.append({"params": [parameters[0]]})
    found = parameter_groups(Plain(*groups), parameters)
    assert [group.parameters for group in found] == [(3, 1), (0,)]
    assert parameter_groups(object(), parameters) == ()


# Layers that were replaced.


def replaced(model, change, held=lambda model: []):
    """Which layers are, after a change to a model that an optimizer was made for."""
    layers = find_layers(model)
    parameters = layer_parameters(model, layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    change(model)
    for parameter in held(model):
        optimizer.add_param_group({"params": [parameter]})
    return replaced_layers(model, layers, parameters, optimizer)


def net():
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(2, 2))


def set_layer(index, trained=True):
    def change(model):
        model[index] = nn.Linear(3, 3).requires_grad_(trained)

    return change


def set_bias(model):
    model[1].bias = nn.Parameter(torch.ones(2))


def remove_last(model):
    model[2] = nn.Identity()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda model: None, ()),
        (set_layer(0), (0,)),
        (set_layer(2), (2,)),
        (set_layer(2, trained=False), ()),
        (set_bias, (1,)),
        (remove_last, ()),
    ],
)
def test_layers_with_parameters_that_nobody_updates_are_replaced(change, expected):
    assert replaced(net(), change) == expected


def test_new_parameters_that_the_optimizer_was_given_are_updated():
    assert replaced(net(), set_bias, held=lambda model: [model[1].bias]) == ()
    one_of_two = replaced(net(), set_layer(1), held=lambda model: [model[1].bias])
    assert one_of_two == (1,)


def test_an_optimizer_without_groups_holds_nothing():
    model = net()
    layers = find_layers(model)
    parameters = layer_parameters(model, layers)
    assert replaced_layers(model, layers, parameters, object()) == ()
    set_bias(model)
    assert replaced_layers(model, layers, parameters, object()) == (1,)
