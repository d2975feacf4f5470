"""The transformer: what it computes, that it cannot see the future, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.models import GPT, Default, build_model

LENGTH, VOCABULARY = 7, 11


def build(seed=0, input_type=torch.int64, input_shape=(LENGTH,), **kwargs):
    return build_model(
        GPT,
        {"width": 12, "layers": 2, "heads": 3, **kwargs},
        activation=nn.GELU,
        initialisation=Default(),
        input_shape=input_shape,
        classes=VOCABULARY,
        seed=seed,
        input_type=input_type,
        per_position=True,
    )


def tokens(count=2, length=LENGTH):
    return torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))


def normalised(signal, norm):
    """Layer norm, written out."""
    centred = signal - signal.mean(-1, keepdim=True)
    scale = centred.square().mean(-1, keepdim=True) + norm.eps
    return centred / scale.sqrt() * norm.weight + norm.bias


def attended(signal, block, heads):
    """Causal attention (Vaswani et al. 2017, section 3.2), one position and one head at a time."""
    count, length, width = signal.shape
    size = width // heads
    projected = signal @ block.queries_keys_values.weight.T + block.queries_keys_values.bias
    queries, keys, values = projected.split(width, dim=2)
    read = torch.zeros_like(signal)
    for head in range(heads):
        of_head = slice(head * size, (head + 1) * size)
        for example in range(count):
            for here in range(length):
                seen = keys[example, : here + 1, of_head]
                scores = seen @ queries[example, here, of_head] / math.sqrt(size)
                weights = scores.exp() / scores.exp().sum()
                read[example, here, of_head] = weights @ values[example, : here + 1, of_head]
    return read @ block.projection.weight.T + block.projection.bias


@pytest.mark.parametrize("tied", [False, True])
def test_it_computes_what_the_formulas_say(tied):
    model, inputs = build(tied=tied).double(), tokens()
    with torch.no_grad():
        signal = model.tokens.weight[inputs] + model.positions.weight
        for block in (model.block1, model.block2):
            signal = signal + attended(normalised(signal, block.norm1), block, heads=3)
            hidden = normalised(signal, block.norm2) @ block.expand.weight.T + block.expand.bias
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            signal = signal + hidden @ block.contract.weight.T + block.contract.bias
        head = model.tokens.weight if tied else model.output.weight
        expected = normalised(signal, model.norm) @ head.T
        torch.testing.assert_close(model(inputs), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("place", range(LENGTH))
def test_a_token_changes_only_what_comes_after_it(place):
    model, inputs = build().double(), tokens(1)
    changed = inputs.clone()
    changed[0, place] = (changed[0, place] + 1) % VOCABULARY
    difference = (model(inputs) - model(changed)).abs().amax(dim=2)[0]
    assert (difference[:place] == 0).all()
    assert (difference[place:] > 0).all()


def test_a_shorter_text_has_the_same_outputs():
    model, inputs = build().double(), tokens()
    torch.testing.assert_close(model(inputs[:, :3]), model(inputs)[:, :3])


@pytest.mark.parametrize("tied", [False, True])
def test_the_number_of_parameters(tied):
    width, layers = 12, 2
    block = 12 * width**2 + 13 * width  # 4 matrices, their biases, 2 norms
    expected = (VOCABULARY + LENGTH) * width + layers * block + 2 * width
    expected += 0 if tied else VOCABULARY * width
    assert sum(p.numel() for p in build(tied=tied).parameters()) == expected


@pytest.mark.parametrize("tied", [False, True])
def test_it_begins_near_the_loss_of_guessing(tied):
    model, inputs = build(tied=tied, width=48), tokens(64)
    loss = F.cross_entropy(model(inputs)[:, :-1].flatten(0, 1), inputs[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(VOCABULARY), rel=0.1)


def test_dropout_acts_in_training_alone():
    model, inputs = build(dropout=0.5), tokens()
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize(
    ("kwargs", "message", "where"),
    [
        ({"width": 10}, "a multiple of the heads; 10 is none of 3", "model.width"),
        ({"layers": 0}, "at least 1", "model.layers"),
        ({"heads": 0}, "at least 1", "model.heads"),
        ({"dropout": 1.0}, "probability", "model.dropout"),
        ({"input_shape": (1, 4, 4)}, r"has the shape \(1, 4, 4\)", "model"),
        ({"input_type": torch.float32}, "reads tokens, .* are float32", "model"),
    ],
)
def test_what_it_refuses(kwargs, message, where):
    with pytest.raises(UserError, match=message) as caught:
        build(**kwargs)
    assert caught.value.where == where
