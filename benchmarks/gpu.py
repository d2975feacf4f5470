"""What recording and clipping cost on a GPU: gradcli's step against a bare loop, and its waits.

Both train the same model on the same data, which lies on the device, block by block in turn
(A B A B), each block until the device has done its work. The bare loop and gradcli's side are
those of `step.py`: no recording and no clipping there, the trainer of `gradcli train` with every
parameter's norm before and after clipping here, its layer probes and its flushes included. Models
are made anew for each ratio, as where one lies in memory tells.

Then the profiler looks at what the trainer does between two flushes: nothing may wait for the
device or copy from it.

    python benchmarks/gpu.py [--placements 7] [--blocks 3] [--steps 500] [--case NAME ...]
                             [--device cuda]

Prints the median ratio of the time per step, gradcli / bare, with a 95% interval (bootstrap over
the placements), and how often a step waits. Exits with 1 where a ratio exceeds 1.05 or a step
waits; says so and ends where there is no such device. On `cpu` it runs too, which shows that the
script works and nothing about a GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap
from step import BATCH, CASES, bare_steps
from torch.profiler import ProfilerActivity, profile

from gradcli.building import build_trainer
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.records import StepRecords

_LIMIT = 1.05
#: What the profiler calls a wait for the device, or a copy from it.
_WAITS = ("Synchronize", "DtoH", "aten::_local_scalar_dense", "aten::nonzero")
_PROFILED_STEPS = 50


def synchronize(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device != "cpu":
        torch.accelerator.synchronize()


def gradcli_side(case: str, dataset, device: str) -> Callable[[int], float]:
    """Return what makes a block with the trainer: the seconds of a step."""
    words = [*CASES[case][0], f"device={device}", "epochs=1000"]
    trainer = build_trainer(compose_train(words), dataset)
    records = trainer.run()

    def block(steps: int) -> float:
        trainer.splits["val"].size = 0  # no evaluation: steps alone are timed
        began, made = time.perf_counter(), 0
        while made < steps:
            record = next(records)
            made += len(record) if isinstance(record, StepRecords) else 0
        synchronize(device)
        return (time.perf_counter() - began) / made

    return block


def bare_side(case: str, dataset, device: str) -> Callable[[int], float]:
    """Return what makes a block of the bare loop: the seconds of a step."""
    words = [*CASES[case][0], f"device={device}"]
    model = build_trainer(compose_train(words), dataset).model
    scale = 1 / (255 * dataset.std)
    images = (dataset.train.images.float() * scale - dataset.mean / dataset.std).to(device)
    labels = dataset.train.labels.to(device)
    loop = bare_steps(model, CASES[case][1], images, labels)

    def block(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            next(loop)
        synchronize(device)
        return (time.perf_counter() - began) / steps

    return block


def ratios(case: str, dataset, device: str, arguments: argparse.Namespace) -> np.ndarray:
    """Return gradcli's time over the bare loop's, the median of each placement's blocks."""
    found, spacers = [], []
    for place in range(arguments.placements):
        size = int(np.random.default_rng(place).integers(1, 300_000))
        spacers.append(torch.empty(size, device=device))
        ours = gradcli_side(case, dataset, device)
        bare = bare_side(case, dataset, device)
        of_pairs = [
            ours(arguments.steps) / bare(arguments.steps) for _ in range(arguments.blocks + 1)
        ]
        found.append(float(np.median(of_pairs[1:])))  # the first one warms up
    return np.array(found)


def waits(work: Callable[[], object]) -> dict[str, int]:
    """Return how often each call that waits for the device is made, by what the profiler sees."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        work()
    return {
        event.key: event.count
        for event in profiled.key_averages()
        if any(name in event.key for name in _WAITS)
    }


def waits_of_steps(case: str, dataset, device: str) -> dict[str, int]:
    """Return the waits of what the trainer does between two flushes, without its layer probes.

    A profile ends with waits of its own, so that those of an empty one are taken off.
    """
    words = [*CASES[case][0], f"device={device}", "epochs=1000", "monitor.every=0"]
    trainer = build_trainer(compose_train(words), dataset)
    next(trainer.run())  # the first step makes the optimizer's state
    order = torch.randperm(trainer.splits["train"].size, device=device)
    batches = torch.split(order, BATCH)[:_PROFILED_STEPS]

    def steps() -> None:
        for indices in batches:
            trainer._step(1, indices)

    steps()
    alone, seen = waits(lambda: None), waits(steps)
    counts = {name: count - alone.get(name, 0) for name, count in seen.items()}
    return {name: count for name, count in counts.items() if count}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--placements", type=int, default=7)
    parser.add_argument("--blocks", type=int, default=3, help="pairs of them for a placement")
    parser.add_argument("--steps", type=int, default=500, help="in a block")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    arguments = parser.parse_args()
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        print("skipped: PyTorch sees no CUDA device here")
        return 0

    folder = os.environ.get("GRADCLI_DATA")
    dataset = load_dataset("auto", data_dir=Path(folder) if folder else None)
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU, for want of a GPU"
    print(f"{name}, torch {torch.__version__}, {dataset.info.name}, batch {BATCH}")
    within = True
    for case in arguments.case:
        found = ratios(case, dataset, device, arguments)
        interval = bootstrap((found,), np.median, random_state=0).confidence_interval
        waited = {
            name: count for name, count in waits_of_steps(case, dataset, device).items() if count
        }
        said = ", ".join(f"{count} {name}" for name, count in waited.items()) or "none"
        median = float(np.median(found))
        print(
            f"{case:15} {median:.3f}  [{interval.low:.3f}, {interval.high:.3f}]  "
            f"at most {_LIMIT:.2f} wanted; waits in {_PROFILED_STEPS} steps: {said}",
            flush=True,
        )
        within &= median <= _LIMIT and (device == "cpu" or not waited)
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
