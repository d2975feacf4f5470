"""What recording and clipping cost: gradcli's training step against a bare loop.

Both train the same model on the same data, in alternating blocks (A B A B), so a machine whose
speed drifts slows both. The bare loop is what a careful engineer writes by hand: float tensors in
memory, `X[permutation[i : i + batch]]`, the optimizer as PyTorch constructs it (fused if asked
for), no recording, no clipping. gradcli's side is the trainer that `gradcli train` runs, which
records every parameter's norm before and after clipping at each step, with clipping and its layer
probes on. Each side has its own process, as a user would, because gradcli changes how its process
allocates memory; one waits while the other trains. With one thread, both sides run on the same
core, and each placement on the next one: the cores of a shared machine differ for minutes, and a
side that stayed on the slower one would be at a disadvantage.

With several threads, gradcli's side has as many as `gradcli train` takes: one for a network of many
small layers.

Where a model is in memory makes its training up to 6% faster or slower than that of an equal model,
for as long as it stays there, and the same holds for a process as a whole. So each case is measured
with `--placements` new pairs of models, each at another place, and the processes are started
`--processes` times.

An observed step (`monitor.every`) also takes fingerprints, by which `runs diff` finds where two
runs part. What they cost is measured with every step observed: blocks of a trainer that takes them,
and of one that does not, alternate in one process, with one thread.

    python benchmarks/step.py [--processes 6] [--placements 3] [--blocks 3] [--threads 1 2]
                              [--case [NAME ...]] [--at-most RATIO] [--observed-pairs 4]

Prints the median ratio of the time per step, gradcli / bare, with a 95% interval (bootstrap
over the processes). Exits with 1 if a case's median exceeds its limit: 0.95 for the MLP, 1.00 for
the others. Then prints the median time of an observed step with and without fingerprints, and the
median ratio with its interval over the pairs of trainers; nothing is required of it. `--case` alone
measures only that, `--observed-pairs 0` leaves it out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap
from torch import nn

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.records import FingerprintRecord, StepRecords
from gradcli.system.processes import keep_freed_memory
from gradcli.workflows.building import build_trainer

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


Blocks = Callable[[int | None], tuple[float, int]]


def gradcli_blocks(overrides: list[str], dataset, *, fingerprints: bool = True) -> Blocks:
    """Return a function that runs a block of the trainer's loop: its seconds and steps."""
    trainer = build_trainer(compose_train([*overrides, "epochs=1000"]), dataset)
    if not fingerprints:
        trainer._observation._fingerprints = WithoutFingerprints()
    torch.set_num_threads(trainer.plan.threads)
    records = trainer.run()

    def block(_: int | None) -> tuple[float, int]:
        trainer.splits["val"].size = 0  # no evaluation: steps alone are timed
        began = time.perf_counter()
        record = next(records)
        while not isinstance(record, StepRecords):
            record = next(records)
        return time.perf_counter() - began, len(record)

    return block


class WithoutFingerprints:
    """Stands in for what takes the fingerprints of an observed step, and takes none."""

    def attach(self) -> None:
        pass

    def detach(self) -> None:
        pass

    def before_update(self) -> None:
        pass

    def record(self, update: int) -> FingerprintRecord:
        return FingerprintRecord(update, (), None, (), (), (), (), ())


def bare_blocks(loop: Iterator[None]) -> Blocks:
    """Return a function that runs a block of that many steps of the bare loop."""

    def block(steps: int | None) -> tuple[float, int]:
        assert steps is not None
        began = time.perf_counter()
        for _ in range(steps):
            next(loop)
        return time.perf_counter() - began, steps

    return block


def bare_steps(
    model: nn.Module,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    images: torch.Tensor,
    labels: torch.Tensor,
) -> Iterator[None]:
    """Make one step of the bare loop at each `next`."""
    optimizer = make_optimizer(model)
    while True:
        permutation = torch.randperm(len(images), device=images.device)
        for i in range(0, len(images), BATCH):
            indices = permutation[i : i + BATCH]
            loss = F.cross_entropy(model(images[indices]), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def serve(side: str, case: str, threads: int, pipe: Connection) -> None:
    """Be a side's process: make a block for each message, or a new model elsewhere in memory."""
    if side == "gradcli":
        keep_freed_memory()
    torch.set_num_threads(threads)
    folder = os.environ.get("GRADCLI_DATA")
    dataset = load_dataset("auto", data_dir=Path(folder) if folder else None)
    if side == "bare":
        scale = 1 / (255 * dataset.std)
        images = dataset.train.inputs.float() * scale - dataset.mean / dataset.std
    overrides, make_optimizer = CASES[case]
    pipe.send(dataset.info.name)
    spacers, block = [], None
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    while (message := pipe.recv()) != "end":
        if message != "new":
            assert block is not None
            pipe.send(block(message))
            continue
        if threads == 1 and cores:
            os.sched_setaffinity(0, {cores[len(spacers) % len(cores)]})
        spacers.append(torch.empty(int(np.random.default_rng(len(spacers)).integers(1, 300_000))))
        if side == "gradcli":
            block = gradcli_blocks(overrides, dataset)
        else:
            twin = build_trainer(compose_train(overrides), dataset).model
            for parameter in twin.parameters():  # laid out as PyTorch does it
                parameter.data = parameter.data.contiguous()
            labels = dataset.train.targets
            block = bare_blocks(bare_steps(twin, make_optimizer, images, labels))


def ratio(case: str, threads: int, placements: int, blocks: int) -> tuple[float, str]:
    """Return gradcli's time per step over the bare one's, of one pair of processes, and the data.

    It is the median over the placements of the medians over their pairs of blocks.
    """
    context = multiprocessing.get_context("spawn")
    pipes = []
    for side in ("gradcli", "bare"):
        own, theirs = context.Pipe()
        process = context.Process(target=serve, args=(side, case, threads, theirs), daemon=True)
        process.start()
        pipes.append(own)
    ours, bare = pipes
    _, data = ours.recv(), bare.recv()
    found = []
    for _ in range(placements):
        of_pair: list[float] = []
        ours.send("new")
        bare.send("new")
        while len(of_pair) <= blocks:
            ours.send(None)
            seconds, steps = ours.recv()
            bare.send(steps)
            bare_seconds, _ = bare.recv()
            if steps > 1:
                of_pair.append(seconds / bare_seconds)
        # The first block warms up caches and allocators.
        found.append(float(np.median(of_pair[1:])))
    for pipe in pipes:
        pipe.send("end")
    return float(np.median(found)), data


def print_cost_of_fingerprints(cases: list[str], pairs: int, blocks: int) -> None:
    """Print what fingerprints add to an observed step: a pair of trainers after another."""
    torch.set_num_threads(1)
    folder = os.environ.get("GRADCLI_DATA")
    dataset = load_dataset("auto", data_dir=Path(folder) if folder else None)
    print(f"an observed step, 1 thread, {pairs} pairs of trainers, {blocks} pairs of blocks each")
    for case in cases:
        overrides = [*CASES[case][0], "monitor.every=1", "threads=1"]
        ratios, milliseconds = [], []
        for _ in range(pairs):
            sides = [
                gradcli_blocks(overrides, dataset, fingerprints=taken) for taken in (True, False)
            ]
            times: list[list[float]] = []
            while len(times) <= blocks:
                made = [block(None) for block in sides]
                if all(steps > 1 for _, steps in made):
                    times.append([1e3 * seconds / steps for seconds, steps in made])
            of_pair = np.array(times[1:])  # the first block warms up
            ratios.append(float(np.median(of_pair[:, 0] / of_pair[:, 1])))
            milliseconds.append(np.median(of_pair, axis=0))
        interval = bootstrap((ratios,), np.median, random_state=0).confidence_interval
        taken, without = np.median(milliseconds, axis=0)
        print(
            f"{dataset.info.name} {case:15} {taken:.2f} ms with fingerprints, {without:.2f} "
            f"without  {np.median(ratios):.3f}  [{interval.low:.3f}, {interval.high:.3f}]",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=6, help="pairs of them for a case")
    parser.add_argument("--placements", type=int, default=3, help="for a pair of processes")
    parser.add_argument("--blocks", type=int, default=3, help="pairs of them for a placement")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--at-most", type=float, help="in place of each case's own limit")
    parser.add_argument("--observed-pairs", type=int, default=4, help="of trainers, for a case")
    arguments = parser.parse_args()

    processes, placements, blocks = arguments.processes, arguments.placements, arguments.blocks
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, batch {BATCH}")
    if arguments.case:
        each = f"{placements} placements, {blocks} pairs of blocks each"
        print(f"{processes} pairs of processes, {each}")
    within = True
    for threads in arguments.threads:
        for case in arguments.case:
            limit = arguments.at_most or (0.95 if case.startswith("mlp") else 1.0)
            pairs = [ratio(case, threads, placements, blocks) for _ in range(processes)]
            found, data = np.array([one for one, _ in pairs]), pairs[0][1]
            median = float(np.median(found))
            interval = bootstrap((found,), np.median, random_state=0).confidence_interval
            print(
                f"{data} {case:15} {threads} thread{'s' if threads > 1 else ' '}  {median:.3f}  "
                f"[{interval.low:.3f}, {interval.high:.3f}]  at most {limit:.2f} wanted",
                flush=True,
            )
            within &= median <= limit
    if arguments.observed_pairs:
        print_cost_of_fingerprints(arguments.case or [*CASES], arguments.observed_pairs, blocks)
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
