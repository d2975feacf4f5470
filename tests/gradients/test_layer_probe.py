"""Weights, updates and input gradients of layers, against plain autograd and NumPy."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradcli.gradients.layer_probe import (
    EARLY_UPDATES,
    LayerProbe,
    is_probed,
    one_parameter_each,
    zero_parameters,
)
from gradcli.gradients.layers import find_layers


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def probe_of(model, zero_at_start=frozenset()):
    return LayerProbe(model, find_layers(model), frozenset(zero_at_start))


def norms_of(model, *, loss_of, **scale):
    """The norms of the inputs' gradients that a probe records."""
    probe = probe_of(model)
    with probe:
        loss = loss_of(model)
        loss.backward()
        probe.hand_over(loss)
    probe.before_update()
    return probe.record(1, **scale).input_grad_norm


def input_gradient(model, inputs):
    """The gradient w.r.t. what the second layer is given, by plain autograd."""
    hidden = model[1](model[0](inputs)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model[2](hidden).square().sum(), hidden)
    return gradient


def square_loss(*inputs):
    return lambda model: sum(model(one).square().sum() for one in inputs)


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_norms_of_the_gradients_of_inputs(scale):
    model, inputs = net(), torch.randn(5, 4, requires_grad=True)
    first, second = norms_of(model, loss_of=square_loss(inputs), scale=scale)
    assert first == pytest.approx(inputs.grad.norm().item() / scale)
    assert second == pytest.approx(input_gradient(model, inputs).norm().item() / scale)


def test_inputs_without_gradients_have_no_norm():
    first, second = norms_of(net(), loss_of=square_loss(torch.randn(5, 4)))
    assert math.isnan(first)
    assert second > 0


def test_a_layer_called_several_times_has_the_norm_of_all_calls():
    model, inputs = net(), torch.randn(2, 5, 4)
    _, second = norms_of(model, loss_of=square_loss(*inputs))
    parts = [input_gradient(model, one).norm().item() for one in inputs]
    assert second == pytest.approx(math.hypot(*parts))


def test_one_tensor_given_to_a_layer_twice_counts_once():
    layer, inputs = nn.Linear(4, 2), torch.randn(5, 4, requires_grad=True)
    model = nn.Sequential(layer)
    (found,) = norms_of(model, loss_of=lambda _: (layer(inputs) + layer(inputs)).square().sum())
    assert found == pytest.approx(inputs.grad.norm().item())


class Summed(nn.Module):
    """Needs no values of its input for the backward pass, so that they may change."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs):
        return self.weight * inputs.sum()


def test_a_tensor_that_was_changed_in_between_counts_twice():
    def loss_of(model):
        value = torch.ones(5, requires_grad=True) * 1
        first = model(value)
        value.mul_(3)
        return first + model(value)

    (found,) = norms_of(Summed(), loss_of=loss_of)
    # Of 5 elements each: after the change 2, and before it 2 + 3 * 2.
    assert found == pytest.approx(math.sqrt(5 * 2**2 + 5 * 8**2))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_does_not_count_a_layer_twice(reentrant):
    model, inputs = net(), torch.randn(5, 4)

    def loss_of(model):
        hidden = model[1](model[0](inputs))
        return checkpoint(model[2], hidden, use_reentrant=reentrant).square().sum()

    _, second = norms_of(model, loss_of=loss_of)
    assert second == pytest.approx(input_gradient(model, inputs).norm().item())


def test_a_pass_whose_gradients_were_cleared_does_not_count():
    model, (old, inputs) = net(), torch.randn(2, 5, 4)

    def loss_of(model):
        square_loss(old)(model).backward()
        model.zero_grad()
        return square_loss(inputs)(model)

    _, second = norms_of(model, loss_of=loss_of)
    assert second == pytest.approx(input_gradient(model, inputs).norm().item())


def test_evaluations_without_gradients_are_not_watched():
    model, inputs = net(), torch.randn(5, 4)

    def loss_of(model):
        with torch.no_grad():
            model[2](torch.randn(5, 3, requires_grad=True))
        return square_loss(inputs)(model)

    _, second = norms_of(model, loss_of=loss_of)
    assert second == pytest.approx(input_gradient(model, inputs).norm().item())


class Odd(nn.Module):
    """Takes no tensor first."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, how=None, inputs=None):
        return self.weight * (1 if inputs is None else inputs)


@pytest.mark.parametrize("arguments", [(), ("how", torch.ones(3, requires_grad=True))])
def test_a_layer_that_takes_no_tensor_first_has_no_norm(arguments):
    (found,) = norms_of(Odd(), loss_of=lambda model: model(*arguments).sum())
    assert math.isnan(found)


def test_the_next_step_starts_anew():
    model, inputs = net(), torch.randn(5, 4)
    probe = probe_of(model)
    for train in (True, False):
        with probe:
            if train:
                square_loss(inputs)(model).backward()
                probe.hand_over(0.0)
        probe.before_update()
        found = probe.record(1).input_grad_norm[1]
        assert math.isfinite(found) is train


def test_nothing_is_left_on_the_model():
    model = net()
    with probe_of(model):
        assert all(model[at]._forward_pre_hooks for at in (0, 2))
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter._backward_hooks is None for parameter in model.parameters())
    square_loss(torch.randn(5, 4))(model).backward()
    twin = copy.deepcopy(model)
    assert not any(module._forward_pre_hooks for module in twin.modules())


# Weights and updates.


def moved(model, *, zero_at_start=(), change):
    """The record of an update that is made by hand."""
    probe = probe_of(model, zero_at_start)
    probe.before_update()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(change.get(name, 0.0))
    return probe.record(7)


def filled(model, **values):
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).fill_(value)
    return model


def linear():
    """A weight of norm 4 (4 elements of 2), a bias of norm sqrt(18)."""
    return filled(nn.Linear(2, 2), weight=2.0, bias=3.0)


def test_weights_are_those_before_the_update_and_the_ratio_is_of_all_of_a_layer():
    record = moved(linear(), change={"weight": 0.3, "bias": 0.4})
    assert record.step == 7
    assert record.weight_norm == pytest.approx([math.sqrt(4 * 4 + 2 * 9)])
    expected = math.sqrt((4 * 0.09 + 2 * 0.16) / (4 * 4 + 2 * 9))
    assert record.update_ratio == pytest.approx([expected], rel=1e-5)


def test_parameters_that_were_zero_at_the_start_are_in_the_norm_but_not_in_the_ratio():
    record = moved(linear(), zero_at_start=["bias"], change={"weight": 0.5, "bias": 5.0})
    assert record.weight_norm == pytest.approx([math.sqrt(34)])
    assert record.update_ratio == pytest.approx([0.25])


def test_frozen_parameters_are_in_the_norm_but_not_in_the_ratio():
    model = linear()
    model.weight.requires_grad_(False)
    record = moved(model, change={"weight": 5.0, "bias": 0.3})
    assert record.weight_norm == pytest.approx([math.sqrt(34)])
    assert record.update_ratio == pytest.approx([0.1], rel=1e-5)


def test_there_is_no_ratio_to_weights_of_zero():
    record = moved(filled(nn.Linear(2, 2), weight=0.0, bias=0.0), change={"weight": 1.0})
    assert record.weight_norm == (0.0,)
    assert math.isnan(record.update_ratio[0])


def test_small_weights_have_a_ratio():
    record = moved(filled(nn.Linear(2, 2), weight=0.1, bias=0.0), change={"weight": 0.05})
    assert record.update_ratio == pytest.approx([0.5])


def test_a_layer_that_stands_still_has_a_ratio_of_zero():
    record = moved(net(), change={"0.weight": 0.1})
    assert record.update_ratio[0] > 0
    assert record.update_ratio[1] == 0.0


# Which updates, and which parameters.


def test_probed_are_the_early_updates_and_every_nth():
    probed = [update for update in range(1, 40) if is_probed(update, 12)]
    assert probed == sorted(EARLY_UPDATES | {1, 13, 25, 37})
    assert [update for update in range(1, 6) if is_probed(update, 1)] == [1, 2, 3, 4, 5]
    assert not any(is_probed(update, 0) for update in range(1, 40))


def test_the_early_updates_are_the_first_ones_and_ever_further_apart():
    assert sorted(EARLY_UPDATES) == [1, 2, 3, 5, 10]


def test_zero_parameters_are_those_without_any_other_element():
    model = net()
    with torch.no_grad():
        model[0].bias.zero_()
        model[2].weight.zero_()[1, 1] = 1e-30
    assert zero_parameters(model) == {"0.bias"}


def test_the_smallest_trained_parameter_of_each_layer():
    small, large, other = (nn.Parameter(torch.ones(size)) for size in (2, 5, 3))
    groups = [[large, small], [], [other]]

    def chosen(held=None):
        return [parameter.numel() for parameter in one_parameter_each(groups, held)]

    assert chosen() == [2, 3]
    assert chosen(frozenset({id(large), id(other)})) == [5, 3]
    assert chosen(frozenset({id(small)})) == [2]
    assert chosen(frozenset()) == []
    small.requires_grad_(False)
    assert chosen() == [5, 3]
