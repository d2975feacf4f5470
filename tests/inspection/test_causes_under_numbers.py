"""The first cause that real trainings on numbers are said to have, where several may seem so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcli as package
from gradcli.diagnosis import examine
from gradcli.inspection.run_summary import gather_evidence


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


PIXELS = torch.rand(240, 64, generator=torch.Generator().manual_seed(0))
BRIGHTNESS = PIXELS.mean(1, keepdim=True) * 10  # 5, give or take a third
INPUTS = drawn(1, 600, 5)
SUMS = INPUTS.sum(1, keepdim=True)
OUTLIER = drawn(2, 600, 1)
OUTLIER[7] = 1000
ADAM = ("optimizer=adam", "optimizer.lr=0.001")


class Blocks(nn.Module):
    """Norm layers, whose weights no learning rate seems too high for."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)
        )
        self.second = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU())
        self.last = nn.Linear(32, 1)

    def forward(self, inputs):
        return self.last(self.second(self.first(inputs)))


def network(last=nn.Identity):
    return lambda: nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1), last())


def first_finding(problem, *how, runs_dir):
    run = package.train(problem, *how, "device=cpu", "threads=1", runs_dir=runs_dir)
    return examine(gather_evidence(run, run.steps)).findings[0]


@pytest.mark.parametrize(
    ("model", "inputs", "targets", "loss", "how", "right"),
    [
        # Updates of forty times the weights, whatever came of them.
        (Blocks, PIXELS, BRIGHTNESS - 5, "mse", ("optimizer.lr=3", "epochs=30"), "lr-too-high"),
        (Blocks, PIXELS, BRIGHTNESS, "mse", ("optimizer.lr=3", "epochs=30"), "lr-too-high"),
        # Nothing moved, however far there was to go.
        (Blocks, PIXELS, BRIGHTNESS, "mse", ("optimizer.lr=1e-7", "epochs=30"), "lr-too-low"),
        (
            network(),
            INPUTS,
            1000 + 80 * SUMS,
            "mse",
            ("optimizer.lr=1e-7", "epochs=30"),
            "lr-too-low",
        ),
        # Targets that usual steps do not come to.
        (network(), INPUTS, 1000 + 80 * SUMS, "mse", ("epochs=20",), "loss-scale"),
        (network(), INPUTS, 1000 + 80 * SUMS, "mse", ("epochs=60",), "loss-scale"),
        (network(), INPUTS, 2e5 + 1e4 * SUMS, "l1", ("epochs=20",), "loss-scale"),
        (network(), INPUTS, 70 * SUMS, "mse", ("epochs=20",), "loss-scale"),
        (network(), INPUTS, SUMS, "mse", ("epochs=20", "optimizer.lr=0.01"), "healthy"),
        # Outputs that cannot come to them.
        (network(nn.Sigmoid), INPUTS, SUMS, "mse", ("epochs=20",), "saturated"),
        (network(nn.Tanh), INPUTS, SUMS, "l1", ("epochs=20",), "saturated"),
        (
            network(nn.Sigmoid),
            INPUTS,
            SUMS.sigmoid(),
            "mse",
            ("epochs=20", "optimizer.lr=0.01"),
            "healthy",
        ),
        # One target has nearly all of what guessing costs.
        (network(), INPUTS, OUTLIER, "mse", ("epochs=20",), "undetermined"),
    ],
)
def test_the_cause_comes_first(model, inputs, targets, loss, how, right, tmp_path):
    problem = package.Problem(model=model, train=(inputs, targets), loss=loss)
    found = first_finding(problem, *ADAM, *how, runs_dir=tmp_path)
    assert found.code == right, found.message


def test_an_outlier_is_named(tmp_path):
    problem = package.Problem(model=network(), train=(INPUTS, OUTLIER), loss="mse")
    found = first_finding(problem, *ADAM, "epochs=20", runs_dir=tmp_path)
    assert found.evidence["share_of_few"] > 0.9
    assert "their targets are far from the others" in found.message


def test_targets_belong_to_the_inputs_while_the_loss_on_others_falls(tmp_path):
    images = drawn(3, 240, 1, 8, 8)
    problem = package.Problem(
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1)),
        train=(images, images.mean((1, 2, 3))),
        loss="l1",
    )
    found = first_finding(problem, *ADAM, "epochs=20", runs_dir=tmp_path)
    assert found.code != "labels"


def test_a_fresh_model_of_targets_far_away_is_not_healthy(tmp_path):
    far = package.Problem(model=network(), train=(INPUTS, 1000 + 80 * SUMS), loss="mse")
    near = package.Problem(model=network(), train=(INPUTS, SUMS), loss="mse")
    assert package.inspect(far, runs_dir=tmp_path).verdict == "loss-scale"
    assert package.inspect(near, runs_dir=tmp_path).verdict == "healthy"


def batches(batch_size):
    for at in range(10):
        rows = torch.arange(at * batch_size, (at + 1) * batch_size) % 400
        yield INPUTS[rows], SUMS[rows]


def test_guessing_is_that_of_the_examples_in_memory_if_others_are_a_stream(tmp_path):
    rest = (INPUTS[400:500], SUMS[400:500]), (INPUTS[500:], SUMS[500:])
    how = (*ADAM, "optimizer.lr=0.01", "epochs=10")
    problem = package.Problem(
        model=network(), train=batches, val=rest[0], test=rest[1], loss="mse", steps_per_epoch=10
    )
    run = package.train(problem, *how, "device=cpu", "threads=1", runs_dir=tmp_path)
    levels = run.info.levels
    assert levels.streamed
    assert levels.guessing == pytest.approx(float(rest[0][1].var(correction=0)))
    assert examine(gather_evidence(run, run.steps)).findings[0].code == "healthy"
    streams = package.Problem(
        model=network(),
        train=batches,
        val=batches,
        test=batches,
        loss="mse",
        steps_per_epoch={"train": 10, "val": 3, "test": 3},
    )
    found = first_finding(streams, *how, runs_dir=tmp_path)
    assert found.code == "undetermined"
    assert "the examples are streams" in found.message
    assert "under this loss" not in found.message
