"""Small models and batches that the tests of the probes share."""

import pytest
import torch
from torch import nn

from gradcli.models import CNN, MLP, RNN, Default, Kaiming, build_model

SHAPE = (1, 8, 8)
CLASSES = 5


@pytest.fixture(autouse=True)
def one_thread():
    """The models are so small that threads would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make():
    """Build one of the package's models on 8x8 images with 5 classes."""

    def build(kind, activation=nn.Tanh, initialisation=None, seed=0, **kwargs):
        return build_model(
            {"mlp": MLP, "cnn": CNN, "rnn": RNN}[kind],
            kwargs,
            activation=activation,
            initialisation=initialisation or Default(),
            input_shape=SHAPE,
            classes=CLASSES,
            seed=seed,
        )

    return build


@pytest.fixture
def batch():
    """Images and labels, drawn from a seed."""

    def draw(size=16, seed=0):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(size, *SHAPE, generator=generator)
        return images, torch.randint(CLASSES, (size,), generator=generator)

    return draw


@pytest.fixture
def kaiming():
    """The initialisation that suits ReLU."""
    return Kaiming()
