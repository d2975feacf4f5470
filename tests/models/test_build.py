"""`build_model`: any class, any choice, and weights that depend on the seed alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.models import CNN, MLP, RNN, Default, Kaiming, LogisticRegression, Orthogonal
from gradcli.models.build import build_model

ACTIVATIONS = [
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
    nn.PReLU,
]


def build(model_class=MLP, activation=nn.ReLU, initialisation=None, seed=0, **kwargs):
    return build_model(
        model_class,
        kwargs,
        activation=activation,
        initialisation=initialisation or Default(),
        input_shape=(1, 8, 8),
        classes=3,
        seed=seed,
    )


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


class OwnNetwork(nn.Module):
    """A user's network: no argument of ours, a lazy layer, dropout."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Dropout())
        self.head = nn.Linear(width, 3)

    def forward(self, images):
        return self.head(self.body(images))


class Failing(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        raise ValueError("no such luck")


class InPlace(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(inplace=True))


class TuplesOut(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(start_dim=2), nn.RNN(64, 3))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("initialisation", [Default(), Kaiming(), Orthogonal()])
@pytest.mark.parametrize("model_class", [MLP, CNN, RNN, LogisticRegression])
def test_any_activation_and_any_initialisation_in_any_model(
    model_class, activation, initialisation
):
    model = build(model_class, activation, initialisation)
    assert model.training
    assert weights(model).isfinite().all()
    assert all(p.requires_grad and p.is_leaf and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("model_class", [MLP, CNN, RNN, LogisticRegression, OwnNetwork])
def test_weights_depend_on_the_seed_and_on_nothing_else(model_class):
    first = weights(build(model_class, initialisation=Kaiming()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        state = torch.get_rng_state()
        again = weights(build(model_class, initialisation=Kaiming()))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, weights(build(model_class, initialisation=Kaiming(), seed=1)))


def test_the_weights_do_not_repeat_the_stream_of_the_bare_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bare = LogisticRegression(input_shape=(1, 8, 8), classes=3)
    assert not torch.equal(weights(bare), weights(build(LogisticRegression)))


def test_a_class_of_the_users_own():
    model = build(OwnNetwork, initialisation=Kaiming(gain=0.0), width=7)
    assert model.head.weight.shape == (3, 7)
    assert model.body[1].weight.shape == (7, 64)
    # The lazy layer had its shape before the initialisation came.
    assert torch.equal(weights(model), torch.zeros_like(weights(model)))


@pytest.mark.parametrize(
    ("model_class", "kwargs", "words"),
    [
        (Failing, {"hidden": 3}, "Failing cannot be built: .*no such luck"),
        (Failing, {}, "hidden"),
        (InPlace, {}, "2 .ReLU. works in place"),
        (TuplesOut, {}, "gave tuple"),
        (nn.Flatten, {}, r"gave \(2, 64\)"),
        (nn.Linear, {"in_features": 3, "out_features": 3}, r"cannot take images of shape \(1, 8"),
    ],
)
def test_a_class_that_does_not_fit_is_refused_with_a_message(model_class, kwargs, words):
    with pytest.raises(UserError, match=words):
        build(model_class, **kwargs)


def test_an_activation_in_place_is_refused():
    with pytest.raises(UserError, match="activation1") as caught:
        build(activation=lambda: nn.ReLU(inplace=True))
    assert caught.value.hint == "activation.inplace=false"


def test_a_users_mistake_in_a_model_keeps_its_message():
    with pytest.raises(UserError) as caught:
        build(MLP, hidden=[0])
    assert caught.value.where == "model.hidden"


class Broken(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.output = nn.Linear(1, classes)

    def forward(self, images):
        return self.output(images.flatten(1))


@pytest.mark.parametrize(
    ("model_class", "line"), [(Failing, "raise"), (Broken, "return self.output(images.flatten(1))")]
)
def test_an_exception_in_a_users_own_model_shows_its_file_and_line(model_class, line):
    with pytest.raises(UserError) as caught:
        build(model_class, **({"hidden": 3} if model_class is Failing else {}))
    file, _, number = caught.value.where.rpartition(":")
    text = Path(file).read_text().splitlines()[int(number) - 1]
    assert Path(file).name == "test_build.py"
    assert text.strip().startswith(line)


class Tagger(nn.Module):
    """Logits for each token of a sequence."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, 4)
        self.output = nn.Linear(4, classes)

    def forward(self, tokens):
        return self.output(self.embedding(tokens))


def test_a_model_of_tokens_is_rehearsed_with_tokens():
    chosen = {"activation": nn.ReLU, "initialisation": Default(), "input_shape": (6,)}
    chosen |= {"classes": 5, "seed": 0, "input_type": torch.int64}
    build_model(Tagger, {}, per_position=True, **chosen)
    with pytest.raises(UserError, match=r"shape \(batch, 5\); .* it gave \(2, 6, 5\)"):
        build_model(Tagger, {}, **chosen)
    with pytest.raises(UserError, match="a sequence of 6 tokens") as caught:
        build_model(MLP, {}, **chosen)
    assert "model=charlm" in caught.value.hint


@pytest.mark.parametrize("model_class", [CNN, RNN])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5)])
def test_a_model_of_images_or_signals_takes_nothing_else(model_class, shape):
    with pytest.raises(UserError, match="reads images of shape") as caught:
        build_model(
            model_class,
            {},
            activation=nn.ReLU,
            initialisation=Default(),
            input_shape=shape,
            classes=3,
            seed=0,
        )
    assert str(shape) in str(caught.value)
