"""What the shipped problems reach: each command of docs/data.md, against its stated interval.

A reference is the score of a command over five seeds, 0 to 4. Its interval is where one more run
lies with a probability of 99%, if scores are normal: mean +- t * s * sqrt(1 + 1/5), with the 99.5%
quantile t of Student's distribution with 4 degrees of freedom, and at most 1 for an accuracy. Here
the commands run with other seeds, and each run is compared with the interval. What is not on this
machine (a data set that is not downloaded, a library that is not installed) is named and skipped.

    python benchmarks/references.py [--seeds 2] [--only WORD] [--measure]

Exits with 1 if a score lies outside its interval. `--measure` runs the five seeds instead and
prints the row of each table. A run takes 2 to 30 s with one thread.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from dataclasses import dataclass

import gradcli
from gradcli.errors import UserError

MEASURED_SEEDS = range(5)
#: scipy.stats.t.ppf(0.995, 4)
STUDENT = 4.6041


@dataclass(frozen=True)
class Reference:
    """What a command reaches on the test examples: from `low` to `high`, in the data's metric."""

    words: str
    low: float
    high: float

    def __contains__(self, score: float) -> bool:
        return self.low <= score <= self.high


REFERENCES = (
    Reference("data=mnist5k", 0.885, 0.943),
    Reference("data=mnist5k model=cnn", 0.914, 0.979),
    Reference("data=mnist5k model=resnet", 0.913, 0.967),
    Reference("data=mnist5k model=vit epochs=15", 0.857, 0.961),
    Reference("data=mnist1d model=logreg epochs=30", 0.248, 0.334),
    Reference("data=mnist1d epochs=30", 0.556, 0.615),
    Reference("data=mnist1d model=cnn epochs=30", 0.734, 0.922),
    Reference("data=austen model=charlm", 1.914, 2.175),
    Reference("data=digits epochs=20", 0.97, 0.998),
    Reference("data=breast_cancer epochs=30", 0.954, 1),
    Reference("data=fashion_mnist", 0.87, 0.889),
)


def score(words: str, seed: int) -> float:
    """Train as the command does, with one thread; return the score on the test examples."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = (*words.split(), f"seed={seed}", "threads=1", "device=cpu")
        data_dir = os.environ.get("GRADCLI_DATA")
        return gradcli.train(*chosen, runs_dir=folder, data_dir=data_dir).evals[-1].score


def interval(scores: list[float]) -> tuple[float, float]:
    """Return where one more score lies with a probability of 99%."""
    reach = STUDENT * statistics.stdev(scores) * math.sqrt(1 + 1 / len(scores))
    return statistics.mean(scores) - reach, statistics.mean(scores) + reach


def measured(reference: Reference) -> str:
    scores = [score(reference.words, seed) for seed in MEASURED_SEEDS]
    low, high = interval(scores)
    mean, deviation = statistics.mean(scores), statistics.stdev(scores)
    return f"| `{reference.words}` | {mean:.4f} | {deviation:.4f} | {low:.3f} to {high:.3f} |"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    outside = 0
    for reference in (one for one in REFERENCES if options.only in one.words):
        try:
            if options.measure:
                print(measured(reference), flush=True)
                continue
            for seed in range(100, 100 + options.seeds):
                reached = score(reference.words, seed)
                verdict = "within" if reached in reference else "OUTSIDE"
                outside += reached not in reference
                stated = f"{reference.low:g} to {reference.high:g}"
                print(f"{reference.words}: seed {seed} {reached:.4f}, {verdict} {stated}")
        except UserError as error:
            print(f"skipped {reference.words}: {error.problem}")
    return int(outside > 0)


if __name__ == "__main__":
    raise SystemExit(main())
