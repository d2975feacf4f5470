"""What two trainings or comparisons at once cost each other, and what the remedy costs one alone.

A thread of OpenMP that waits for the others of its process spins, and so keeps the core from what
it waits for. Two trainings that share the cores can stop each other like this. The command line
bounds the spinning (`gradcli.system.processes.considerate_threads`); "unbounded" is what libgomp
does by itself, 300,000 looks. Commands run as users type them, the kinds in turn, so that a drift
of the machine meets all of them:

    alone            the default training on the bundled sample, of `--epochs` epochs
    two              the same twice at once; ideal is twice the time of one alone
    two comparisons  a comparison of single-threaded trials, twice at once, against one alone
    affinity         that comparison with each worker on cores of its own, against without

A training is timed from its first step to its end, a comparison as a whole command.

    python benchmarks/together.py [--epochs 50] [--repeats 7] [--at-most 1.3] [--slower 1.02]

Exits with 1 if two at once take more than `--at-most` times the ideal, or a training alone more
than `--slower` times what it takes unbounded; medians of all rounds. Two trainings unbounded run
once, with a twentieth of the epochs, because they may take a hundred times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import torch

TRAINING = ["train", "data=mnist5k", "--json", "--quiet"]
COMPARISON = [
    *("compare-optimizers", "data=mnist5k", "protocol.tune=false", "--seeds", "6", "epochs=6"),
    *("--json", "--quiet"),
]
UNBOUNDED = {"GOMP_SPINCOUNT": "300000"}
SHORTER = 20


def at_once(count: int, words: Sequence[str], environment: Mapping[str, str]) -> list[float]:
    """Run a command `count` times at once; return how long each took, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "gradcli", *words, "--runs-dir", f"{folder}/{number}"],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(count)
        ]
        seconds = []
        for process in processes:
            said, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"gradcli {' '.join(words)} ended with {process.returncode}")
            took = time.perf_counter() - began
            seconds.append(json.loads(said)["seconds"]["total"] if words[0] == "train" else took)
    return seconds


def spread(values: Sequence[float]) -> str:
    """Return the median of ratios, and their range."""
    return f"{statistics.median(values):.3f}  [{min(values):.3f}, {max(values):.3f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--at-most", type=float, default=1.3)
    parser.add_argument("--slower", type=float, default=1.02)
    arguments = parser.parse_args()

    training = [*TRAINING, f"epochs={arguments.epochs}"]
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    alone, two = trainings(training, arguments.repeats)
    few = [*TRAINING, f"epochs={max(arguments.epochs // SHORTER, 1)}"]
    unbounded = statistics.mean(at_once(2, few, UNBOUNDED)) / (2 * at_once(1, few, UNBOUNDED)[0])
    compared, pinned = comparisons(arguments.repeats)
    print(f"alone, over unbounded             {spread(alone)}  <= {arguments.slower}")
    print(f"two trainings, over the ideal     {spread(two)}  <= {arguments.at_most}")
    print(f"two comparisons, over the ideal   {spread(compared)}  <= {arguments.at_most}")
    print(f"comparison with affinity, without {spread(pinned)}")
    print(f"two short trainings unbounded, over the ideal  {unbounded:.1f}")
    worst = max(map(statistics.median, (two, compared)))
    return int(statistics.median(alone) > arguments.slower or worst > arguments.at_most)


def trainings(words: Sequence[str], repeats: int) -> tuple[list[float], list[float]]:
    """Return of each round: one alone over one unbounded, and two at once over the ideal."""
    alone, two = [], []
    for number in range(repeats):
        # Once in each order, so that what drifts steadily favours neither.
        order = [{}, UNBOUNDED] if number % 2 else [UNBOUNDED, {}]
        once = {len(one): at_once(1, words, one)[0] for one in order}
        twice = statistics.mean(at_once(2, words, {}))
        alone.append(once[0] / once[1])
        two.append(twice / (2 * once[0]))
        print(
            f"trainings {number + 1}: alone {once[0]:.2f} s, unbounded {once[1]:.2f} s, two at "
            f"once {twice:.2f} s each",
            flush=True,
        )
    return alone, two


def comparisons(repeats: int) -> tuple[list[float], list[float]]:
    """Return of each round: two at once over the ideal, and one pinned over one that is not."""
    two, pinned = [], []
    for number in range(repeats):
        once = at_once(1, COMPARISON, {})[0]
        twice = max(at_once(2, COMPARISON, {}))
        with_affinity = at_once(1, [*COMPARISON, "engine.affinity=true"], {})[0]
        two.append(twice / (2 * once))
        pinned.append(with_affinity / once)
        print(
            f"comparisons {number + 1}: alone {once:.1f} s, two at once {twice:.1f} s, pinned "
            f"{with_affinity:.1f} s",
            flush=True,
        )
    return two, pinned


if __name__ == "__main__":
    sys.exit(main())
