"""What each parameter is to a network: input, hidden, output or vector."""

import pytest
import torch
from torch import nn

from gradcli.config import compose_train
from gradcli.config.parameter_groups import ROLES
from gradcli.data import load_dataset
from gradcli.optim.roles import roles
from gradcli.workflows.building import build_trainer


def of(model, role):
    return [name for name, its in roles(model).items() if its == role]


class Attending(nn.Module):
    """A transformer as torchvision writes it: tokens and tables are parameters of containers."""

    def __init__(self, outputs=10):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.table = nn.Parameter(torch.zeros(1, 50, 8))
        self.attention = nn.MultiheadAttention(8, 2)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.head = nn.Linear(8, outputs)


def test_the_first_weight_reads_and_the_last_one_answers():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3))
    assert of(model, "input") == ["0.weight"]
    assert of(model, "hidden") == ["2.weight"]
    assert of(model, "output") == ["3.weight"]
    assert of(model, "vector") == ["0.bias", "1.weight", "1.bias", "2.bias", "3.bias"]


def test_tokens_tables_and_scales_are_vectors():
    model = Attending()
    assert of(model, "input") == ["patches.weight"]
    assert of(model, "hidden") == ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert {"token", "table", "scale"} <= {*of(model, "vector")}


def test_a_single_output_or_input_is_a_weight_all_the_same():
    assert of(Attending(outputs=1), "output") == ["head.weight"]
    model = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 8), nn.Linear(8, 1))
    assert [of(model, role) for role in ROLES[:3]] == [["0.weight"], ["1.weight"], ["2.weight"]]


def test_every_embedding_is_an_input_even_as_the_weight_of_the_output():
    model = nn.ModuleDict({"words": nn.Embedding(9, 4), "places": nn.Embedding(5, 4)})
    model["hidden"], model["output"] = nn.Linear(4, 4), nn.Linear(4, 9, bias=False)
    assert of(model, "input") == ["words.weight", "places.weight"]
    assert of(model, "output") == ["output.weight"]
    model["output"].weight = model["words"].weight
    assert of(model, "input") == ["words.weight", "places.weight"]
    assert (of(model, "hidden"), of(model, "output")) == (["hidden.weight"], [])


def test_frozen_layers_keep_their_role():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    model[0].requires_grad_(False)
    assert of(model, "hidden") == ["1.weight"]


def test_a_model_of_one_layer_has_only_an_output_and_one_without_weights_nothing():
    assert roles(nn.Linear(4, 2)) == {"weight": "output", "bias": "vector"}
    assert roles(nn.LayerNorm(4)) == {"weight": "vector", "bias": "vector"}


@pytest.mark.parametrize(
    ("option", "inputs", "outputs", "hidden"),
    [
        ("mlp", ["hidden1.weight"], ["output.weight"], 1),
        ("deep_mlp", ["hidden1.weight"], ["output.weight"], 19),
        ("cnn", ["conv1.weight"], ["output.weight"], 2),
        ("cnn_2c2d", ["conv1.weight"], ["output.weight"], 2),
        ("rnn", ["rnn.weight_ih_l0"], ["output.weight"], 2),
        ("resnet", ["conv.weight"], ["output.weight"], None),
        ("vit", ["patches.weight", "positions.weight"], ["output.weight"], None),
        ("logreg", [], ["output.weight"], 0),
        ("torchvision.resnet18", ["network.conv1.weight"], ["network.fc.weight"], None),
    ],
)
def test_the_shipped_models_have_them_where_they_should(option, inputs, outputs, hidden):
    composed = compose_train([f"model={option}", "data=mnist5k"])
    model = build_trainer(composed, load_dataset("mnist5k")).model
    assert of(model, "input") == inputs
    assert of(model, "output") == outputs
    matrices = [name for name, p in model.named_parameters() if p.ndim > 1]
    assert of(model, "hidden") == [one for one in matrices if one not in (*inputs, *outputs)]
    assert hidden in (None, len(of(model, "hidden")))
