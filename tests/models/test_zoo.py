"""The networks of torchvision and timm: fitted to the data, and otherwise the library's own."""

import json
import sys

import pytest
import torch
from torch import nn

from gradcli.config import compose_train
from gradcli.errors import UserError
from gradcli.extras.torchvision_import import import_torchvision
from gradcli.models import Default, TimmModel, TorchvisionModel, build_model
from gradcli.shorthands import expand_zoo


def build(name, channels=1, model_class=TorchvisionModel, seed=0):
    return build_model(
        model_class,
        {"name": name},
        activation=nn.ReLU,
        initialisation=Default(),
        input_shape=(channels, 32, 32),
        classes=7,
        seed=seed,
    )


def test_it_is_torchvisions_network_where_nothing_has_to_be_fitted():
    model = build("resnet18", channels=3).eval()
    own = import_torchvision("models").resnet18(num_classes=7)
    own.load_state_dict(model.network.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), own.eval()(images))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_only_the_first_convolution_is_fitted_to_the_channels(name, channels):
    fitted, of_colours = build(name, channels), build(name, 3)
    shapes, others = (
        {key: tuple(value.shape) for key, value in one.state_dict().items()}
        for one in (fitted, of_colours)
    )
    assert shapes.keys() == others.keys()
    ((key, shape),) = [(key, shape) for key, shape in shapes.items() if shape != others[key]]
    assert shape == (others[key][0], channels, *others[key][2:])
    first = next(one for one in fitted.modules() if isinstance(one, nn.Conv2d))
    plain = next(one for one in of_colours.modules() if isinstance(one, nn.Conv2d))
    assert (first.stride, first.padding) == (plain.stride, plain.padding)
    assert (first.bias is None) == (plain.bias is None)


def test_nothing_works_in_place_and_the_seed_alone_decides():
    model = build("resnet18")
    assert not any(getattr(one, "inplace", False) for one in model.modules())
    again, other = build("resnet18"), build("resnet18", seed=1)
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(model.network.conv1.weight, other.network.conv1.weight)


def test_a_second_output_is_left_out():
    model = build("googlenet").train()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_an_unknown_network_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="torchvision has no network named 'resnet81'") as caught:
        build("resnet81")
    assert caught.value.choices[0] == "model=torchvision.resnet18"


def test_what_is_no_image_is_refused():
    with pytest.raises(UserError, match="resnet18 reads images"):
        TorchvisionModel(input_shape=(1, 40), classes=2, name="resnet18")


def test_images_that_are_too_small_are_refused_in_words():
    with pytest.raises(UserError, match=r"torchvision\.alexnet .* 32 x 32 pixels") as caught:
        build("alexnet")
    assert caught.value.where == "model"
    assert "model=resnet" in caught.value.hint
    assert "data.size=[224,224]" in caught.value.hint


@pytest.mark.parametrize("model_class", [TorchvisionModel, TimmModel])
def test_a_network_must_be_named(model_class):
    with pytest.raises(UserError, match="one must be named") as caught:
        build(None, model_class=model_class)
    assert caught.value.hint == f"model={model_class.library}.resnet18"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("model=torchvison.resnet18", "model=torchvision.resnet18"),
        ("model=tim.vit_tiny", "model=timm.vit_tiny"),
        ("model=resnett", "model=resnet"),
    ],
)
def test_a_misspelt_library_keeps_its_network(word, hint):
    with pytest.raises(UserError, match="has no option") as caught:
        compose_train([word])
    assert caught.value.hint == hint


def test_without_timm_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="This model needs timm") as caught:
        build("resnet18", model_class=TimmModel)
    assert caught.value.hint == "pip install 'gradcli[timm]'"


def test_timm_fits_its_networks_itself():
    pytest.importorskip("timm")
    model = build("resnet18", channels=2, model_class=TimmModel)
    assert model(torch.zeros(2, 2, 32, 32)).shape == (2, 7)
    with pytest.raises(UserError, match="timm has no network"):
        build("resnet18_of_mine", model_class=TimmModel)


@pytest.mark.parametrize(
    ("words", "expanded"),
    [
        (["model=torchvision.resnet18"], ["model=torchvision", "model.name=resnet18"]),
        (["lr=1", "model=timm.a.b_c"], ["lr=1", "model=timm", "model.name=a.b_c"]),
        (["model=mlp", "data=mnist5k"], ["model=mlp", "data=mnist5k"]),
        (["model=timm"], ["model=timm"]),
        (["model=my.own"], ["model=my.own"]),
        (["name=torchvision.x"], ["name=torchvision.x"]),
    ],
)
def test_a_word_chooses_library_and_network(words, expanded):
    assert expand_zoo(words) == expanded


def test_a_run_is_named_after_the_network_and_can_be_resumed(gradcli, runs_dir):
    words = ("data=mnist5k", "model=torchvision.squeezenet1_1", "max_steps=2", "batch_size=8")
    assert gradcli("train", *words, "device=cpu", "-q").code == 0
    listed = json.loads(gradcli("runs", "list", "--json").out)
    assert [one["model"] for one in listed["runs"]] == ["torchvision.squeezenet1_1"]
    resumed = gradcli("train", "--resume", "latest", "-q")
    assert "finished" in resumed.out + resumed.err
