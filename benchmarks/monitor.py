"""What `GradientMonitor` costs: the same training loop with and without it.

Both train equal models on the same data in one process, block by block in turn (A B, then B A),
so that a machine whose speed drifts slows both. The loop is what a careful engineer writes by
hand: float tensors in memory, batches by index, no clipping unless the case says so. The
monitored one is that loop with the two lines of the monitor, everything at its defaults.
One thread, and the process's CPU time: what else the machine does disturbs that less.

    python benchmarks/monitor.py [--blocks 24] [--steps 100] [--case NAME ...] [--at-most 1.05]

Prints the median ratio of the time per step, monitored / plain, with a 95% interval (bootstrap
over the pairs of blocks), and exits with 1 where a case's median exceeds `--at-most`.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap
from torch import nn

from gradcli import GradientMonitor
from gradcli.data import load_dataset
from gradcli.models import CNN, MLP

BATCH = 128
IMAGES = {"input_shape": (1, 28, 28), "classes": 10, "activation": nn.ReLU}


@dataclass(frozen=True)
class Case:
    """A model, its optimizer, and the norm that the loop clips to (None: it does not)."""

    model: Callable[[], nn.Module]
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    clip: float | None = None


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3)


def fused_adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def mlp() -> nn.Module:
    return MLP(**IMAGES, hidden=[256, 128])


def deep(width: int) -> Callable[[], nn.Module]:
    return lambda: MLP(**IMAGES, hidden=[width] * 20)


CASES = {
    "mlp": Case(mlp, adam),
    "mlp fused": Case(mlp, fused_adam),
    "mlp momentum": Case(mlp, momentum),
    "mlp clipped": Case(mlp, adam, clip=1.0),
    "20 layers of 128": Case(deep(128), adam),
    "20 layers of 32": Case(deep(32), adam),
    "20 layers of 32 fused": Case(deep(32), fused_adam),
    "cnn": Case(lambda: CNN(**IMAGES), adam),
}


def training(
    case: Case, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, runs: str | None
) -> Iterator[None]:
    """Make one step at each `next`, monitored where there is a directory for the run."""
    optimizer = case.optimizer(model.parameters())
    watching = GradientMonitor(model, optimizer, runs_dir=runs) if runs else nullcontext()
    with watching as monitor:
        while True:
            permutation = torch.randperm(len(images))
            for i in range(0, len(images) - BATCH + 1, BATCH):
                indices = permutation[i : i + BATCH]
                loss = F.cross_entropy(model(images[indices]), labels[indices])
                optimizer.zero_grad()
                loss.backward()
                if monitor is not None:
                    monitor.step(loss)
                if case.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), case.clip)
                optimizer.step()
                yield


def seconds(steps: Iterator[None], count: int) -> float:
    """Return the CPU time of `count` steps."""
    began = time.process_time()
    for _ in range(count):
        next(steps)
    return time.process_time() - began


def ratios(case: Case, images, labels, blocks: int, steps: int) -> tuple[np.ndarray, float]:
    """Return monitored over plain time for each pair of blocks, and plain seconds a step."""
    torch.manual_seed(0)
    model = case.model()
    with tempfile.TemporaryDirectory() as runs:
        plain = training(case, copy.deepcopy(model), images, labels, None)
        monitored = training(case, model, images, labels, runs)
        seconds(plain, steps)
        seconds(monitored, steps + 50)  # warm, and beyond the first steps' double measurement
        found, bare = [], []
        for pair in range(blocks):
            order = (plain, monitored) if pair % 2 else (monitored, plain)
            taken = {one: seconds(one, steps) for one in order}
            found.append(taken[monitored] / taken[plain])
            bare.append(taken[plain] / steps)
        monitored.close()
    return np.array(found), float(np.median(bare))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--at-most", type=float, default=1.05)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    train = load_dataset("mnist5k").train
    images, labels = train.images.float() / 255, train.labels
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; ", end="")
    print(f"batch {BATCH}, {arguments.blocks} pairs of blocks of {arguments.steps} steps")
    worst = 0.0
    for name in arguments.case:
        found, bare = ratios(CASES[name], images, labels, arguments.blocks, arguments.steps)
        median = float(np.median(found))
        interval = bootstrap((found,), np.median, random_state=0).confidence_interval
        print(
            f"{name:22} {median:.3f} [{interval.low:.3f}, {interval.high:.3f}]  "
            f"plain {bare * 1e3:.2f} ms a step",
            flush=True,
        )
        worst = max(worst, median)
    return int(worst > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
