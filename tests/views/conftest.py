"""Runs made up of plain records, so that no view needs a training to be tested."""

from collections.abc import Callable

import numpy as np
import pytest

from gradcli.records import (
    PHASES,
    DataInfo,
    LayerInfo,
    LayerSummary,
    NormSummary,
    ParameterInfo,
    RunInfo,
    StepRecords,
    TrainSummary,
)


@pytest.fixture
def make_info() -> Callable[..., RunInfo]:
    def make(layers: int = 3, **changes: object) -> RunInfo:
        names = [f"hidden{depth + 1}" for depth in range(layers - 1)] + ["output"]
        values: dict[str, object] = {
            "run": "20260105-101500-mlp-3f2a",
            "name": "mlp",
            "data": DataInfo("mnist", 50_000, 10_000, 10_000, "ab" * 32, (1, 28, 28), 10),
            "model": "mlp",
            "model_size": 235_146,
            "optimizer": "adam",
            "learning_rate": 0.002,
            "schedule": "cosine",
            "clip": "norm 1.0",
            "activation": "relu",
            "device": "cpu",
            "threads": 2,
            "batch_size": 128,
            "epochs": 3,
            "total_steps": 300,
            "start_step": 0,
            "layers": tuple(
                LayerInfo(
                    name,
                    "Linear",
                    depth,
                    (
                        ParameterInfo(f"{name}.weight", (128, 256)),
                        ParameterInfo(f"{name}.bias", (128,)),
                    ),
                )
                for depth, name in enumerate(names)
            ),
        }
        return RunInfo(**(values | changes))

    return make


@pytest.fixture
def make_steps() -> Callable[..., StepRecords]:
    """Build steps from the layers' norms (n, layers); all of a norm is its weight's."""

    def make(
        norms: object,
        *,
        first: int = 1,
        coefficient: float = 1.0,
        loss: object = 1.0,
        epoch: object = 1,
    ) -> StepRecords:
        by_layer = np.asarray(norms, dtype=np.float64)
        count, layers = by_layer.shape
        parameters = np.zeros((count, 2 * layers))
        parameters[:, ::2] = by_layer
        return StepRecords(
            step=np.arange(first, first + count),
            epoch=np.broadcast_to(np.asarray(epoch), count),
            loss=np.broadcast_to(np.asarray(loss, dtype=np.float32), count),
            learning_rate=np.full(count, 0.002),
            grad_norm_before_clip=np.linalg.norm(by_layer, axis=1),
            clip_coefficient=np.full(count, coefficient),
            parameter_grad_norm_before_clip=parameters.astype(np.float32),
            parameter_grad_norm_after_clip=(parameters * coefficient).astype(np.float32),
            phase_seconds=dict(zip(PHASES, (1, 3, 1, 4, 2, 1), strict=True)),
        )

    return make


@pytest.fixture
def make_summary(make_info: Callable[..., RunInfo]) -> Callable[..., TrainSummary]:
    def make(**changes: object) -> TrainSummary:
        info = make_info()
        norms = NormSummary(first=1.0, last=0.25, mean=0.5, max=2.0)
        values: dict[str, object] = {
            "info": info,
            "path": f"runs/{info.run}",
            "status": "finished",
            "epochs": 3,
            "steps": 300,
            "train_loss": 0.0412,
            "val_accuracy": 0.9803,
            "test_accuracy": 0.9791,
            "seconds_total": 4.4,
            "seconds_first_step": 2.1,
            "seconds_train": 3.2,
            "steps_per_second": 93.75,
            "phases": dict(zip(PHASES, (0.05, 0.25, 0.05, 0.4, 0.2, 0.05), strict=True)),
            "clipped_fraction": 0.34,
            "layers": tuple(
                LayerSummary(layer.name, norms, norms, 0.3, 20.0, 0.002) for layer in info.layers
            ),
            "findings": (),
        }
        return TrainSummary(**(values | changes))

    return make
