"""Autograd against differences: right models pass, a planted wrong derivative is named."""

import pytest
import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.gradients.layers import find_layers
from gradcli.models import CNN, Kaiming, build_model
from gradcli.probes.check import CHECK
from gradcli.probes.measuring.finite_differences import (
    TOLERANCE,
    Agreement,
    GradientCheck,
    check_gradients,
)


class Square(torch.autograd.Function):
    """x^2 with a derivative of `factor` times the right one."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return ctx.factor * 2 * x * gradient, None


class Custom(nn.Module):
    """An activation of the user's own."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return Square.apply(x, self.factor)


class CustomLinear(nn.Module):
    """A layer of the user's own, whose bias has a wrong derivative."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 10, bias=False)
        self.bias = nn.Parameter(torch.full((10,), 0.5))

    def forward(self, x):
        return self.linear(x) + Square.apply(self.bias, 1.1)


def stack(custom):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 10), nn.Tanh(), nn.Linear(10, 10), custom, nn.Linear(10, 5)
    )


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mlp", {"hidden": [12, 8], "activation": nn.ReLU, "norm": "batch", "dropout": 0.2}),
        ("mlp", {"hidden": [12, 8], "activation": nn.GELU, "norm": "layer"}),
        ("rnn", {"hidden": 6, "cell": "lstm", "layers": 2}),
        ("rnn", {"hidden": 6, "cell": "relu"}),
    ],
)
def test_right_derivatives_agree_in_every_layer(make, batch, kind, settings):
    model = make(kind, **settings)
    found = check_gradients(model, *batch(6))
    assert found.wrong == ()
    assert [layer.name for layer in found.layers] == [layer.name for layer in find_layers(model)]
    for place in (*found.layers, *found.modules):
        assert place.relative_error < TOLERANCE or place.derivative < 1e-6, place
    assert all(layer.resolved for layer in found.layers)


def test_kinks_and_ties_raise_no_alarm(batch):
    # Zero biases under blank borders sit on ReLU's kink and in max-pooling's ties.
    model = build_model(
        CNN,
        {"channels": [3, 4], "kernel_size": 3, "hidden": 8},
        activation=nn.ReLU,
        initialisation=Kaiming(),
        input_shape=(1, 8, 8),
        classes=5,
        seed=0,
    )
    images, labels = batch(6)
    images[:, :, :4] = 0.0
    assert check_gradients(model, images, labels).wrong == ()


@pytest.mark.parametrize("factor", [1.02, 0.0, -1.0])
def test_a_custom_module_with_a_wrong_derivative_is_named(batch, factor):
    found = check_gradients(stack(Custom(factor)), *batch(8))
    assert found.wrong == ("4",)
    agrees = {layer.name: layer.agrees for layer in found.layers}
    assert agrees == {"1": False, "3": False, "5": True}  # the error spreads toward the input
    error = {module.name: module.relative_error for module in found.modules}["4"]
    assert error == pytest.approx(abs(factor - 1) / max(abs(factor), 1), rel=1e-3)


def test_a_custom_module_with_a_right_derivative_is_not(batch):
    assert check_gradients(stack(Custom(1.0)), *batch(8)).wrong == ()


def test_a_wrong_derivative_of_a_layers_own_parameter_is_named(batch):
    found = check_gradients(stack(CustomLinear()), *batch(8))
    assert found.wrong == ("4",)
    assert all(module.agrees for module in found.modules)


def test_a_wrong_function_between_modules_is_placed_after_the_last_layer_it_spoils(batch):
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 10), nn.Linear(10, 10)
            self.output = nn.Linear(10, 5)

        def forward(self, images):
            signal = torch.tanh(self.second(torch.tanh(self.first(images.flatten(1)))))
            return self.output(Square.apply(signal, 0.7))

    torch.manual_seed(0)
    assert check_gradients(Between(), *batch(8)).wrong == ("second",)


def test_a_gradient_below_rounding_is_reported_as_unresolved(make, batch):
    model = make("mlp", hidden=[8] * 14, activation=nn.Sigmoid)
    found = check_gradients(model, *batch(4))
    assert found.wrong == ()
    assert not found.layers[0].resolved
    assert found.layers[-1].resolved


def test_frozen_layers_are_not_checked_and_a_float32_model_is_refused(make, batch):
    model = make("mlp", hidden=[4])
    model.hidden1.requires_grad_(False)
    found = check_gradients(model, *batch(4))
    assert [layer.name for layer in found.layers] == ["output"]

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(64, 5)

        def forward(self, images):
            return self.output(images.flatten(1).float())

    with pytest.raises(UserError, match="float64"):
        check_gradients(Single(), *batch(4))


# As sentences --------------------------------------------------------------------------


def test_check_names_what_is_wrong_and_what_cannot_be_checked():
    right, wrong = Agreement("a", 1e-8, 1.0, 1e-9), Agreement("b", 0.5, 1.0, 1e-9)
    drowned = Agreement("c", 0.5, 1e-12, 1e-9)
    both = GradientCheck((right, wrong), (right, wrong))
    assert CHECK.sentences(both, 128) == [
        "autograd is wrong in b: it differs from central differences by 50%"
    ]
    assert CHECK.summary(both).value == 0.5
    text = CHECK.sentences(GradientCheck((right, drowned), (right,)), 128)
    assert "agrees with central differences in 2 layers, to 1e-08 or better" in text[0]
    assert text[1] == "the gradient is too small to check in c"
