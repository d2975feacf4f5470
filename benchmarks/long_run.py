"""What a long run costs: memory while it is logged, room on the disk, and time to look at it.

It writes a run of a million steps of an 8-layer net as `gradcli train` would, with simulated
gradients: blocks of steps, layer measurements every 50 steps, an evaluation every 391, a checkpoint
now and then, all of it shown on the live screen. Then it makes the summary and the pictures, and
times `gradcli inspect-gradients` on the run as a whole process, and `gradcli runs list` on a
thousand copies of a real run.

    python benchmarks/long_run.py [--steps 1000000] [--listed 1000] [--runs 5]

Prints each figure next to its limit, and exits with 1 if one is exceeded. The memory of a process
excludes mapped files, which the system can take back at any time.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console

from gradcli.inspection.run_summary import summarise_run
from gradcli.records import (
    DataInfo,
    EvalRecord,
    LayerInfo,
    LayerRecord,
    ParameterInfo,
    Record,
    RunInfo,
    StepRecords,
)
from gradcli.runs import Run, RunWriter, load_run
from gradcli.views.draw.run_figures import plot_run
from gradcli.views.train.live_screen import LiveView

LAYERS = 8
BLOCK, PROBE_EVERY, EPOCH, CHECKPOINT_EVERY = 250, 50, 391, 50_000
MEGABYTE = 1e6


def describe(steps: int) -> RunInfo:
    layers = tuple(
        LayerInfo(
            f"hidden{depth}",
            "Linear",
            depth,
            (
                ParameterInfo(f"hidden{depth}.weight", (256, 256)),
                ParameterInfo(f"hidden{depth}.bias", (256,)),
            ),
        )
        for depth in range(LAYERS)
    )
    return RunInfo(
        run="a-long-run",
        name="long",
        data=DataInfo("mnist", 50_000, 10_000, 10_000, "", (1, 28, 28), 10),
        model="mlp",
        model_size=LAYERS * 256 * 257,
        optimizer="adam",
        learning_rate=2e-3,
        schedule="cosine",
        clip="norm 1.0",
        activation="relu",
        device="cpu",
        threads=1,
        batch_size=128,
        epochs=-(-steps // EPOCH),
        total_steps=steps,
        start_step=0,
        layers=layers,
    )


def simulated(steps: int) -> Iterator[Record]:
    """Yield the records of a run that goes well, with a spike now and then."""
    generator = np.random.default_rng(0)
    for first in range(1, steps + 1, BLOCK):
        step = np.arange(first, min(first + BLOCK, steps + 1))
        norms = 0.1 * np.exp(generator.normal(0, 0.5, (len(step), 2 * LAYERS)))
        norms[0] *= 100 if generator.random() < 1e-3 else 1
        total = np.linalg.norm(norms, axis=1)
        coefficient = np.minimum(1.0, 1.0 / total)
        yield StepRecords(
            step=step,
            epoch=(step - 1) // EPOCH + 1,
            loss=2.3 * np.exp(-step / 2e5) + generator.exponential(0.05, len(step)),
            learning_rate=2e-3 * (1 + np.cos(np.pi * step / (steps + 1))) / 2,
            grad_norm_before_clip=total,
            clip_coefficient=coefficient,
            parameter_grad_norm_before_clip=norms,
            parameter_grad_norm_after_clip=norms * coefficient[:, np.newaxis],
            phase_seconds={"forward": 0.1},
        )
        for at in step[(step - 1) % PROBE_EVERY == 0].tolist():
            ratios = generator.uniform(1e-3, 2e-3, (3, LAYERS)).tolist()
            yield LayerRecord(at, *map(tuple, ratios))
        for at in step[step % EPOCH == 0].tolist():
            yield EvalRecord(at, at // EPOCH, "val", 0.2, 0.97, 0.1, at * 1e-3, at * 9e-4)


def memory(kind: str, process: int | str = "self") -> float:
    """Return the megabytes that a process holds, of a kind that proc(5) names; 0 for none."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{kind}:\s+(\d+)", status)
    return 1024 * int(found[1]) / MEGABYTE if found else 0.0


def write(directory: Path, steps: int) -> tuple[float, float]:
    """Write the run; return the growth of memory in megabytes and the seconds it took.

    Memory counts from the first tenth of the steps on.
    """
    info = describe(steps)
    weights = {"weight": torch.zeros(256, 256)}
    held: list[float] = []
    began = time.perf_counter()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        view = LiveView(Console(file=nowhere, force_terminal=True, width=140, height=50))
        writer = RunWriter(directory, "seed: 0\n", {"argv": ["gradcli", "train"]})
        writer.begin(info, {})
        view.begin(info, "", {})
        for record in simulated(steps):
            writer.write(record)
            view.record(record)
            if isinstance(record, StepRecords) and record.step[-1] % CHECKPOINT_EVERY == 0:
                writer.save_checkpoint(weights)
                if record.step[-1] >= steps // 10:
                    held.append(memory("RssAnon"))
        view.close()
    seconds = time.perf_counter() - began
    writer.note(progress={"steps": steps, "epochs": steps // EPOCH})
    writer.note(seconds_train=seconds, seconds_total=seconds)
    writer.set_status("finished", result={"test_accuracy": 0.97, "findings": ["healthy"]})
    writer.close()
    return max(held, default=0.0) - (held or [0.0])[0], seconds


def bytes_a_number(run: Run) -> float:
    """Return the size of the logs over how many numbers are in them."""
    size = sum(
        (run.path / name).stat().st_size for name in ("steps.bin", "probes.jsonl", "evals.jsonl")
    )
    count = len(run.steps) * (6 + 4 * LAYERS)
    count += len(run.layer_records) * (1 + 3 * LAYERS) + 7 * len(run.evals)
    return size / count


def end(run: Run) -> float:
    """Make the end of the run; return the megabytes that it took at most."""
    folder = run.path / "plots"
    folder.mkdir()
    # Drawing takes tens of megabytes for any run: what came before must not hide that.
    plot_run(folder, run.info, run.last_steps(1000), ())
    tracemalloc.start()
    summarise_run(run)
    plot_run(folder, run.info, run.steps, run.evals)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / MEGABYTE


class Cost(NamedTuple):
    """What a process took."""

    seconds: float
    processor_seconds: float
    megabytes: float
    """Held at most, mapped files included."""


def command(*words: str) -> Cost:
    """Run `gradcli ARGUMENTS...`."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "gradcli", *words], stdout=subprocess.DEVNULL)
    # Read while it runs: what wait4 tells holds the memory of this process, too.
    peak, usage = 0.0, None
    while usage is None:
        peak = memory("VmHWM", process.pid) or peak
        ended, status, of_ended = os.wait4(process.pid, os.WNOHANG)
        if ended:
            seconds, usage = time.perf_counter() - began, of_ended
        else:
            time.sleep(0.005)
    if status:
        raise SystemExit(f"gradcli {' '.join(words)} failed")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak)


def make_runs(runs_dir: Path, count: int) -> None:
    """Make a short run, and copies of it without the weights."""
    command("train", "data=mnist5k", "max_steps=30", "--tag", "copied", "--runs-dir", str(runs_dir))
    (first,) = (one for one in runs_dir.iterdir() if (one / "run.json").exists())
    left_out = shutil.ignore_patterns("*.pt", "plots")
    for number in range(1, count):
        name = f"20260101T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-mlp-adam"
        shutil.copytree(first, runs_dir / f"{name}-{number:04x}", ignore=left_out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--listed", type=int, default=1000, help="run directories to list")
    parser.add_argument("--runs", type=int, default=5, help="processes whose median counts")
    arguments = parser.parse_args()

    print(f"{platform.machine()}, {os.cpu_count()} cores, {arguments.steps:,} steps")
    exceeded = False

    def report(what: str, value: float, limit: float, unit: str) -> None:
        nonlocal exceeded
        exceeded |= value > limit
        print(f"{what:48} {value:8.2f} {unit:5} at most {limit:g}", flush=True)

    def median_seconds(costs: list[Cost]) -> float:
        processor = statistics.median(cost.processor_seconds for cost in costs)
        held = max(cost.megabytes for cost in costs)
        print(f"processor time {processor:.2f} s, {held:.0f} MB with what is mapped:")
        return statistics.median(cost.seconds for cost in costs)

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "one" / "20260101T000000Z-long-0000"
        directory.mkdir(parents=True)
        growth, seconds = write(directory, arguments.steps)
        report("memory, growth while logging", growth, 5, "MB")
        print(f"{'time to write and show a step':48} {1e6 * seconds / arguments.steps:8.2f} us")
        run = load_run(directory)
        report("size of a recorded number", bytes_a_number(run), 10, "bytes")
        report("memory, most at the end of the run", end(run), 64, "MB")

        looks = [command("inspect-gradients", str(directory)) for _ in range(arguments.runs)]
        report("inspect-gradients", median_seconds(looks), 3, "s")

        make_runs(Path(folder) / "many", arguments.listed)
        words = ["runs", "list", "--runs-dir", str(Path(folder) / "many")]
        lists = [command(*words) for _ in range(arguments.runs)]
        report(f"runs list, {arguments.listed:,} runs", median_seconds(lists), 0.6, "s")
        chosen = ["--where", "optimizer=adam tag=copied status=finished", "--sort", "test_acc"]
        lists = [command(*words, *chosen) for _ in range(arguments.runs)]
        report("the same, filtered and sorted", median_seconds(lists), 0.6, "s")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
