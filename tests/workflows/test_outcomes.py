"""What a user is promised to see, on real digits: accuracies, findings and exit codes."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

import gradcli
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import PHASES, norm_by_layer

SHARED = Path(os.environ.get("GRADCLI_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_mnist = pytest.mark.skipif(
    not (SHARED / "mnist").is_dir(), reason="all of MNIST is needed; set GRADCLI_DATA"
)


def train(tmp_path, *overrides, **paths):
    return gradcli.train("data=mnist5k", *overrides, runs_dir=tmp_path, **paths)


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), "epochs=4", "monitor.every=10")


def test_the_bundled_sample_reaches_ninety_percent(default_run):
    summary = summarise_run(default_run)
    assert summary.status == "finished"
    assert summary.test_score >= 0.90
    assert [finding.code for finding in summary.findings] == ["healthy"]


def test_the_summary_equals_a_direct_computation(default_run):
    summary, steps = summarise_run(default_run), default_run.steps
    before = norm_by_layer(steps.parameter_grad_norm_before_clip, default_run.layers)
    after = norm_by_layer(steps.parameter_grad_norm_after_clip, default_run.layers)
    for index, layer in enumerate(summary.layers):
        for norms, told in (
            (before[:, index], layer.grad_norm_before_clip),
            (after[:, index], layer.grad_norm_after_clip),
        ):
            assert (told.first, told.last) == (norms[0], norms[-1])
            assert told.mean == pytest.approx(norms.mean())
            assert told.max == norms.max()
        share = np.mean(after[:, index] < before[:, index] * (1 - 1e-6))
        assert layer.clipped_fraction == pytest.approx(share)
        assert layer.update_ratio == default_run.layer_records[-1].update_ratio[index]
    assert summary.clipped_fraction == pytest.approx(np.mean(steps.grad_norm_before_clip > 1.0))
    assert (summary.steps, summary.epochs) == (128, 4)
    assert summary.train_loss == default_run.evals[-2].train_loss
    assert summary.steps_per_second == pytest.approx(128 / summary.seconds_train)
    assert math.fsum(summary.phases.values()) == pytest.approx(1.0)
    assert tuple(summary.phases) == PHASES
    assert summary.seconds_train < summary.seconds_total


def test_pictures_are_drawn(default_run):
    names = {path.name for path in (default_run.path / "plots").iterdir()}
    assert names == {"loss.png", "accuracy.png", "gradient_norms.png"}
    for name in names:
        assert (default_run.path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_sigmoids_in_a_deep_network_vanish_near_the_input(tmp_path):
    run = train(tmp_path, "model=deep_mlp", "activation=sigmoid", "init=xavier")
    finding = summarise_run(run).findings[0]
    assert finding.code == "vanishing"
    assert finding.evidence["layers"].startswith("hidden1 to hidden")
    assert finding.layer in ("hidden1", "hidden2", "hidden3")
    assert finding.override is not None
    mended = train(tmp_path, "model=deep_mlp", *finding.override.split())
    assert [one.code for one in summarise_run(mended).findings] == ["healthy"]


def test_a_learning_rate_of_a_hundred_ends_with_a_finding(tmp_path):
    clipped = summarise_run(train(tmp_path, "optimizer=sgd", "optimizer.lr=100"))
    assert clipped.findings[0].code == "lr-too-high"
    diverged = summarise_run(train(tmp_path, "optimizer=sgd", "optimizer.lr=100", "clip=none"))
    assert diverged.status == "diverged"
    codes = [(one.code, one.follows_from) for one in diverged.findings[:2]]
    assert codes == [("lr-too-high", None), ("non-finite", "lr-too-high")]
    assert diverged.fault is not None
    assert (Path(diverged.path) / "checkpoints" / "fault.pt").exists()


def test_a_fault_keeps_the_weights_from_before_it_and_the_batch(tmp_path):
    import torch

    from gradcli.data import load_dataset

    run = train(tmp_path, "optimizer=sgd", "optimizer.lr=100", "clip=none")
    saved = torch.load(run.path / "checkpoints" / "fault.pt", weights_only=True)
    images = load_dataset("mnist5k").train.inputs
    assert torch.equal(saved["inputs"], images[list(run.fault.batch)])
    weights = torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


@needs_mnist
@pytest.mark.parametrize(("model", "accuracy"), [("mlp", 0.975), ("cnn", 0.985)])
def test_all_of_mnist(tmp_path, model, accuracy):
    run = gradcli.train(f"model={model}", data="mnist", data_dir=SHARED, runs_dir=tmp_path)
    assert summarise_run(run).test_score >= accuracy
