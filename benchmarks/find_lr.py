"""Whether `gradcli find-lr` proposes rates that train as well as the best of a grid.

    python benchmarks/find_lr.py [--models logreg mlp] [--optimizers sgd adam] [--runs-dir DIR]

A cell is a model and an optimizer on the bundled sample. *The grid's best* is what
`compare-optimizers` chooses by its default protocol (`quick`: five rates around the default, two
more where the best is at an end, 10 epochs) and then trains with five fresh seeds. The proposal, of
other seeds than those, trains with the same five: the difference of the two test accuracies, seed
by seed, has a 95% interval by Student's t. A cell is *within the noise* unless that interval lies
below zero. `cannot say` counts as no proposal.

Prints Markdown, and exits with 1 if fewer than 90% of the proposals are within the noise, or more
than 10% of the cells have none. Without `--models`, the two smallest; all six take hours, most of
them for `cnn_2c2d`. With `--runs-dir` the trainings are kept there, and are not made again, so
that cells can be measured one by one.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

import gradcli

MODELS = ("logreg", "mlp", "deep_mlp", "cnn", "cnn_2c2d", "rnn")
OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop")
QUICK = MODELS[:2]
EPOCHS = 10
"""Of every trial on the sample, by `configs/protocol/quick.yaml`."""
SEEDS = 5
TUNING_SEED = 400
"""It tunes the grid; the next five measure the grid's best and the proposal."""
SEARCH_SEED = 4000
"""The proposals' own. No constant of the search was chosen with any of these seeds: that took 100
to 102, and 0 to 5 with 1000 to 1003 for the number of validation examples. Seeds 200 to 205 and
2000 to 2003 showed that first updates have to be allowed for."""
WITHIN, SILENT = 0.9, 0.1
SETTINGS = ("data=mnist5k", "device=cpu", "threads=1")


@dataclass(frozen=True)
class Cell:
    """What became of a model and an optimizer."""

    model: str
    optimizer: str
    grid_rate: float
    grid_accuracy: float
    found: gradcli.FoundRate
    differences: np.ndarray
    """Of the test accuracies, proposal less grid, seed by seed; none without a proposal."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the mean difference."""
        count = len(self.differences)
        error = self.differences.std(ddof=1) / math.sqrt(count)
        half = float(special.stdtrit(count - 1, 0.975)) * error
        return self.differences.mean() - half, self.differences.mean() + half

    @property
    def verdict(self) -> str:
        """What the table says of it."""
        if not self.found.proposed.is_found:
            return f"cannot say: {self.found.proposed.reason}"
        low, high = self.interval
        return "worse" if high < 0 else "better" if low > 0 else "within"

    @property
    def row(self) -> str:
        """Its line of the table."""
        found = self.found
        cells = [self.model, self.optimizer, f"{self.grid_rate:g}", f"{self.grid_accuracy:.4f}"]
        if found.proposed.is_found:
            (low, high), (worst, best) = found.interval, self.interval
            cells += [
                f"{found.learning_rate:g} ({low:g} to {high:g})",
                f"{self.grid_accuracy + self.differences.mean():.4f}",
                f"{self.differences.mean():+.4f} ({worst:+.4f} to {best:+.4f})",
            ]
        else:
            cells += ["", "", ""]
        return f"| {' | '.join([*cells, f'{found.search.steps}', self.verdict])} |"


HEADING = (
    "| model | optimizer | grid's best | test accuracy | proposed | test accuracy | difference "
    "| steps | verdict |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
)


def accuracies(comparison: gradcli.Comparison) -> np.ndarray:
    """Return the test accuracies of the fresh seeds; a trial that diverged scores zero."""
    if comparison.summary.status != "finished":  # another process may be at it
        sys.exit(f"{comparison.path} is not finished")
    trials = [one for one in comparison.summary.trials if one.stage == "measuring"]
    ordered = sorted(trials, key=lambda trial: trial.seed)
    return np.nan_to_num(np.array([one.test_score for one in ordered]))


def measured(model: str, optimizer: str, runs_dir: Path) -> Cell:
    """Tune an optimizer by the default protocol, and train with what `find-lr` proposes."""
    common = {"model": model, "runs_dir": runs_dir}
    compared = {**common, "optimizers": [optimizer], "jobs": 1}
    grid = gradcli.compare(*SETTINGS, seed=TUNING_SEED, **compared)
    best = grid.ranking[0]
    at_best = accuracies(grid)
    found = gradcli.find_lr(
        *SETTINGS, optimizer=optimizer, epochs=EPOCHS, seed=SEARCH_SEED, **common
    )
    differences = np.empty(0)
    if found.proposed.is_found:
        rates = [found.learning_rate]
        trained = gradcli.compare(
            *SETTINGS, lrs=rates, seeds=SEEDS, seed=TUNING_SEED + 1, **compared
        )
        differences = accuracies(trained) - at_best
    return Cell(model, optimizer, best.learning_rate, at_best.mean(), found, differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=QUICK, choices=MODELS)
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS, choices=OPTIMIZERS)
    parser.add_argument("--runs-dir", type=Path)
    arguments = parser.parse_args()
    print(HEADING)
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = arguments.runs_dir or Path(folder)
        cells = []
        for model, optimizer in itertools.product(arguments.models, arguments.optimizers):
            cells.append(measured(model, optimizer, runs_dir))
            print(cells[-1].row, flush=True)
    proposed = [one for one in cells if one.found.proposed.is_found]
    within = sum(one.verdict != "worse" for one in proposed)
    silent = len(cells) - len(proposed)
    print(
        f"\n{within} of {len(proposed)} proposals within the noise of the grid's best or better, "
        f"at least {WITHIN:.0%} wanted; cannot say in {silent} of {len(cells)} cells, at most "
        f"{SILENT:.0%} wanted"
    )
    sys.exit(within < WITHIN * len(proposed) or silent > SILENT * len(cells))


if __name__ == "__main__":
    main()
