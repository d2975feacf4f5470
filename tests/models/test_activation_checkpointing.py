"""Activation checkpointing: the same training to the bit, in less memory."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.errors import UserError
from gradcli.models.activation_checkpointing import checkpoint_blocks
from gradcli.records import LayerRecord, SetupRecord, StepRecords
from gradcli.workflows.building import build_trainer, obtain_data


def block(width):
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3))


class Branching(nn.Module):
    """Blocks in a container, one on its own, and layers outside of any."""

    def __init__(self):
        super().__init__()
        self.entry = nn.Linear(8, 16)
        self.stages = nn.Sequential(block(16), nn.ModuleDict({"inner": block(16)})["inner"])
        self.listed = nn.ModuleList([block(16), nn.Linear(16, 16)])
        self.head = block(16)
        self.output = nn.Linear(16, 3)

    def forward(self, inputs):
        signal = self.stages(self.entry(inputs))
        for one in self.listed:
            signal = signal + one(signal)
        return self.output(self.head(signal))


def network():
    torch.manual_seed(0)
    return Branching()


def test_blocks_are_what_holds_layers_and_containers_of_blocks_are_none():
    assert checkpoint_blocks(network()) == ["stages.0", "stages.1", "listed.0", "head"]


def test_a_model_without_blocks_is_refused():
    with pytest.raises(UserError, match="Sequential has no blocks") as caught:
        checkpoint_blocks(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)))
    assert caught.value.where == "activation_checkpointing"


def steps(model, count):
    """Train, and return the bytes that each forward pass has kept for its backward pass."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = []
    for _ in range(count):
        inputs, targets = torch.randn(32, 8), torch.randint(3, (32,))
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            loss = F.cross_entropy(model(inputs), targets)
        kept.append(sum(sizes))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return kept


def test_training_is_the_same_to_the_bit_and_keeps_less():
    """With dropout, whose numbers are drawn again, and batch norm, which must count once."""
    plain, saving = network(), network()
    checkpoint_blocks(saving)
    kept, kept_less = steps(plain, 3), steps(saving, 3)
    for (name, one), other in zip(
        plain.state_dict().items(), saving.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    assert max(kept_less) < 0.6 * min(kept)
    assert {one.momentum for one in saving.modules() if isinstance(one, nn.BatchNorm1d)} == {0.1}


def test_a_graph_may_be_differentiated_again():
    """As the probes of the Hessian do: its product with a vector, against the plain model."""
    products = []
    for saves in (False, True):
        model = network()
        for one in model.modules():
            if isinstance(one, nn.Dropout):
                one.p = 0.0
        if saves:
            checkpoint_blocks(model)
        torch.manual_seed(1)
        inputs, targets = torch.randn(32, 8), torch.randint(3, (32,))
        parameters = list(model.parameters())
        loss = F.cross_entropy(model(inputs), targets)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        along = sum((one * torch.ones_like(one)).sum() for one in gradients)
        products.append(torch.autograd.grad(along, parameters, retain_graph=True))
        products[-1] += (model.head[1].running_mean, model.head[1].num_batches_tracked)
    for one, other in zip(*products, strict=True):
        torch.testing.assert_close(one, other)


def test_a_run_has_the_same_records(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    words = ["data=text", f"data.path={text}", "model=charlm", "model.dropout=0.1", "max_steps=3"]
    runs = []
    for extra in ([], ["activation_checkpointing=true"]):
        composed = compose_train([*words, "batch_size=16", *extra])
        dataset = obtain_data(composed.config.data, None, lambda *_: None)
        trainer = build_trainer(composed, dataset)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            runs.append([one for one in trainer.run() if not hasattr(one, "seconds")])
    for name in ("loss", "parameter_grad_norm_before_clip"):
        one, other = (
            np.concatenate([getattr(r, name) for r in run if isinstance(r, StepRecords)])
            for run in runs
        )
        np.testing.assert_array_equal(one, other)
    one, other = ([repr(r) for r in run if isinstance(r, LayerRecord)] for run in runs)
    assert one == other
    one, other = (
        [(r.calls, r.call_order) for r in run if isinstance(r, SetupRecord)] for run in runs
    )
    assert one == other


def test_the_key_reaches_the_model():
    composed = compose_train(["data=mnist5k", "activation_checkpointing=true"])
    with pytest.raises(UserError, match="MLP has no blocks"):
        build_trainer(composed, load_dataset("mnist5k"))
