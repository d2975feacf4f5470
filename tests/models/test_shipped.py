"""The options of configs/model, activation and init: they build, and are what they promise."""

import functools
import pydoc
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from gradcli.models import GPT, build_model

CONFIGS = Path(__file__).parents[2] / "configs"

#: tests/models/test_zoo.py builds it, where timm is installed.
OF_AN_EXTRA = "timm"
#: One of the networks of an option that has many.
NAMED = {"torchvision": {"name": "squeezenet1_1"}}


def options(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def option(group, name):
    """The class that an option names, with its keyword arguments bound."""
    config = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    config.pop("search", None)  # the ranges of a search
    named = NAMED.get(name, {}) if group == "model" else {}
    return functools.partial(pydoc.locate(config.pop("_target_")), **config | named)


def build(model="mlp", activation="relu", init="default"):
    chosen = option("model", model)
    of_tokens = {"input_shape": (16,), "input_type": torch.int64, "per_position": True}
    of_images = {"input_shape": (1, 28, 28)}
    return build_model(
        chosen.func,
        chosen.keywords,
        activation=option("activation", activation),
        initialisation=option("init", init)(),
        classes=10,
        seed=0,
        **(of_tokens if model == "charlm" else of_images),
    )


def gradient_norms(model):
    """The norm of each layer's weight gradient on random examples, first layer to last."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(model, GPT):
        tokens = torch.randint(10, (64, 17), generator=generator)
        outputs, targets = model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
    else:
        images = torch.randn(64, 1, 28, 28, generator=generator)
        outputs, targets = model(images), torch.arange(64) % 10
    F.cross_entropy(outputs, targets).backward()
    return [p.grad.norm().item() for name, p in model.named_parameters() if "weight" in name]


def test_the_groups_ship_what_is_promised():
    models = "charlm cnn cnn_2c2d deep_mlp logreg mlp resnet rnn timm torchvision vit"
    assert options("model") == models.split(" ")
    activations = "elu gelu identity leaky_relu relu sigmoid silu softplus tanh"
    assert options("activation") == activations.split(" ")
    inits = "default kaiming normal orthogonal truncated_normal xavier zeros"
    assert options("init") == inits.split(" ")


@pytest.mark.parametrize(
    "choice",
    [
        {group: name}
        for group in ("model", "activation", "init")
        for name in options(group)
        if name != OF_AN_EXTRA
    ],
    ids=lambda choice: "-".join(*choice.items()),
)
def test_every_option_builds_a_model_with_gradients(choice):
    if choice == {"init": "zeros"}:  # of a model with hidden layers, nothing would reach these
        choice = {**choice, "model": "logreg"}
    assert all(norm > 0 for norm in gradient_norms(build(**choice)))


def test_the_deep_mlp_vanishes_with_sigmoid_and_not_with_relu_and_kaiming():
    vanishing = gradient_norms(build("deep_mlp", activation="sigmoid"))
    assert len(vanishing) == 21
    assert vanishing[0] < 1e-9 * vanishing[-1]
    healthy = gradient_norms(build("deep_mlp", activation="relu", init="kaiming"))
    assert max(healthy) < 30 * min(healthy)
