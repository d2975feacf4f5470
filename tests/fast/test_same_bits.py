"""Every shipped model, trained with and without the shortcuts: the same weights and records.

This is what proves a release of PyTorch: see `gradcli/fast/gate.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradcli.fast import gate

SCRIPT = str(Path(__file__).parent / "train_all.py")
#: Networks of other libraries take no shortcut of a model's own.
OF_LIBRARIES = {"torchvision", "timm"}
MODELS = sorted(
    {path.stem for path in (Path(__file__).parents[2] / "configs" / "model").glob("*.yaml")}
    - OF_LIBRARIES
)
OPTIMIZERS = ("adam", "momentum", "rmsprop")
#: The models that are chains of linear layers and activations.
CHAINS = ("deep_mlp", "logreg", "mlp")

pytestmark = pytest.mark.skipif(
    not gate.is_open(), reason="the gate is closed: both ways are PyTorch's own"
)


@pytest.fixture(scope="module")
def both_ways(spawn):
    """What `train_all.py` prints with the shortcuts, and without; each in a new process."""
    answers = [spawn(SCRIPT, GRADCLI_FAST=switch) for switch in ("1", "0")]
    assert [one.code for one in answers] == [0, 0], answers[0].err + answers[1].err
    return [json.loads(one.out) for one in answers]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_weights_and_records_are_the_same_to_the_bit(both_ways, model, optimizer):
    fast, plain = (way["trained"][f"{model} {optimizer}"] for way in both_ways)
    assert fast["weights"] == plain["weights"]
    assert fast["records"] == plain["records"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_the_shortcuts_are_taken_only_if_the_switch_is_on(both_ways, model, optimizer):
    fast, plain = (way["trained"][f"{model} {optimizer}"] for way in both_ways)
    # Of six steps the first three and the fifth are observed, and the first update finds no
    # state yet.
    assert (fast["passes"], fast["updates"]) == (2 if model in CHAINS else 0, 5)
    assert (plain["passes"], plain["updates"]) == (0, 0)


def test_only_pytorchs_own_way_imports_the_compiler(both_ways):
    assert [way["compiler"] for way in both_ways] == [False, True]


def test_each_training_has_its_own_numbers(both_ways):
    """Digests that were all alike would show nothing."""
    trained = both_ways[0]["trained"].values()
    assert len({one["weights"] for one in trained}) == len(MODELS) * len(OPTIMIZERS)
