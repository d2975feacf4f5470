"""Evidence put together from records, as that of a run is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import collect_evidence
from gradcli.records import (
    DataInfo,
    LayerInfo,
    LayerRecord,
    ParameterGroup,
    ParameterInfo,
    RunInfo,
    SetupRecord,
    StepRecords,
    TensorRange,
)

NAMES = ("first", "middle", "last")
LN_10 = math.log(10)


def layer(name: str, depth: int) -> LayerInfo:
    parameters = (ParameterInfo(f"{name}.weight", (16, 16)), ParameterInfo(f"{name}.bias", (16,)))
    return LayerInfo(name, "Linear", depth, parameters)


@pytest.fixture
def run_evidence():
    """Return a function that collects the evidence of a run of three linear layers.

    By default all is well: 100 steps of SGD in which the loss falls from that of guessing.
    """

    def collect(
        *,
        losses=None,
        norms=None,
        ratios=(0.01, 0.01, 0.01),
        weights=None,
        own_loop=False,
        setup=None,
        evals=(),
        fault=None,
        rates=None,
        **info,
    ):
        losses = np.linspace(LN_10, 0.3, 100) if losses is None else np.asarray(losses, float)
        count, layers = len(losses), tuple(layer(name, at) for at, name in enumerate(NAMES))
        of_layers = np.ones((count, 3)) if norms is None else np.asarray(norms, float)
        of_layers = np.broadcast_to(of_layers, (count, 3))
        of_parameters = np.zeros((count, 6))
        of_parameters[:, ::2] = of_layers
        rows = np.broadcast_to(np.asarray(ratios, float), (5, 3))
        sizes = np.linspace(1.0, 1.1, 5)[:, None] * 9.5 if weights is None else np.asarray(weights)
        sizes = np.broadcast_to(sizes, (5, 3))
        records = tuple(
            LayerRecord(step, tuple(size.tolist()), tuple(row.tolist()), (1.0, 1.0, 1.0))
            for step, size, row in zip((1, 2, 3, 5, 10), sizes, rows, strict=True)
        )
        steps = StepRecords(
            step=np.arange(1, count + 1),
            epoch=np.ones(count, dtype=int),
            loss=losses,
            learning_rate=np.full(count, 0.1) if rates is None else np.asarray(rates),
            grad_norm_before_clip=np.linalg.norm(of_layers, axis=1),
            clip_coefficient=np.ones(count),
            parameter_grad_norm_before_clip=of_parameters,
            parameter_grad_norm_after_clip=of_parameters,
        )
        described = RunInfo(
            run="r", name="", data=DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10),
            model="mlp", model_size=816, optimizer="sgd", learning_rate=0.1, schedule="constant",
            clip="none", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
            total_steps=0 if own_loop else count, start_step=0, layers=layers,
            input_scaling="" if own_loop else "data.normalize=mean_std",
        )  # fmt: skip
        if own_loop:
            described = replace(described, data=DataInfo("own", 0, 0, 0, "", (0, 0, 0), 0))
        described = replace(described, **info)
        return collect_evidence(described, steps, records, tuple(evals), fault, setup)

    return collect


@pytest.fixture
def setup_record():
    """Return a function that describes a sound set-up, with what the caller changes."""
    sound = SetupRecord(
        step=10,
        groups=(ParameterGroup(tuple(range(6)), 0.1, weight_decay=0.0, momentum=0.0),),
        requires_grad=(True,) * 6,
        call_order=(0, 1, 2),
        calls=(1, 1, 1),
        inputs=TensorRange((64, 16), 0.0, 1.0, -3.0, 3.0),
        outputs=TensorRange((64, 10), 0.0, 0.3, -1.0, 1.0),
        output_sums=(-2.0, 2.0),
        output_grad_norm=0.9,
        loss_path=("NllLoss", "LogSoftmax", "Addmm"),
        output_at=2,
        updates_watched=4,
        not_cleared=0,
    )
    return lambda **changes: replace(sound, **changes)
