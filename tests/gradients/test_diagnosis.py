"""The rules on evidence made by hand: what fires, in which layer, and what does not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.gradients.diagnosis import Evidence, collect_evidence, diagnose
from gradcli.records import (
    DataInfo,
    FaultRecord,
    LayerInfo,
    LayerRecord,
    ParameterInfo,
    RunInfo,
    StepRecords,
)


def network(count: int) -> tuple[LayerInfo, ...]:
    names = [f"hidden{i + 1}" for i in range(count - 1)] + ["output"]
    return tuple(
        LayerInfo(name, "Linear", i, (ParameterInfo(f"{name}.weight", (8, 8)),))
        for i, name in enumerate(names)
    )


def run_info(layers, **changes) -> RunInfo:
    info = RunInfo(
        run="r", name="", data=DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10),
        model="mlp", model_size=1, optimizer="sgd", learning_rate=0.1, schedule="constant",
        clip="none", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
        total_steps=40, start_step=0, layers=layers,
    )  # fmt: skip
    return replace(info, **changes)


def evidence(relative_norms, *, ratio=1e-3, losses=None, weights=None, fault=None, **info):
    """Evidence of 40 steps in which each layer has one norm relative to its weights."""
    layers = network(len(relative_norms))
    weights = np.ones(len(layers)) if weights is None else np.array(weights)
    return Evidence(
        info=run_info(layers, **info),
        layers=layers,
        norms=np.tile(np.array(relative_norms) * weights, (40, 1)),
        weights=weights,
        update_ratios=np.full((4, len(layers)), ratio),
        losses=np.linspace(2.3, 0.3, 40) if losses is None else np.array(losses),
        evals=(),
        fault=fault,
    )


def codes(found) -> list[str]:
    return [finding.code for finding in diagnose(found)]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
@pytest.mark.parametrize("layers", [1, 3, 20])
def test_even_gradients_are_healthy_at_any_scale(scale, layers):
    assert codes(evidence([scale] * layers)) == ["healthy"]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_vanishing_is_relative_and_names_the_weakest_layer_not_the_strongest(scale):
    found = diagnose(evidence(scale * np.array([1e-7, 1e-8, 1e-4, 1e-2, 1.0])))
    assert [finding.code for finding in found] == ["vanishing"]
    assert found[0].layer == "hidden2"
    assert found[0].evidence["layers"] == "hidden1 to hidden3"
    assert found[0].evidence["factor"] == pytest.approx(1e-8)
    assert "1e-8" in found[0].message or "1.0e-08" in found[0].message


def test_exploding_is_growth_towards_the_input_and_names_the_strongest_layer():
    found = diagnose(evidence([1e5, 1e3, 1.0, 0.1]))
    assert [finding.code for finding in found] == ["exploding"]
    assert found[0].layer == "hidden1"


def test_large_weights_explain_large_gradients():
    assert codes(evidence([1.0, 1.0, 1.0], weights=[1e5, 1.0, 1e-2])) == ["healthy"]


@pytest.mark.parametrize(("factor", "expected"), [(1.1e-3, "healthy"), (0.9e-3, "vanishing")])
def test_the_threshold_is_a_thousandth(factor, expected):
    assert codes(evidence([factor, 1.0])) == [expected]


def test_a_layer_without_gradient_is_named():
    found = diagnose(evidence([1.0, 0.0, 1.0]))
    assert [(finding.code, finding.layer) for finding in found] == [("no-gradient", "hidden2")]
    assert found[0].severity == "error"


def test_a_learning_rate_too_high_needs_large_updates_and_a_loss_that_does_not_fall():
    flat = np.full(40, 2.3)
    found = diagnose(evidence([1.0, 1.0], ratio=5.0, losses=flat))
    assert [finding.code for finding in found] == ["lr-too-high"]
    assert found[0].override == "optimizer.lr=1e-05"
    assert codes(evidence([1.0, 1.0], ratio=1e-3, losses=flat)) == ["healthy"]
    assert codes(evidence([1.0, 1.0], ratio=5.0)) == ["healthy"]


def test_a_loss_that_came_down_from_its_own_explosion_has_not_fallen():
    losses = np.concatenate([[2.3], np.linspace(9000, 290, 39)])
    assert codes(evidence([1.0, 1.0], ratio=5.0, losses=losses)) == ["lr-too-high"]


@pytest.mark.parametrize(
    ("phase", "layer", "words"),
    [
        ("forward", "hidden1", "output of the layer hidden1"),
        ("backward", "output", "gradient of the layer output"),
        ("loss", None, "the loss was the first"),
    ],
)
def test_a_fault_is_an_error_that_comes_first(phase, layer, words):
    fault = FaultRecord(7, 1, phase, layer, math.inf, (1, 2))
    found = diagnose(evidence([1e-9, 1.0], fault=fault))
    assert [finding.code for finding in found] == ["non-finite", "vanishing"]
    assert words in found[0].message
    assert found[0].override == "optimizer.lr=0.01"


@pytest.mark.parametrize(
    ("activation", "model", "override"),
    [
        ("sigmoid", "deep_mlp", "activation=relu init=kaiming"),
        ("relu", "deep_mlp", "init=kaiming model.norm=batch"),
        ("relu", "rnn", "init=orthogonal"),
    ],
)
def test_the_override_fits_the_model(activation, model, override):
    found = diagnose(evidence([1e-9, 1.0], activation=activation, model=model))
    assert found[0].override == override


def test_healthy_is_said_only_where_there_was_something_to_test():
    few = evidence([1.0, 1.0])
    assert codes(replace(few, norms=few.norms[:5], losses=few.losses[:5])) == []
    assert codes(replace(few, update_ratios=few.update_ratios[:0])) == []


def test_evidence_leaves_out_norm_layers_and_non_finite_steps_and_samples_long_runs():
    layers = (
        *network(2),
        LayerInfo("norm1", "BatchNorm1d", 2, (ParameterInfo("norm1.weight", (8,)),)),
    )
    count = 50_000
    norms = np.ones((count, 3))
    norms[:, 1] = np.arange(count)
    norms[100] = math.nan
    steps = StepRecords(
        step=np.arange(count), epoch=np.ones(count), loss=np.ones(count),
        learning_rate=np.ones(count), grad_norm_before_clip=norms.sum(axis=1),
        clip_coefficient=np.ones(count), parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms,
    )  # fmt: skip
    record = LayerRecord(1, (2.0, 4.0, 8.0), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    found = collect_evidence(run_info(layers), steps, (record,), (), None)
    assert [layer.name for layer in found.layers] == ["hidden1", "output"]
    assert found.weights.tolist() == [2.0, 4.0]
    assert found.update_ratios.tolist() == [[0.1, 0.2]]
    assert len(found.norms) == 2000
    assert np.isfinite(found.norms).all()
    assert found.relative_norms == pytest.approx([0.5, np.nanmedian(norms[:, 1]) / 4], rel=1e-3)
