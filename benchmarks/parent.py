"""What a comparison's own process costs, and whether a trial costs more if there are many.

It runs comparisons of two optimizers with more and more trials, as `gradcli.compare` does: worker
processes, run directories, and the live table on a pseudo-terminal whose output is read. It counts
from the end of the first trial to the end of the last. The trials are tiny, a tenth of a second
each, so what the parent does per trial weighs more than in any real comparison. The speed of the
machine drifts, so one of the smallest size runs before and after each larger comparison.

    python benchmarks/parent.py [--trials 10 30 100 300] [--jobs 1] [--at-most 5] [--growth 1.15]

Prints, for each comparison, the share of a core that its own process uses, its processor time per
trial, and the median time from the end of one trial to the end of the next. Exits with 1 if a share
exceeds `--at-most` percent, or if a trial of the largest comparison takes more than `--growth`
times as long as one of the smallest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console

import gradcli
from gradcli.views.compare.live_table import CompareLiveView

SIZE = 140, 50
TRIAL = ["data=mnist5k", "model.hidden=[32]", "max_steps=40", "protocol.tune=false"]
OPTIMIZERS = ["sgd", "adam"]


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


@dataclass(frozen=True)
class Moment:
    """When a trial had ended, and the processor time that this process had used by then."""

    seconds: float
    processor_seconds: float


class TimedView(CompareLiveView):
    """The live table, which notes when trials end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.moments: list[Moment] = []

    def trial(self, trial) -> None:
        """Note the time."""
        super().trial(trial)
        self.moments.append(Moment(time.perf_counter(), time.process_time()))


def compare(trials: int, jobs: int) -> list[Moment]:
    """Run a comparison of that many trials; return when they ended."""
    with tempfile.TemporaryDirectory() as folder, terminal() as stream:
        width, height = SIZE
        view = TimedView(Console(file=stream, force_terminal=True, width=width, height=height))
        gradcli.compare(
            *TRIAL,
            optimizers=OPTIMIZERS,
            seeds=trials // len(OPTIMIZERS),
            jobs=jobs,
            runs_dir=folder,
            view=view,
        )
    return view.moments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--at-most", type=float, default=5.0, help="percent of a core")
    parser.add_argument("--growth", type=float, default=1.15)
    arguments = parser.parse_args()

    print(f"{platform.machine()}, {os.cpu_count()} cores, {arguments.jobs} jobs; {' '.join(TRIAL)}")
    smallest, *larger = sorted(arguments.trials)
    worst, costs = 0.0, {trials: [] for trials in arguments.trials}
    for trials in [smallest, *(one for size in larger for one in (size, smallest))]:
        moments = compare(trials, arguments.jobs)
        first, last = moments[0], moments[-1]
        seconds = last.seconds - first.seconds
        used = last.processor_seconds - first.processor_seconds
        share, a_trial = used / seconds, used / (len(moments) - 1)
        interval = statistics.median(
            later.seconds - earlier.seconds for earlier, later in itertools.pairwise(moments)
        )
        print(
            f"{trials:4} trials  {100 * share:5.2f}% of a core  "
            f"{1000 * a_trial:6.2f} ms of it a trial  {1000 * interval:7.1f} ms a trial",
            flush=True,
        )
        worst = max(worst, share)
        costs[trials].append(interval)
    growth = statistics.median(costs[max(costs)]) / statistics.median(costs[smallest])
    print(f"a trial of the largest takes {growth:.2f} times one of the smallest")
    return int(100 * worst > arguments.at_most or growth > arguments.growth)


if __name__ == "__main__":
    sys.exit(main())
