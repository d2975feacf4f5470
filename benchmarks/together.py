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

    python benchmarks/together.py [--epochs 100] [--repeats 7] [--at-most 1.3] [--slower 1.02]

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
    *("compare-optimizers", "data=mnist5k", "protocol.tune=false", "--seeds", "6", "epochs=20"),
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
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--at-most", type=float, default=1.3)
    parser.add_argument("--slower", type=float, default=1.02)
    arguments = parser.parse_args()

    training = [*TRAINING, f"epochs={arguments.epochs}"]
    ratios: dict[str, list[float]] = {name: [] for name in ("alone", "two", "compare", "affinity")}
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for number in range(arguments.repeats):
        # Once in each order, so that what drifts steadily favours neither.
        order = [{}, UNBOUNDED] if number % 2 else [UNBOUNDED, {}]
        alone = {len(one): at_once(1, training, one)[0] for one in order}
        two = statistics.mean(at_once(2, training, {}))
        comparison = at_once(1, COMPARISON, {})[0]
        comparisons = max(at_once(2, COMPARISON, {}))
        pinned = at_once(1, [*COMPARISON, "engine.affinity=true"], {})[0]
        ratios["alone"].append(alone[0] / alone[1])
        ratios["two"].append(two / (2 * alone[0]))
        ratios["compare"].append(comparisons / (2 * comparison))
        ratios["affinity"].append(pinned / comparison)
        print(
            f"round {number + 1}: alone {alone[0]:.2f} s, unbounded {alone[1]:.2f} s, two at once "
            f"{two:.2f} s each; a comparison {comparison:.1f} s, two at once {comparisons:.1f} s, "
            f"pinned {pinned:.1f} s",
            flush=True,
        )
    few = [*TRAINING, f"epochs={max(arguments.epochs // SHORTER, 1)}"]
    unbounded = statistics.mean(at_once(2, few, UNBOUNDED)) / (2 * at_once(1, few, UNBOUNDED)[0])
    print(f"alone, over unbounded             {spread(ratios['alone'])}  <= {arguments.slower}")
    print(f"two trainings, over the ideal     {spread(ratios['two'])}  <= {arguments.at_most}")
    print(f"two comparisons, over the ideal   {spread(ratios['compare'])}  <= {arguments.at_most}")
    print(f"comparison with affinity, without {spread(ratios['affinity'])}")
    print(f"two short trainings unbounded, over the ideal  {unbounded:.1f}")
    worst = max(statistics.median(ratios[name]) for name in ("two", "compare"))
    return int(statistics.median(ratios["alone"]) > arguments.slower or worst > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
