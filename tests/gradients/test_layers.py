"""A model's layers: the modules that own parameters."""

import torch
from torch import nn

from gradcli.gradients.layers import find_layers, layer_module, layer_parameters
from gradcli.records import LayerInfo, ParameterInfo


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.stem = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2))
        self.tied = nn.Linear(3, 2)
        self.tied.weight = self.stem[0].weight
        self.same = self.stem


def test_layers_are_described_in_the_order_of_their_modules():
    assert find_layers(Nested()) == (
        LayerInfo("(model)", "Nested", 0, (ParameterInfo("scale", (1,)),)),
        LayerInfo(
            "stem.0",
            "Linear",
            1,
            (ParameterInfo("stem.0.weight", (2, 3)), ParameterInfo("stem.0.bias", (2,))),
        ),
        LayerInfo(
            "stem.2",
            "BatchNorm1d",
            2,
            (ParameterInfo("stem.2.weight", (2,)), ParameterInfo("stem.2.bias", (2,))),
        ),
        LayerInfo("tied", "Linear", 3, (ParameterInfo("tied.bias", (2,)),)),
    )


def test_a_model_without_parameters_has_no_layers():
    assert find_layers(nn.Sequential(nn.ReLU())) == ()


def test_modules_and_parameters_are_found_again():
    model = Nested()
    layers = find_layers(model)
    modules = [layer_module(model, layer) for layer in layers]
    assert modules == [model, model.stem[0], model.stem[2], model.tied]
    found = layer_parameters(model, layers)
    expected = [model.scale, *model.stem[0].parameters(), *model.stem[2].parameters()]
    assert [id(one) for one in found] == [id(one) for one in [*expected, model.tied.bias]]
    (second, *_) = layer_parameters(model, layers[1:])
    assert second is model.stem[0].weight
