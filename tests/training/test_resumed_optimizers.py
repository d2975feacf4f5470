"""A run with any shipped optimizer goes on from its checkpoint with the same bits."""

import io
from pathlib import Path

import pytest
import torch
import yaml

from gradcli.config import compose_train
from gradcli.config.targets import SHIPPED_CLASSES
from gradcli.data import load_dataset
from gradcli.workflows.building import build_trainer

OPTIMIZERS = {
    path.stem: yaml.safe_load(path.read_text())["_target_"]
    for path in sorted((Path(__file__).parents[2] / "configs" / "optimizer").glob("*.yaml"))
}
WORDS = ("data=mnist5k", "model.hidden=[24,16]", "batch_size=250", "max_steps=14", "threads=1")


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist5k")


def trainer_of(dataset, optimizer):
    return build_trainer(compose_train([*WORDS, f"optimizer={optimizer}"]), dataset)


def stored(state):
    """The state as a checkpoint holds it: written to a file and read without running code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_ends_with_the_same_bits(dataset, optimizer):
    if OPTIMIZERS[optimizer] in SHIPPED_CLASSES:
        pytest.importorskip(OPTIMIZERS[optimizer].partition(".")[0])
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch 2.9 has it")
    whole, first, second = (trainer_of(dataset, optimizer) for _ in range(3))
    list(whole.run())
    list(first.run(until=7))
    second.load_state_dict(stored(first.state_dict()))
    list(second.run())
    for name, weight in whole.model.named_parameters():
        assert torch.equal(weight, second.model.get_parameter(name)), name
        assert not torch.equal(weight, first.model.get_parameter(name)), name
