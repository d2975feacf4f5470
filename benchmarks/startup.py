"""How long a user waits: `gradcli --help` against a bare Typer program, and the first step.

    python benchmarks/startup.py [--runs 20]

Each figure is the median ratio of the wall-clock times of whole processes, run in turn (A B A B),
with a 95% interval (bootstrap over the pairs). The first training step is compared with a script
that imports torch, builds the default MLP and Adam, and makes one step on random images: gradcli
composes its config, reads the data, opens a run directory and checks every argument besides.
Exits with 1 where `--help` takes more than 1.3 of the bare program's time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

BARE_HELP = """
from typing import Annotated
import typer
app = typer.Typer()
@app.command()
def train(name: Annotated[str, typer.Option(help="A name.")] = "a") -> None:
    '''Train.'''
@app.command()
def runs(name: Annotated[str, typer.Option(help="A name.")] = "a") -> None:
    '''List runs.'''
app()
"""
BARE_STEP = """
import torch
from torch import nn
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128),
                      nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters())
loss = nn.functional.cross_entropy(model(torch.rand(128, 1, 28, 28)), torch.zeros(128).long())
loss.backward()
optimizer.step()
"""


def seconds(command: Sequence[str], folder: Path) -> float:
    """Return how long a command takes; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def ratios(ours: Sequence[str], bare: Sequence[str], folder: Path, runs: int) -> np.ndarray:
    """Return our time over the bare one's, for each pair; the first pair warms up."""
    pairs = [(seconds(ours, folder), seconds(bare, folder)) for _ in range(runs + 1)]
    return np.array([a / b for a, b in pairs[1:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    python = sys.executable
    first_step = ["train", "data=mnist5k", "max_steps=1", "threads=1", "--quiet"]
    cases = {
        "--help": (["-m", "gradcli", "--help"], BARE_HELP, ["--help"]),
        "one step and its run": (["-m", "gradcli", *first_step], BARE_STEP, []),
    }
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (ours, script, words) in cases.items():
            (Path(folder) / "bare.py").write_text(script)
            bare = [python, "bare.py", *words]
            found = ratios([python, *ours], bare, Path(folder), arguments.runs)
            interval = bootstrap((found,), np.median, random_state=0).confidence_interval
            medians[name] = float(np.median(found))
            print(f"{name:22} {medians[name]:.2f}  [{interval.low:.2f}, {interval.high:.2f}]")
    return int(medians["--help"] > 1.3)


if __name__ == "__main__":
    sys.exit(main())
