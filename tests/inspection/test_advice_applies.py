"""What a real training is advised to do can be done: an override that is taken, or words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gradcli as package
from gradcli.config import changed, load_config
from gradcli.diagnosis import examine
from gradcli.inspection.run_summary import gather_evidence

COUNT = 300
INPUTS = torch.randn(COUNT, 8, generator=torch.Generator().manual_seed(0))
SUMS = INPUTS.sum(1, keepdim=True)


def of_sigmoids():
    layers = [nn.Linear(8, 16), nn.Sigmoid()]
    for _ in range(12):
        layers += [nn.Linear(16, 16), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(16, 1))


def of_dead_units():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    nn.init.constant_(model[0].bias, -100)
    return model


def of_huge_weights():
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    nn.init.normal_(model[0].weight, std=100)
    return model


def rnn():
    """Make a model that has the name of a shipped one, whose keys it does not have."""
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.99), nn.Linear(16, 1))


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (of_sigmoids, "vanishing"),
        (of_dead_units, "dead-units"),
        (of_huge_weights, "initial-scale"),
        (rnn, "dropout-too-high"),
    ],
)
def test_of_a_problem_s_own_model_it_is_said_in_words(model, code, tmp_path):
    problem = package.Problem(model=model, train=(INPUTS, SUMS), loss="mse")
    run = package.train(problem, "epochs=10", "device=cpu", "threads=1", runs_dir=tmp_path)
    found = examine(gather_evidence(run, run.steps)).findings[0]
    assert found.code == code
    assert found.override is None
    assert found.mend


@pytest.mark.parametrize(
    ("kind", "how", "override"),
    [
        ("npz", (), "data.standardize=true"),
        ("npz", ("data.standardize=true",), None),
        ("images", (), None),
        ("images", ("data.normalize=none",), "data.normalize=mean_std"),
        ("table", (), None),
        ("table", ("data.standardize=false",), "data.standardize=true"),
    ],
)
def test_inputs_are_scaled_by_what_the_data_take(kind, how, override, tmp_path):
    numbers = torch.randint(0, 1000, (COUNT, 8), generator=torch.Generator().manual_seed(1)).numpy()
    classes = numbers[:, 0] // 500
    data = ["data=npz", f"data.path={tmp_path / 'numbers.npz'}"]
    if kind == "table":
        file = tmp_path / "numbers.csv"
        rows = np.column_stack((numbers, classes))
        np.savetxt(file, rows, fmt="%d", delimiter=",", header="a,b,c,d,e,f,g,h,y", comments="")
        data = ["data=table", f"data.path={file}", "data.target=y"]
    elif kind == "images":
        numbers = (numbers[:, :, None] // 4).astype(np.uint8).repeat(8, axis=2)
    np.savez(tmp_path / "numbers.npz", x_train=numbers, y_train=classes)
    run = package.train(
        *data, *how, "model=mlp", "max_steps=40", "device=cpu", "threads=1", runs_dir=tmp_path
    )
    found = {one.code: one for one in examine(gather_evidence(run, run.steps)).findings}
    scaled = override is None
    assert ("unscaled-inputs" in found) != scaled
    if not scaled:
        assert found["unscaled-inputs"].override == override
        assert "subtract the mean" in found["unscaled-inputs"].mend
    if override:  # the run's config takes it, and then differs
        before = load_config(run.config, where="config.yaml")
        after = changed(before, [override])
        assert after.config.data != before.config.data
