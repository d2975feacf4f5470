"""What the live screen costs: the share of a training's time that goes into showing it.

One trainer keeps running. In every other block of a second its records go to the live screen of
`gradcli train`, on a pseudo-terminal whose output is read. That gives two figures. The *share* is
the one we claim: the time spent in the view's calls divided by all time of the blocks with a
screen, by the clock, so a machine whose speed drifts does not disturb it. The *ratio* is the time
per step in a block with a screen divided by that in the block before it, without one. It includes
what drawing does to caches and threads, but on a busy machine it is not exact to 1%.

    python benchmarks/screen.py [--blocks 12] [--case NAME ...] [--size 80x24 140x50] [--at-most 1]

Prints both for each net and terminal, and exits with 1 if a share exceeds `--at-most` percent.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from rich.console import Console
from scipy.stats import bootstrap

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.records import StepRecords
from gradcli.views.train.live_screen import LiveView
from gradcli.workflows.building import build_trainer, describe_run

CASES = {
    "mlp": [],
    "deep_mlp": ["model=deep_mlp", "init=kaiming"],
    "64 layers": ["model.hidden=[" + ",".join(["32"] * 63) + "]", "init=kaiming"],
}
SECONDS_A_BLOCK = 1.0


@contextmanager
def terminal() -> Iterator[TextIO]:
    """Open a pseudo-terminal whose output another process reads."""
    ours, theirs = os.openpty()
    # It ends with an error, as a terminal that is closed gives no end of file.
    reader = subprocess.Popen(
        ["cat"], stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(ours)
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream
    reader.wait()


def measure(case: str, size: tuple[int, int], dataset, blocks: int) -> tuple[float, np.ndarray]:
    """Return the share of the time that a screen takes, and the ratios of pairs of blocks."""
    composed = compose_train([*CASES[case], "epochs=10000"])
    trainer = build_trainer(composed, dataset)
    trainer.splits["val"].size = 0  # no evaluation: a screen is weighed against steps alone
    info = replace(describe_run(composed, dataset, trainer, "a-run"), total_steps=10**7)
    records = trainer.run()
    width, height = size
    shown = whole = hidden = 0.0
    paces: list[float] = []
    with terminal() as stream:
        console = Console(file=stream, force_terminal=True, width=width, height=height)
        # Its clock stands still in blocks without a screen: else a draw would be weighed
        # against half the pause that it is followed by.
        view = LiveView(console, lambda: time.perf_counter() - hidden)
        view.begin(info, "", {})
        for block in range(2 * blocks + 2):
            steps, spent, began = 0, 0.0, time.perf_counter()
            while (seconds := time.perf_counter() - began) < SECONDS_A_BLOCK:
                record = next(records)
                steps += len(record) if isinstance(record, StepRecords) else 0
                if block % 2:
                    before = time.perf_counter()
                    view.record(record)
                    spent += time.perf_counter() - before
            if not block % 2:
                hidden += time.perf_counter() - began
            if block >= 2:  # the first pair warms up
                paces.append(seconds / steps)
                if block % 2:
                    shown, whole = shown + spent, whole + seconds
        view.close()
    pairs = np.array(paces).reshape(-1, 2)
    return shown / whole, pairs[:, 1] / pairs[:, 0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--size", nargs="+", default=["80x24", "140x50"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--at-most", type=float, default=1.0, help="percent")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    folder = os.environ.get("GRADCLI_DATA")
    dataset = load_dataset("auto", data_dir=Path(folder) if folder else None)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; ", end="")
    print(f"{dataset.info.name}, {arguments.blocks} pairs of blocks of {SECONDS_A_BLOCK:g} s")
    worst = 0.0
    for case in arguments.case:
        for size in arguments.size:
            width, height = map(int, size.split("x"))
            share, ratios = measure(case, (width, height), dataset, arguments.blocks)
            interval = bootstrap((ratios,), np.median, random_state=0).confidence_interval
            print(
                f"{case:10} {size:>7}  share {100 * share:.2f}%  ratio {np.median(ratios):.3f}  "
                f"[{interval.low:.3f}, {interval.high:.3f}]",
                flush=True,
            )
            worst = max(worst, share)
    return int(100 * worst > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
