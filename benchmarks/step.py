"""What recording and clipping cost: gradcli's training step against a bare loop.

Both train the same model on the same data in one process, block by block in turn (A B A B), so
that a machine whose speed drifts slows both. The bare loop is what a careful engineer writes by
hand: float tensors in memory, `X[permutation[i : i + batch]]`, the optimizer as PyTorch
constructs it (fused where that is asked for), no recording, no clipping. gradcli's side is the
trainer that `gradcli train` runs, with every parameter's norm before and after clipping
recorded at each step, clipping on, and its layer probes.

Where in memory a model happens to lie makes its training up to 6% faster or slower than that of
its like, for as long as it lies there. So each case is measured with new pairs of models again and
again, `--placements` times, each time at another place.

    python benchmarks/step.py [--placements 12] [--blocks 3] [--threads 1 2] [--case NAME ...]
                              [--at-most RATIO]

Prints the median ratio of the time per step, gradcli / bare, with a 95% interval (bootstrap
over the placements), and exits with 1 where a case's median exceeds its limit: 0.95 for the MLP,
1.00 for the others.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap
from torch import nn

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.experiment import build_trainer
from gradcli.records import StepRecords

BATCH = 128
CASES: dict[str, tuple[list[str], Callable[[nn.Module], torch.optim.Optimizer]]] = {
    "mlp adam": (
        ["optimizer=adam"],
        lambda model: torch.optim.Adam(model.parameters(), lr=2e-3, fused=True),
    ),
    "mlp momentum": (
        ["optimizer=momentum"],
        lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    ),
    "mlp rmsprop": (
        ["optimizer=rmsprop"],
        lambda model: torch.optim.RMSprop(model.parameters(), lr=1e-3),
    ),
    "deep_mlp adam": (
        ["model=deep_mlp", "init=kaiming"],
        lambda model: torch.optim.Adam(model.parameters(), lr=2e-3, fused=True),
    ),
    "cnn adam": (
        ["model=cnn"],
        lambda model: torch.optim.Adam(model.parameters(), lr=2e-3, fused=True),
    ),
}


def gradcli_blocks(overrides: list[str], dataset) -> Iterator[tuple[float, int]]:
    """Yield (seconds, steps) for block after block of the trainer's own loop."""
    trainer = build_trainer(compose_train([*overrides, "epochs=1000"]), dataset)
    records = trainer.run()
    while True:
        trainer.splits["val"].size = 0  # no evaluation: steps alone are timed
        began = time.perf_counter()
        record = next(records)
        while not isinstance(record, StepRecords):
            record = next(records)
        yield time.perf_counter() - began, len(record)


def bare_steps(
    model: nn.Module,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    images: torch.Tensor,
    labels: torch.Tensor,
) -> Iterator[None]:
    """Make one step of the bare loop at each `next`."""
    optimizer = make_optimizer(model)
    while True:
        permutation = torch.randperm(len(images))
        for i in range(0, len(images), BATCH):
            indices = permutation[i : i + BATCH]
            loss = F.cross_entropy(model(images[indices]), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def ratio(case: str, dataset, images: torch.Tensor, blocks: int) -> float:
    """Return gradcli's time per step over the bare one's, for two models made for it."""
    overrides, make_optimizer = CASES[case]
    twin = build_trainer(compose_train(overrides), dataset).model
    bare = bare_steps(twin, make_optimizer, images, dataset.train.labels)
    ours = gradcli_blocks(overrides, dataset)
    found = []
    while len(found) <= blocks:
        seconds, steps = next(ours)
        began = time.perf_counter()
        for _ in range(steps):
            next(bare)
        bare_seconds = time.perf_counter() - began
        if steps > 1:
            found.append(seconds / bare_seconds)
    return float(np.median(found[1:]))  # the first block warms up caches and allocators


def ratios(case: str, dataset, images: torch.Tensor, placements: int, blocks: int) -> np.ndarray:
    """Return the ratio of each of so many pairs of models."""
    sizes = np.random.default_rng(0).integers(1, 300_000, size=placements)
    found, spacers = [], []
    for size in sizes.tolist():
        spacers.append(torch.empty(size))
        found.append(ratio(case, dataset, images, blocks))
    return np.array(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--placements", type=int, default=12)
    parser.add_argument("--blocks", type=int, default=3, help="pairs of them for a placement")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--at-most", type=float, help="in place of each case's own limit")
    arguments = parser.parse_args()

    folder = os.environ.get("GRADCLI_DATA")
    dataset = load_dataset("auto", data_dir=Path(folder) if folder else None)
    scale = 1 / (255 * dataset.std)
    images = dataset.train.images.float() * scale - dataset.mean / dataset.std
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; ", end="")
    placements, blocks = arguments.placements, arguments.blocks
    print(f"{dataset.info.name}, batch {BATCH}, {placements} placements, {blocks} pairs of blocks")
    within = True
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for case in arguments.case:
            limit = arguments.at_most or (0.95 if case.startswith("mlp") else 1.0)
            found = ratios(case, dataset, images, placements, blocks)
            median = float(np.median(found))
            interval = bootstrap((found,), np.median, random_state=0).confidence_interval
            print(
                f"{case:15} {threads} thread{'s' if threads > 1 else ' '}  {median:.3f}  "
                f"[{interval.low:.3f}, {interval.high:.3f}]  at most {limit:.2f} wanted",
                flush=True,
            )
            within &= median <= limit
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
