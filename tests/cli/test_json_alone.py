"""With `--json`, stdout holds one JSON object, even if the user's own code prints."""

from __future__ import annotations

import json
import sys

import pytest

MODEL = """
import math
import sys

from torch import nn


class Talkative(nn.Sequential):
    def __init__(self, input_shape, classes):
        print("CONSTRUCTED")
        super().__init__(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))

    def forward(self, images):
        sys.stdout.write("FORWARD\\n")
        return super().forward(images)
"""
SMALL = ("data=mnist5k", "model=talkative", "--allow-import", "talkative_lab")
TRAINED = ("max_steps=2", "--quiet")
COMMANDS = {
    "train": ("train", *SMALL, *TRAINED),
    "find-lr": ("find-lr", *SMALL, *TRAINED),
    "inspect": ("inspect-gradients", *SMALL, "examples=64", "--probe", "histograms"),
    "compare": (
        *("compare-optimizers", *SMALL, *TRAINED, "--optimizers", "sgd,adam", "--seeds", "1"),
        *("protocol.tune=false", "--engine", "serial"),
    ),
}


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch):
    """The package `talkative_lab`, and a folder with a config of its model."""
    (tmp_path / "talkative_lab.py").write_text(MODEL)
    (tmp_path / "own/model").mkdir(parents=True)
    (tmp_path / "own/model/talkative.yaml").write_text("_target_: talkative_lab.Talkative\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    yield
    sys.modules.pop("talkative_lab", None)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_model_prints_goes_to_stderr(gradcli, command):
    streams = sys.stdout, sys.stderr
    answer = gradcli(*COMMANDS[command], "--config-dir", "own", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["schema"] == 2
    assert "CONSTRUCTED" in answer.err
    assert "FORWARD" in answer.err
    assert (sys.stdout, sys.stderr) == streams


def test_without_json_it_stays_where_the_model_prints_it(gradcli):
    answer = gradcli(*COMMANDS["inspect"], "--config-dir", "own")
    assert "FORWARD" in answer.out
    assert "FORWARD" not in answer.err


def test_a_config_is_still_printed_on_stdout(gradcli):
    answer = gradcli("train", "--show-config", "--json")
    assert "optimizer:" in answer.out
