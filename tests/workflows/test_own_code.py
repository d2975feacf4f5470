"""Code of the user's own that raises an exception in the middle of training."""

import json
import sys

import pytest

from gradcli.errors import nearest, place_in_own_code
from gradcli.runs import load_run

SMALL = ("data=mnist5k", "epochs=1", "max_steps=6", "batch_size=16", "device=cpu")

TIRED = """
import torch
from torch import nn


class Tired(nn.Module):
    '''Works for two batches.'''

    def __init__(self, classes: int):
        super().__init__()
        self.output = nn.Linear(784, classes)
        self.batches = 0

    def forward(self, images):
        self.batches += self.training
        if self.batches > 2:
            return self.output(images)
        return self.output(images.flatten(1))
"""
LINE = TIRED[: TIRED.index("return self.output(images)\n")].count("\n") + 1


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The options that allow a model of the user's own."""
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "my_model.py").write_text(TIRED)
    (tmp_path / "own" / "model" / "tired.yaml").write_text("_target_: my_model.Tired\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")  # for the processes of trials
    yield ["model=tired", "--config-dir", str(tmp_path / "own"), "--allow-import", "my_model"]
    sys.modules.pop("my_model", None)


def test_a_run_names_the_file_and_line_and_is_kept(gradcli, own, runs_dir, tmp_path):
    answer = gradcli("train", *SMALL, *own, "--no-live")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert "Training failed after step 2: RuntimeError: mat1 and mat2" in answer.message
    place = f"{tmp_path / 'my_model.py'}:{LINE}"
    assert f"where: {place}" in answer.message
    run = load_run(next(runs_dir.iterdir()))
    assert run.status == "failed"
    assert run.state["error"].endswith(f" at {place}")


def test_a_failed_trial_names_the_file_and_line(gradcli, own, tmp_path):
    words = ["--optimizers", "sgd", "--seeds", "1", "protocol.tune=false", "--jobs", "1"]
    answer = gradcli("compare-optimizers", *SMALL, *own, *words, "--json")
    assert answer.code == 3
    (trial,) = json.loads(answer.out)["trials"]
    assert trial["status"] == "failed"
    assert trial["error"].startswith("RuntimeError(")
    assert trial["error"].endswith(f" at {tmp_path / 'my_model.py'}:{LINE}")


def test_an_exception_that_gradcli_raised_is_not_blamed_on_the_code_that_called_it():
    with pytest.raises(AttributeError) as caught:
        nearest(None, ["adam"])
    assert place_in_own_code(caught.value, even_if_gradcli_raised=False) == ""
    assert "test_own_code.py:" in place_in_own_code(caught.value)


def test_the_place_is_not_in_the_standard_library():
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("no")
    assert "test_own_code.py:" in place_in_own_code(caught.value)
