"""The first non-finite value of a step of `gradcli train`, found by repeating the step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients
from gradcli.models import CNN, MLP
from gradcli.tracing.non_finite import (
    locate_fault,
    may_be_random,
    nearest_the_loss,
    number_passes,
)

IMAGES = {"input_shape": (1, 6, 6), "classes": 3, "activation": nn.ReLU}
LABELS = torch.tensor([0, 1, 2, 1])


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, signal):
        return self.function(signal)


def net(function):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 5), Apply(function), nn.Linear(5, 3))


def located(model, inputs, **options):
    """Make a pass as training does, and locate its fault."""
    gradients = Gradients(model, find_layers(model))
    state = torch.get_rng_state()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in options):
        outputs = model(inputs)
    loss = F.cross_entropy(outputs.float(), LABELS)
    loss.backward()
    norms = gradients.norms()
    assert not math.isfinite(sum((float(norm) for norm in norms), loss.item()))
    torch.rand(50)
    return locate_fault(model, inputs, LABELS, norms, random_state=state, **options)


def inputs():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def test_a_forward_fault_is_found_with_its_operation():
    place = located(net(torch.log), inputs())
    assert (place.phase, place.layer, place.operation) == ("forward", "1", "log")
    assert place.cause.startswith("the logarithm of a negative number")
    assert place.unsure == ""


def test_a_backward_fault_is_found_where_autograd_made_it():
    """Not in the layer nearest the output whose gradient it reached."""
    place = located(net(lambda x: x + (x - x.detach()).abs().sqrt()), inputs())
    assert (place.phase, place.layer, place.operation) == ("backward", "1", "SqrtBackward0")


def test_broken_inputs_and_weights_are_named_as_such():
    given = inputs()
    given[1, 2] = math.inf
    place = located(net(torch.tanh), given)
    assert (place.phase, place.layer, place.tensor) == ("inputs", None, "input")
    model = net(torch.tanh)
    model[2].bias.data[1] = math.nan
    place = located(model, inputs())
    assert (place.phase, place.layer, place.tensor) == ("parameters", "2", "2.bias")


def test_a_loss_without_a_finite_value_is_the_loss():
    model = net(lambda x: 0 * x)
    model[2].bias.data.copy_(torch.tensor([3e38, -3e38, -3e38]))
    place = located(model, inputs())
    assert place.phase == "loss"
    assert "3e+38" in place.cause


def test_dropout_is_repeated_with_the_random_state_of_the_step():
    """Only some masks drop everything, which the logarithm does not survive."""
    model = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), Apply(lambda x: torch.log(x.abs())))
    for seed in range(5):
        torch.manual_seed(seed)
        place = located(model, inputs())
        assert (place.phase, place.layer, place.operation) == ("forward", "2", "log")
        assert place.cause == "the logarithm of 0"


def test_the_pass_is_repeated_under_its_autocast():
    """The sum is finite in float32, and even in bfloat16: only its rounding overflows."""
    model = net(lambda x: x * 0 + 3.39e38)
    model[2].weight.data.fill_(0.0)
    model[1].function = lambda x: (x.float() * 0 + 3.4e38).to(x.dtype)
    place = located(model, inputs(), autocast=torch.bfloat16)
    assert (place.phase, place.layer) == ("forward", "1")
    assert "bfloat16" in place.cause


def test_only_models_with_random_parts_may_be_random():
    assert not may_be_random(MLP(**IMAGES, hidden=[4]))
    assert not may_be_random(CNN(**IMAGES))
    assert may_be_random(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
    assert may_be_random(nn.LSTM(2, 2, num_layers=2, dropout=0.1))
    assert not may_be_random(nn.LSTM(2, 2))
    assert may_be_random(Apply(torch.tanh)), "nobody knows what a module of the user's draws"


@pytest.mark.parametrize(
    ("modules", "numbers", "passes"),
    [
        ([7], [1], 1),
        ([7, 7, 7], [1, 2, 3], 3),
        ([1, 2, 3, 1, 2, 3], [1, 1, 1, 2, 2, 2], 2),
        ([1, 2, 3], [1, 1, 1], 1),
    ],
)
def test_calls_of_modules_are_numbered_by_pass(modules, numbers, passes):
    assert number_passes(modules) == (numbers, passes)


def test_the_layer_nearest_the_loss_is_that_by_the_order_of_calls():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body, self.stem = (nn.Linear(2, 2) for _ in range(3))

    layers = find_layers(Backwards())
    broken = frozenset({"body.weight", "stem.bias"})
    place = nearest_the_loss(layers, broken, ("stem", "body", "head"))
    assert (place.layer, place.after, place.before) == ("body", "head", "body")
    place = nearest_the_loss(layers, broken)
    assert (place.layer, place.after) == ("stem", "the loss")
