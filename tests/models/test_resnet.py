"""The residual network: what it computes, how large it is, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.models import ResNet


def build(shape=(2, 9, 8), **kwargs):
    torch.manual_seed(0)
    return ResNet(input_shape=shape, classes=3, activation=nn.ReLU, **kwargs)


def normalised(signal):
    """Batch norm with its initial scale and shift, written out."""
    mean = signal.mean((0, 2, 3), keepdim=True)
    variance = (signal - mean).square().mean((0, 2, 3), keepdim=True)
    return (signal - mean) / (variance + 1e-5).sqrt()


def test_it_computes_what_the_paper_says():
    model = build(width=4, blocks=2).double()
    batch = torch.randn(5, 2, 9, 8, dtype=torch.float64)
    signal = normalised(F.conv2d(batch, model.conv.weight, padding=1)).relu()
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        for block in (1, 2):
            weights = dict(model.get_submodule(f"stage{stage}_block{block}").named_parameters())
            step = stride if block == 1 else 1
            inner = F.conv2d(signal, weights["conv1.weight"], stride=step, padding=1)
            inner = F.conv2d(normalised(inner).relu(), weights["conv2.weight"], padding=1)
            shortcut = torch.zeros_like(inner)
            shortcut[:, : signal.shape[1]] = signal[:, :, ::step, ::step]
            signal = (shortcut + normalised(inner)).relu()
    assert signal.shape == (5, 16, 3, 2)
    expected = F.linear(signal.mean((2, 3)), model.output.weight, model.output.bias)
    torch.testing.assert_close(model(batch), expected)


def test_the_resnet_20_of_the_paper_has_as_many_weights():
    """0.27 million in table 6: 19 convolutions, 19 norms and the output."""
    model = ResNet(input_shape=(3, 32, 32), classes=10, activation=nn.ReLU, blocks=3)
    convolutions = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + 650 == 269_722
    assert sum(isinstance(one, nn.Conv2d) for one in model.modules()) == 19


def test_every_parameter_receives_a_gradient():
    model = build()
    F.cross_entropy(model(torch.randn(4, 2, 9, 8)), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in model.parameters())


def test_the_smallest_image():
    assert build((1, 4, 4)).eval()(torch.zeros(1, 1, 4, 4)).shape == (1, 3)
    with pytest.raises(UserError, match="at least 4 x 4 pixels, not 3 x 4"):
        build((1, 3, 4))


@pytest.mark.parametrize(
    ("kwargs", "where"),
    [
        ({"width": 0}, "model.width"),
        ({"blocks": 0}, "model.blocks"),
        ({"shape": (1, 40)}, "model"),
    ],
)
def test_what_it_refuses(kwargs, where):
    with pytest.raises(UserError) as caught:
        build(**kwargs)
    assert caught.value.where == where
