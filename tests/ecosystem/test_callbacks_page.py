"""docs/callbacks.md: its examples run and print what it shows, and its recipe measures rightly."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gradcli import inspect, load_run
from gradcli.runs import find_any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SOURCES = {file: text for kind, file, text in FENCES if kind == "python"}
SHOWN = {file: text for kind, file, text in FENCES if kind == "text"}
# Lightning and Transformers import torchvision, which may have been compiled for another torch.
AS_A_USER = """
import runpy, sys
from gradcli.extras.torchvision_import import import_torchvision
import_torchvision("datasets")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run_example(file, folder):
    """Run an example in a folder of its own; return all that it printed."""
    library = file.partition("_")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "GRADCLI_RUNS"}
    done = subprocess.run(
        [sys.executable, "-c", AS_A_USER, str(EXAMPLES / file)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def without_run(line):
    return re.sub(r"runs/\S+", "RUN", line)


def test_the_page_shows_the_examples():
    assert list(SOURCES) == ["lightning_fit.py", "transformers_train.py", "accelerate_loop.py"]
    for file, text in SOURCES.items():
        assert (EXAMPLES / file).read_text(encoding="utf-8") == text, (
            "python tools/readme.py docs/callbacks.md"
        )


@pytest.mark.parametrize("file", SHOWN)
def test_a_training_ends_with_the_line_that_the_page_shows(file, tmp_path):
    printed = run_example(file, tmp_path)
    lines = [one for one in re.split(r"[\r\n]", printed) if one.startswith("gradcli")]
    assert list(map(without_run, lines)) == without_run(SHOWN[file]).splitlines()
    *command, path = lines[1].split()
    run = load_run(tmp_path / path)
    assert command == ["gradcli", "inspect-gradients"]
    assert [one.code in lines[0] for one in inspect(run.path).findings] == [True]
    assert len(run.evals) == 3
    assert all(np.isfinite([one.score for one in run.evals]))
    assert run.layer_records


def test_the_loop_of_accelerate_is_measured_like_a_plain_one(tmp_path):
    printed = run_example("accelerate_loop.py", tmp_path)
    run = load_run(tmp_path / printed.strip())
    assert find_any("accelerate", tmp_path / "runs").path == run.path
    torch.manual_seed(0)
    inputs = torch.randn(1024, 20)
    labels = (inputs[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses, before, after = [], [], []
    for _ in range(3):
        for first in range(0, 1024, 32):
            optimizer.zero_grad()
            for part in (slice(first, first + 16), slice(first + 16, first + 32)):
                loss = cross_entropy(model(inputs[part]), labels[part])
                (loss / 2).backward()
            losses.append(loss.item())
            before.append([one.grad.norm().item() for one in model.parameters()])
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            after.append([one.grad.norm().item() for one in model.parameters()])
            optimizer.step()
    steps = run.steps
    assert before != after
    np.testing.assert_allclose(steps.loss, losses, rtol=1e-4)
    np.testing.assert_allclose(steps.parameter_grad_norm_before_clip, before, rtol=1e-3)
    np.testing.assert_allclose(steps.parameter_grad_norm_after_clip, after, rtol=1e-3)
    assert steps.epoch.tolist() == [1] * 32 + [2] * 32 + [3] * 32
