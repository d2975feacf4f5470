"""Weights laid out by input: the same weights, otherwise ordered in memory."""

from __future__ import annotations

import torch
from torch import nn

from gradcli.models import MLP, Default, build_model, lay_out_by_input


def build() -> nn.Module:
    return build_model(
        MLP,
        {"hidden": [256, 128]},
        activation=nn.ReLU,
        initialisation=Default(),
        input_shape=(1, 28, 28),
        classes=10,
        seed=0,
    )


def strides(model):
    return {name: parameter.stride() for name, parameter in model.named_parameters()}


def test_large_weights_of_linear_layers_are_turned_and_nothing_else_changes():
    model, twin = build(), build()
    before = dict(model.named_parameters())
    lay_out_by_input(model)
    turned = [name for name, stride in strides(model).items() if stride != strides(twin)[name]]
    assert turned == ["hidden1.weight"]
    assert strides(model)["hidden1.weight"] == (1, 256)
    for name, parameter in model.named_parameters():
        assert parameter is before[name]
        assert torch.equal(parameter, dict(twin.named_parameters())[name])


def test_turning_twice_is_turning_once():
    model = build()
    lay_out_by_input(model)
    once = strides(model)
    lay_out_by_input(model)
    assert strides(model) == once


def test_a_model_of_another_package_is_left_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256))
    lay_out_by_input(model)
    assert model[1].weight.is_contiguous()


def test_outputs_and_gradients_are_the_same_to_rounding():
    model, twin = build(), build()
    lay_out_by_input(model)
    images = torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    for one in (model, twin):
        one(images).square().sum().backward()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert one.grad.stride() == one.stride()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)
