"""Runs and comparisons written by hand, in the moment."""

from dataclasses import asdict

import numpy as np
import pytest

from gradcli.records import DataInfo, LayerInfo, ParameterInfo, RunInfo, StepRecords
from gradcli.runs import RunWriter, begin_comparison

DATA = DataInfo("mnist5k", 4000, 500, 4, "abc", (1, 28, 28), 10)


@pytest.fixture
def run_info():
    """The header of a run of two layers with three parameters."""
    layers = (
        LayerInfo(
            "hidden", "Linear", 0,
            (ParameterInfo("hidden.weight", (4, 3)), ParameterInfo("hidden.bias", (4,))),
        ),
        LayerInfo("output", "Linear", 1, (ParameterInfo("output.weight", (2, 4)),)),
    )  # fmt: skip
    return RunInfo(
        run="", name="mine", data=DATA, model="mlp", model_size=24, optimizer="sgd",
        learning_rate=0.1, schedule="constant", clip="none", activation="relu", device="cpu",
        threads=1, batch_size=128, epochs=1, total_steps=40, start_step=0, layers=layers,
    )  # fmt: skip


@pytest.fixture
def make_steps():
    """Return a function that makes `count` steps; the loss of each is its number."""

    def make(first, count):
        at = np.arange(first, first + count)
        norms = at[:, None] * np.array([3.0, 4.0, 2.0])
        return StepRecords(
            step=at,
            epoch=np.ones(count, dtype=int),
            loss=at.astype(float),
            learning_rate=np.full(count, 0.1),
            grad_norm_before_clip=np.linalg.norm(norms, axis=1),
            clip_coefficient=np.full(count, 0.5),
            parameter_grad_norm_before_clip=norms,
            parameter_grad_norm_after_clip=norms * 0.5,
        )

    return make


@pytest.fixture
def make_run(tmp_path):
    """Return a function that makes a run of this name, which has written no records."""

    def make(name, status="finished", **facts):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        writer = RunWriter(folder, "seed: 0\n", {})
        writer.set_status(status, **facts)
        writer.close()
        return folder

    return make


@pytest.fixture
def make_comparison(tmp_path):
    """Return a function that makes a comparison of this name, without any trial."""

    def make(name, **state):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        info = {
            "arms": [{"name": "sgd"}, {"name": "adam"}],
            "data": asdict(DATA),
            "model": "mlp",
            "epochs": 3,
        }
        return begin_comparison(folder, {"info": info, **state})

    return make
