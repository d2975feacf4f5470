"""The vision transformer: what it computes, what it knows of places, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.models import ViT

SHAPE = (2, 4, 6)


def build(shape=SHAPE, **kwargs):
    torch.manual_seed(0)
    chosen = {"patch": 2, "width": 12, "heads": 3, **kwargs}
    return ViT(input_shape=shape, classes=3, activation=nn.GELU, **chosen)


def images(count=3):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1)).double()


def normalised(signal, norm):
    centred = signal - signal.mean(-1, keepdim=True)
    scale = centred.square().mean(-1, keepdim=True) + norm.eps
    return centred / scale.sqrt() * norm.weight + norm.bias


def attended(signal, block, heads):
    """Attention of every patch to all (Dosovitskiy et al. 2020, appendix A), head by head."""
    projected = signal @ block.queries_keys_values.weight.T + block.queries_keys_values.bias
    queries, keys, values = projected.split(signal.shape[2], dim=2)
    size, read = signal.shape[2] // heads, []
    for head in range(heads):
        one = slice(head * size, (head + 1) * size)
        scores = queries[..., one] @ keys[..., one].transpose(1, 2) / math.sqrt(size)
        read.append(scores.softmax(2) @ values[..., one])
    return torch.cat(read, 2) @ block.projection.weight.T + block.projection.bias


def test_it_computes_what_the_paper_says():
    model, batch = build().double(), images()
    kernels = model.patches.weight.flatten(1)
    corners = [(row, column) for row in (0, 2) for column in (0, 2, 4)]
    patches = [
        batch[:, :, row : row + 2, column : column + 2].flatten(1) for row, column in corners
    ]
    signal = torch.stack(patches, 1) @ kernels.T + model.patches.bias + model.positions.weight
    for block in (model.block1, model.block2):
        signal = signal + attended(normalised(signal, block.norm1), block, heads=3)
        hidden = normalised(signal, block.norm2) @ block.expand.weight.T + block.expand.bias
        hidden = F.gelu(hidden) @ block.contract.weight.T + block.contract.bias
        signal = signal + hidden
    expected = normalised(signal, model.norm).mean(1) @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(batch), expected)


def test_only_the_positions_tell_where_a_patch_is():
    model, batch = build().double(), images()
    swapped = torch.cat((batch[:, :, 2:], batch[:, :, :2]), dim=2)
    assert not torch.allclose(model(batch), model(swapped))
    nn.init.zeros_(model.positions.weight)
    torch.testing.assert_close(model(batch), model(swapped))


def test_the_number_of_parameters():
    width, layers, patches = 12, 2, 6
    block = 12 * width**2 + 13 * width  # 4 matrices, their biases, 2 norms
    expected = (2 * 4 + 1) * width + patches * width + layers * block + 2 * width + 3 * (width + 1)
    assert sum(p.numel() for p in build().parameters()) == expected


def test_dropout_acts_in_training_alone():
    model, batch = build(dropout=0.5).double(), images()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


@pytest.mark.parametrize(
    ("kwargs", "where"),
    [
        ({"width": 10}, "model.width"),
        ({"layers": 0}, "model.layers"),
        ({"patch": 0}, "model.patch"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"shape": (1, 40)}, "model"),
    ],
)
def test_what_it_refuses(kwargs, where):
    with pytest.raises(UserError) as caught:
        build(**kwargs)
    assert caught.value.where == where


def test_a_patch_that_does_not_fit_is_answered_with_those_that_do():
    with pytest.raises(UserError, match="7 x 7 pixels do not divide images of 8 x 12") as caught:
        build((1, 8, 12), patch=7)
    assert caught.value.choices == ("model.patch=4", "model.patch=2", "model.patch=1")
