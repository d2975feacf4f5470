"""What recording and clipping cost on a GPU: gradcli's step against a bare loop, and its waits.

Both train the same model on the same data, which is on the device, in alternating blocks (A B A B);
a block ends when the device has done its work. The bare loop and gradcli's side are those of
`step.py`. The bare loop neither records nor clips. gradcli's side is the trainer of `gradcli
train`: it records every parameter's norm before and after clipping, and its layer probes and
flushes count. Each ratio gets new models, because speed depends on where a model is in memory.

Then PyTorch's own check (`torch.cuda.set_sync_debug_mode`) watches what the trainer does between
two flushes: nothing may wait for the device or copy from it. Unlike the profiler, the check does
not change how the optimizer is called.

    python benchmarks/gpu.py [--placements 7] [--blocks 3] [--steps 500] [--case NAME ...]
                             [--device cuda]

Prints the median ratio of the time per step, gradcli / bare, with a 95% interval (bootstrap over
the placements), and how often a step waits. Exits with 1 if a ratio exceeds 1.05 or a step waits.
If there is no such device, it says so and ends. It also runs on `cpu`, which shows that the script
works but says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap
from step import BATCH, CASES, bare_steps

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.records import StepRecords
from gradcli.workflows.building import build_trainer

_LIMIT = 1.05
_WATCHED_STEPS = 50


def synchronize(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device != "cpu":
        torch.accelerator.synchronize()


def gradcli_side(case: str, dataset, device: str) -> Callable[[int], float]:
    """Return a function that runs a block with the trainer and returns seconds per step."""
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
    """Return a function that runs a block of the bare loop and returns seconds per step."""
    words = [*CASES[case][0], f"device={device}"]
    model = build_trainer(compose_train(words), dataset).model
    scale = 1 / (255 * dataset.std)
    images = (dataset.train.inputs.float() * scale - dataset.mean / dataset.std).to(device)
    labels = dataset.train.targets.to(device)
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


def waits_of_steps(case: str, dataset) -> tuple[list[str], int]:
    """Return what waits for the device between two flushes, layer probes left out, and the steps.

    Explicit calls of `synchronize` escape the watch: the trainer's only ones are the clock's, in
    steps that are probed.
    """
    words = [*CASES[case][0], "device=cuda", "epochs=1000", "monitor.every=0"]
    trainer = build_trainer(compose_train(words), dataset)
    next(trainer.run())  # the first step makes the optimizer's state
    order = torch.randperm(trainer.splits["train"].size, device="cuda")
    batches = torch.split(order, BATCH)[:_WATCHED_STEPS]
    trainer._step(1, batches[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for indices in batches:
                trainer._step(1, indices)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [str(one.message) for one in caught], len(batches)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--placements", type=int, default=7, help="two at least")
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
        median = float(np.median(found))
        print(
            f"{case:15} {median:.3f}  [{interval.low:.3f}, {interval.high:.3f}]  "
            f"at most {_LIMIT:.2f} wanted",
            flush=True,
        )
        within &= median <= _LIMIT
        if device == "cuda":
            waits, steps = waits_of_steps(case, dataset)
            print(f"{'':15} {len(waits)} waits in {steps} steps, none wanted", flush=True)
            for wait, count in Counter(waits).items():
                print(f"{'':15} {count} times: {wait}")
            within &= not waits
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
