"""Per-example gradients against one backward pass an example."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.probes.measuring import per_example
from gradcli.probes.measuring.per_example import per_example_gradients


def one_backward_an_example(model, images, labels):
    each = []
    for image, label in zip(images, labels, strict=True):
        loss = F.cross_entropy(model(image[None]), label[None])
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        each.append(dict(zip(trained, torch.autograd.grad(loss, trained.values()), strict=True)))
    return {name: torch.stack([gradients[name] for gradients in each]) for name in each[0]}


def collect(chunks):
    chunks = list(chunks)
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


class Unvectorised(nn.Module):
    """Looks at its numbers, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.output = nn.Linear(64, 5)

    def forward(self, images):
        logits = self.output(images.flatten(1))
        return logits if logits.sum() > 0 else 2 * logits


@pytest.fixture
def models(make):
    with_norm = make("mlp", hidden=[6, 6], norm="batch").eval()
    with torch.no_grad():
        with_norm.norm1.running_var.fill_(2.0)
    frozen = make("mlp", hidden=[6, 6])
    frozen.hidden2.requires_grad_(False)
    return {
        "mlp": make("mlp", hidden=[9]),
        "cnn": make("cnn", channels=[3], kernel_size=3, hidden=6),
        "batch norm in evaluation": with_norm,
        "layer norm": make("mlp", hidden=[6], norm="layer"),
        "frozen": frozen,
        "lstm": make("rnn", hidden=6),
        "gru": make("rnn", cell="gru", hidden=6),
        "tanh rnn": make("rnn", cell="tanh", hidden=6, layers=2),
        "unvectorised": Unvectorised(),
    }


@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "cnn",
        "batch norm in evaluation",
        "layer norm",
        "frozen",
        "lstm",
        "gru",
        "tanh rnn",
        "unvectorised",
    ],
)
def test_they_are_those_of_a_loop(models, batch, name):
    model, (images, labels) = models[name], batch(7)
    expected = one_backward_an_example(model, images, labels)
    found = collect(per_example_gradients(model, images, labels))
    assert found.keys() == expected.keys()
    for key, gradients in expected.items():
        assert torch.allclose(found[key], gradients, atol=1e-6), key


def test_chunks_keep_to_the_memory_and_change_nothing(make, batch):
    model, (images, labels) = make("mlp", hidden=[9]), batch(10)
    elements = sum(p.numel() for p in model.parameters())
    chunks = list(per_example_gradients(model, images, labels, memory_bytes=3 * 4 * elements))
    assert [len(chunk["output.bias"]) for chunk in chunks] == [3, 3, 3, 1]
    whole = collect(per_example_gradients(model, images, labels))
    for name, gradients in collect(chunks).items():
        assert torch.allclose(gradients, whole[name], atol=1e-7)
    alone = list(per_example_gradients(model, images, labels, memory_bytes=1))
    assert len(alone) == 10


def test_the_models_that_vmap_takes_are_vectorised(models, batch, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("one by one")

    monkeypatch.setattr(per_example, "_one_by_one", refuse)
    for name in ("mlp", "cnn", "batch norm in evaluation", "layer norm", "frozen"):
        collect(per_example_gradients(models[name], *batch(3)))
    for name in ("gru", "unvectorised"):
        with pytest.raises(AssertionError, match="one by one"):
            collect(per_example_gradients(models[name], *batch(3)))


@pytest.mark.parametrize("tracked", [True, False])
def test_batch_norm_in_training_is_refused_with_its_reason(make, batch, tracked):
    model = make("mlp", hidden=[6], norm="batch")
    if not tracked:
        model.eval()
        model.norm1 = nn.BatchNorm1d(6, track_running_stats=False).eval()
    with pytest.raises(UserError) as caught:
        collect(per_example_gradients(model, *batch(4)))
    assert caught.value.where == "norm1"
    assert "depends on all the others" in caught.value.problem
