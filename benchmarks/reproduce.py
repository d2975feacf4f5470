"""Whether training reaches what DeepOBS published: Fashion-MNIST, its network 2c2d, one epoch.

    python benchmarks/reproduce.py [--seeds 0 1 2] [--runs-dir DIR]

Published are the mean and the standard deviation, over ten seeds, of the test accuracy after the
first epoch of three optimizers with the learning rates that their authors tuned (Schneider, Balles,
Hennig 2019, arXiv 1903.05499, and its baselines). Here `experiment=deepobs/fmnist_2c2d` trains each
with three seeds. Like DeepOBS, which leaves out the last test batch too, the accuracy is that of
the first 9,984 test images; that of all 10,000 is beside it.

Prints Markdown, and exits with 1 if a mean is more than two published deviations from the published
one. It takes half an hour on one thread of a busy machine. Fashion-MNIST is downloaded, or read
from the folder `fashion_mnist` in `$GRADCLI_DATA`. With `--runs-dir` the runs are kept there, and
are not made again. Without Fashion-MNIST it says so, and is skipped.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradcli
from gradcli.runs import list_runs

EXPERIMENT = "experiment=deepobs/fmnist_2c2d"
SEEDS = (0, 1, 2)
DEVIATIONS = 2
"""How far from the published mean the mean of the seeds may be."""
TEST_IMAGES, COUNTED = 10_000, 78 * 128


@dataclass(frozen=True)
class Published:
    """An optimizer as it was published, and its test accuracy after one epoch."""

    optimizer: str
    overrides: tuple[str, ...]
    mean: float
    deviation: float


PUBLISHED = (
    Published("sgd", ("optimizer.lr=0.158489",), 0.8545, 0.0118),
    Published("momentum", ("optimizer.lr=0.00251189", "optimizer.momentum=0.99"), 0.8517, 0.0084),
    Published("adam", ("optimizer.lr=0.000251189",), 0.8526, 0.0057),
)

HEADING = (
    "| optimizer | published | reached | of all test images | seeds | deviations away | verdict |\n"
    "| --- | --- | ---: | ---: | --- | ---: | --- |"
)


def deviations_away(published: Published, reached: float) -> float:
    """Return how many published deviations the reached accuracy is above the published one."""
    return (reached - published.mean) / published.deviation


def is_reached(published: Published, reached: float) -> bool:
    """Whether the reached accuracy is near enough to the published one."""
    return abs(deviations_away(published, reached)) <= DEVIATIONS


def row(published: Published, counted: list[float], of_all: list[float]) -> str:
    """Return the line of the table for the accuracies of the seeds."""
    reached = statistics.mean(counted)
    cells = [
        published.optimizer,
        f"{published.mean:.4f} ± {published.deviation:.4f}",
        f"{reached:.4f}",
        f"{statistics.mean(of_all):.4f}",
        " ".join(f"{accuracy:.4f}" for accuracy in counted),
        f"{deviations_away(published, reached):+.2f}",
        "reached" if is_reached(published, reached) else "not reached",
    ]
    return f"| {' | '.join(cells)} |"


def trained(published: Published, seed: int, runs_dir: Path) -> gradcli.Run:
    """Train for an epoch, unless there is such a run already."""
    name = f"{published.optimizer}-seed{seed}"
    for run in list_runs(runs_dir) if runs_dir.is_dir() else ():
        if run.info.name == name and run.status == "finished":
            return run
    return gradcli.train(
        *(EXPERIMENT, *published.overrides, "device=cpu", "threads=1"),
        optimizer=published.optimizer,
        epochs=1,
        seed=seed,
        name=name,
        runs_dir=runs_dir,
        data_dir=os.environ.get("GRADCLI_DATA"),
    )


def why_no_data(runs_dir: Path) -> str:
    """Return why Fashion-MNIST cannot be had; nothing if it can.

    Raises:
        UserError: for whatever else is wrong with the experiment.
    """
    try:
        gradcli.train(
            *(EXPERIMENT, "max_steps=1", "device=cpu"),
            runs_dir=runs_dir / "first",
            data_dir=os.environ.get("GRADCLI_DATA"),
        )
    except gradcli.UserError as error:
        if "downloaded" not in error.problem:
            raise
        return error.problem
    return ""


def accuracies(run: gradcli.Run) -> tuple[float, float]:
    """Return the test accuracy of the images that DeepOBS counts, and that of all."""
    if run.status != "finished":
        sys.exit(f"{run.path} is not finished")
    (test,) = (one for one in run.evals if one.split == "test")
    correct = test.scores_of_examples(TEST_IMAGES)
    return float(correct[:COUNTED].mean()), test.score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--runs-dir", type=Path)
    arguments = parser.parse_args()
    all_reached = True
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = arguments.runs_dir or Path(folder)
        if absent := why_no_data(Path(folder)):
            print(f"skipped: {absent}")
            return
        print(HEADING)
        for published in PUBLISHED:
            runs = [trained(published, seed, runs_dir) for seed in arguments.seeds]
            counted, of_all = map(list, zip(*map(accuracies, runs), strict=True))
            print(row(published, counted, of_all), flush=True)
            all_reached &= is_reached(published, statistics.mean(counted))
    sys.exit(not all_reached)


if __name__ == "__main__":
    main()
