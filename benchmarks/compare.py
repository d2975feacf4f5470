"""What worker processes gain: a comparison's trials against the same ones in a bare loop.

Side A is `gradcli compare-optimizers --jobs 2` as a user types it, timed from the start of the
process to its end: tuning, measuring, statistics and pictures. Side B runs the same trials, read
from A's directory, one after the other in one process with two threads. It is a hand-written loop
over tensors in memory, without recording or clipping, but with the evaluations that A makes. The
sides alternate (A B A B), so a machine whose speed drifts slows both. Two threads that wait for
each other make a whole process fast or slow (41 to 70 s for the same trials on one machine), so
there are several rounds.

    python benchmarks/compare.py [--rounds 5] [--at-most 0.70] [OVERRIDE ...]

Prints the seconds of each side and their median ratio A / B. Exits with 1 if the ratio exceeds
`--at-most`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS = THREADS = 2


def comparison(overrides: list[str], runs_dir: Path) -> Path:
    """Run the command; return the directory of its comparison."""
    command = [sys.executable, "-m", "gradcli", "compare-optimizers", "--jobs", str(JOBS), "-q"]
    answer = subprocess.run(
        [*command, "--json", "--runs-dir", str(runs_dir), *overrides],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(json.loads(answer.stdout)["comparison"])


def data_dir() -> Path | None:
    """The folder in which the command looks for data, too."""
    return Path(os.environ["GRADCLI_DATA"]) if "GRADCLI_DATA" in os.environ else None


def bare_loop(directory: Path) -> None:
    """Run the trials of a comparison by hand, one after the other."""
    import torch
    import torch.nn.functional as F
    from omegaconf import OmegaConf

    from gradcli.data import load_dataset

    torch.set_num_threads(THREADS)
    trials = [OmegaConf.load(path) for path in sorted(directory.glob("trials/*/config.yaml"))]
    dataset = load_dataset(trials[0].data.name, data_dir=data_dir())
    splits = {}
    for name in ("train", "val", "test"):
        split = getattr(dataset, name)
        images = (split.inputs.flatten(1).float() / 255 - dataset.mean) / dataset.std
        splits[name] = images, split.targets
    images, labels = splits["train"]
    optimizers = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    for trial in trials:
        torch.manual_seed(trial.seed)
        widths = [images.shape[1], *trial.model.hidden, dataset.info.classes]
        layers = [torch.nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        model = torch.nn.Sequential(
            *(part for layer in layers[:-1] for part in (layer, torch.nn.ReLU())), layers[-1]
        )
        optimizer_class = optimizers[trial.choices.optimizer]
        fused = {} if trial.choices.optimizer == "rmsprop" else {"fused": True}
        optimizer = optimizer_class(model.parameters(), lr=trial.optimizer.lr, **fused)
        steps = trial.epochs * -(-len(images) // trial.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for epoch in range(trial.epochs):
            order = torch.randperm(len(images))
            for batch in order.split(trial.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
                schedule.step()
            for name in ("val", "test") if epoch == trial.epochs - 1 else ("val",):
                with torch.no_grad():
                    (model(splits[name][0]).argmax(1) == splits[name][1]).float().mean().item()


def seconds(action, *arguments) -> tuple[float, object]:
    began = time.perf_counter()
    result = action(*arguments)
    return time.perf_counter() - began, result


def bare_process(directory: Path) -> None:
    subprocess.run([sys.executable, __file__, "--bare-loop", str(directory)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-most", type=float, default=0.70)
    parser.add_argument("--bare-loop", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare_loop is not None:
        bare_loop(arguments.bare_loop)
        return
    print(f"{platform.processor() or platform.machine()}, {JOBS} jobs against {THREADS} threads")
    ratios = []
    for number in range(1, arguments.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            ours, directory = seconds(comparison, arguments.overrides, Path(folder))
            bare, _ = seconds(bare_process, directory)
        ratios.append(ours / bare)
        print(f"round {number}: {ours:.1f} s against {bare:.1f} s, ratio {ratios[-1]:.2f}")
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f}, at most {arguments.at_most:.2f} wanted")
    sys.exit(median > arguments.at_most)


if __name__ == "__main__":
    main()
