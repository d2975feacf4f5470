"""Runs written by hand, in the moment: two layers, whose steps are known in closed form."""

import numpy as np
import pytest

from gradcli.records import DataInfo, EvalRecord, LayerInfo, ParameterInfo, RunInfo, StepRecords
from gradcli.runs import RunWriter

LAYERS = (
    LayerInfo("hidden", "Linear", 0, (ParameterInfo("hidden.weight", (4, 3)),)),
    LayerInfo("output", "Linear", 1, (ParameterInfo("output.weight", (2, 4)),)),
)
INFO = RunInfo(
    run="", name="mine", data=DataInfo("mnist5k", 4000, 500, 4, "abc", (1, 28, 28), 10),
    model="mlp", model_size=24, optimizer="sgd", learning_rate=0.1, schedule="constant",
    clip="none", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
    total_steps=100, start_step=0, layers=LAYERS,
)  # fmt: skip


@pytest.fixture
def make_steps():
    """Return a function that makes steps: the loss is 1 / step, the norms are 3 and 4 times it."""

    def make(first, count, coefficient=1.0):
        at = np.arange(first, first + count)
        norms = np.array([3.0, 4.0]) / at[:, None]
        return StepRecords(
            step=at,
            epoch=np.ones(count, dtype=int),
            loss=1 / at,
            learning_rate=np.full(count, 0.1),
            grad_norm_before_clip=5 / at,
            clip_coefficient=np.full(count, coefficient),
            parameter_grad_norm_before_clip=norms,
            parameter_grad_norm_after_clip=norms * coefficient,
        )

    return make


@pytest.fixture
def make_eval():
    def make(step, split="val", score=0.9):
        return EvalRecord(step, 1, split, 2 / step, score, 0.6, 1.0, 1.0)

    return make


@pytest.fixture
def open_run(tmp_path):
    """Return a function that opens a run of this name for writing; all are closed at the end."""
    writers = []

    def make(name="20260101T000000Z-mine-1111", earlier=None, log_bytes=None, **facts):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        writer = RunWriter(folder, "", {"settings": facts}, earlier)
        writer.begin(INFO, log_bytes or {})
        writers.append(writer)
        return folder, writer

    yield make
    for writer in writers:
        writer.close()
