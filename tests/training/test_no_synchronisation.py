"""A step on an accelerator waits for nothing: run on the meta device, which has no values to read.

Any transfer to the host (`item`, `tolist`, `bool`, `cpu`) raises there; one to the device does not.
"""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradcli.data import Batches, load_dataset
from gradcli.fast import gate
from gradcli.gradients.buffer import StepBuffer
from gradcli.gradients.clipping import (
    AutoClip,
    ClipAGC,
    ClipNorm,
    ClipPerLayer,
    ClipValue,
    NoClip,
    ZClip,
)
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients
from gradcli.models import CNN, MLP
from gradcli.objectives import CROSS_ENTROPY
from gradcli.optim import Constant, LearningRate
from gradcli.training import PassPlan
from gradcli.training.clock import PhaseClock
from gradcli.training.step import TrainingStep

META = torch.device("meta")
FUSED = {
    "adam": lambda p: torch.optim.Adam(p, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, fused=True, amsgrad=True),
}
#: Meta tensors have no kernel of a fused SGD, so here it is the plain one.
PLAIN = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam_plain": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "rmsprop_centered": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.9),
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}
OPTIMIZERS = FUSED | PLAIN
CLIPS = [NoClip, ClipNorm, ClipPerLayer, ClipValue, ClipAGC, AutoClip, ZClip]
MODELS = {
    "mlp": lambda: MLP(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU, hidden=[16]),
    "gelu": lambda: MLP(input_shape=(1, 28, 28), classes=10, activation=nn.GELU, hidden=[16] * 3),
    "norm": lambda: MLP(
        input_shape=(1, 28, 28), classes=10, activation=nn.ReLU, hidden=[16], norm="batch"
    ),
    "cnn": lambda: CNN(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU),
}


@pytest.fixture(autouse=True)
def _fused_on_meta(monkeypatch):
    """Let the fused optimizers, whose kernels meta tensors have, take them for an accelerator's."""
    module = sys.modules["torch.optim.optimizer"]
    monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["meta"])


@pytest.mark.parametrize(
    ("optimizer", "clip"),
    [
        *[(optimizer, clip) for optimizer in FUSED for clip in CLIPS],
        *[(optimizer, ClipNorm) for optimizer in PLAIN],
        *[("rmsprop", clip) for clip in CLIPS],
    ],
)
def test_a_step_reads_nothing_back(optimizer, clip):
    _train(MODELS["mlp"](), OPTIMIZERS[optimizer], clip())


@pytest.mark.parametrize("model", MODELS)
def test_whatever_the_model(model):
    is_chain = model in ("mlp", "gelu")
    buffer = _train(MODELS[model](), OPTIMIZERS["adam"], ClipNorm(), written_out=is_chain)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        buffer.flush({})  # which is where values are read: the test would notice


@pytest.mark.skipif(not gate.is_open(), reason="the gate is closed: a norm takes one call each")
@pytest.mark.parametrize("hidden", [[256, 128], [32] * 20])
def test_measuring_and_clipping_take_few_operators(hidden):
    """A small network waits for the host to launch them, so that each of them counts there."""
    model = MLP(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU, hidden=hidden).to(META)
    with _Operators() as whole:
        _train(model, OPTIMIZERS["adam"], ClipNorm())
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images, labels = torch.ones(128, 1, 28, 28).to(META), torch.ones(128).long().to(META)
    with _Operators() as bare:
        for _ in range(4):
            chosen = torch.arange(128, device=META)
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert bare.count / 4 > 6 * (len(hidden) + 1)  # two products forth, four back, at the least
    assert (whole.count - bare.count) / 4 < 30


class _Operators(TorchDispatchMode):
    """Counts the operators that are called, but for those that only look at memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        returns = function._schema.returns
        is_view = any(one.alias_info and not one.alias_info.is_write for one in returns)
        self.count += not (is_view or "empty" in function.name() or "profiler" in function.name())
        return function(*arguments, **(keywords or {}))


def _train(model: nn.Module, make_optimizer, clip, written_out: bool = True) -> StepBuffer:
    """Make the steps of an epoch's beginning, as `Trainer` does between two flushes."""
    sample = load_dataset("mnist5k")
    batches = Batches(
        sample.train, 128, normalize="mean_std", mean=sample.mean, std=sample.std, device=META
    )
    model.to(META)
    optimizer = make_optimizer(model.parameters())
    gradients, clock = Gradients(model, find_layers(model)), PhaseClock(META)
    step = TrainingStep(model, CROSS_ENTROPY, optimizer, gradients, clip, clock, PassPlan())
    assert step.deferred
    assert (step.differentiate.written_out is not None) is (written_out and gate.is_open())
    learning_rate = LearningRate(optimizer, Constant(), 4)
    buffer = StepBuffer(META)
    for number in range(4):
        clock.start(probed=False)
        learning_rate.set(number)
        inputs, labels = batches.gather(torch.arange(128, device=META))
        result = step(inputs, labels, None)
        buffer.append(number + 1, 1, 0.1, result.loss, result.norms_before, result.norms_after)
        clock.stop()
    return buffer
