"""How long a user waits: for an answer of the command line, and for the first training step.

    python benchmarks/startup.py [--blocks 20] [OVERRIDE ...]

Whole processes run in blocks, each case once per block (A B C A B C), so a machine whose speed
drifts slows all of them. For each case it prints the median over the blocks of its time divided by
that of the bare program in the same block, with a 95% interval (bootstrap over the blocks).

Answers (`--help`, mistakes) are timed from outside, from before the process starts to
its end, and compared with `--help` of a Typer program with two commands.

The first step ends when `gradcli train` notes it, after the step's gradients were measured,
clipped, applied, and brought to the host: `seconds.first_step` of its `--json`, which counts from
the start of the process by the kernel's clock. The bare script imports torch, builds the default
MLP and Adam, makes one step on random images, and reads the same clock. gradcli also composes its
config, reads its data (cached by a first block, which is not counted) and opens a run directory. It
runs twice: as it is, and with `GRADCLI_FAST=0`, as if the release of PyTorch were not proven
(`gradcli.fast.gate`).

Exits with 1 if a median is above its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap

import gradcli
from gradcli.config.config_files import shipped_configs

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
import time
ended = time.time()
from gradcli.runs.provenance import process_started
print(ended - process_started())
"""
#: What the console script runs.
COMMAND = "import sys; sys.argv[0] = 'gradcli'; from gradcli.__main__ import main; main()"


class Case(NamedTuple):
    """What is measured, against the first case of its table; `limit` is on the median ratio."""

    name: str
    measure: Callable[[], float]
    limit: float | None


def copy_package(folder: Path) -> None:
    """Copy the package into `folder`, as a user has it installed."""
    package = folder / "gradcli"
    shutil.copytree(Path(gradcli.__file__).parent, package)
    shutil.copytree(shipped_configs(), package / "configs", dirs_exist_ok=True)


def run(words: list[str], folder: Path, code: int = 0, **environment: str) -> tuple[float, str]:
    """Run Python in `folder`; return the seconds that it took, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - began
    assert done.returncode == code, done.stderr
    return took, done.stdout


def answer(folder: Path, *words: str, code: int = 0, **environment: str) -> float:
    """Return the seconds until the command line has answered."""
    return run(["-c", COMMAND, *words], folder, code, **environment)[0]


def first_step(folder: Path, overrides: list[str], fast: str) -> float:
    """Return the seconds until the command's first step has ended."""
    words = ["train", *overrides, "max_steps=1", "--quiet", "--json"]
    printed = run(["-c", COMMAND, *words], folder, GRADCLI_FAST=fast)[1]
    seconds: float = json.loads(printed)["seconds"]["first_step"]
    return seconds


def bare_help(folder: Path) -> float:
    return run(["-c", BARE_HELP, "--help"], folder)[0]


def bare_step(folder: Path) -> float:
    return float(run(["-c", BARE_STEP], folder)[1])


def compare(cases: list[Case], blocks: int) -> bool:
    """Measure the cases in blocks, print their ratios to the first; whether all limits hold."""
    seconds = np.array([[case.measure() for case in cases] for _ in range(blocks + 1)])[1:]
    print(f"{cases[0].name:34} {np.median(seconds[:, 0]):.2f} s")
    hold = True
    for case, column in zip(cases[1:], seconds.T[1:], strict=True):
        ratios = column / seconds[:, 0]
        interval = bootstrap((ratios,), np.median, random_state=0).confidence_interval
        median = float(np.median(ratios))
        limit = "" if case.limit is None else f"  at most {case.limit:.2f} wanted"
        print(f"{case.name:34} {median:.2f}  [{interval.low:.2f}, {interval.high:.2f}]{limit}")
        hold &= case.limit is None or median <= case.limit
    return hold


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", default=["data=mnist5k"])
    parser.add_argument("--blocks", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ours = Path(name) / "ours"
        copy_package(ours)
        step = partial(first_step, ours, arguments.overrides)
        tables = [
            [
                Case("a bare Typer program, --help", partial(bare_help, ours), None),
                Case("--help", partial(answer, ours, "--help"), 1.2),
                Case("unknown command", partial(answer, ours, "trian", code=2), 1.2),
                Case("unknown option", partial(answer, ours, "train", "--epoch", code=2), 1.2),
                Case("train optimizer=adm", partial(answer, ours, "train", "-oadm", code=2), None),
            ],
            [
                Case("a bare script, first step", partial(bare_step, ours), None),
                Case("first step", partial(step, fast="1"), 0.80),
                Case("first step, GRADCLI_FAST=0", partial(step, fast="0"), 1.05),
            ],
        ]
        holding = [compare(cases, arguments.blocks) for cases in tables]
    return int(not all(holding))


if __name__ == "__main__":
    sys.exit(main())
