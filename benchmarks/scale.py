"""What a comparison costs as it grows: its parent, its directory, and the queue of its pilots.

The trials are real run directories, copied by links from 32 real trainings, and an engine that
trains nothing ends one at each poll. Everything else is what `gradcli compare-optimizers` does: the
protocol, the trial store, the checkpoints that go, the live table, the files. A comparison of each
size runs in a process of its own, whose processor time counts, without what the engine takes. Then
it is resumed with nothing left to do, shown and listed.

    python benchmarks/scale.py [--trials 100 1000 10000] [--shape arms] [--workers 200]

A shape is `seeds` (2 arms, all trials measure), `arms` (20 arms, each with a grid of up to 20
rates) or `search` (2 arms, one setting per trial). For each size it prints the processor time per
trial, also of the last tenth alone, that of the end, the share of a core while 200 trials run and
none ends, the largest memory, and how long it takes to the table of the same comparison again, and
to `runs list`. Without strace, the operations on files are not counted. Exits with 1 if the parent
takes more than 3 ms a trial, more than 2% of a core while nothing happens, or more than 300 MB, or
if `runs list` takes more than 0.5 s of processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

import gradcli
from gradcli.comparison.engine import Ended, Job, PlanRequest
from gradcli.comparison.plan import plan_from_json
from gradcli.engines.local import LocalEngine
from gradcli.engines.pilots.queue import JobQueue, PilotDesk
from gradcli.runs import begin_comparison
from gradcli.system.paths import Paths
from gradcli.views.compare.live_table import CompareLiveView
from gradcli.workflows.compare import read_comparison, searcher_of
from gradcli.workflows.comparing.study import Study

TRIAL = ["data=mnist5k", "model.hidden=[32]", "max_steps=40"]
MOST_MILLISECONDS, MOST_IDLE, MOST_MEGABYTES, MOST_LISTING = 3.0, 0.02, 300, 0.5
IDLE_SECONDS = 20.0
RUNNING = 200
OWN = ("run.json", "lock")
#: What `strace -c` counts: calls that a network file system may turn into a request.
METADATA = "open,openat,stat,lstat,newfstatat,statx,rename,renameat,renameat2,unlink,unlinkat"
METADATA += ",mkdir,rmdir,getdents64,access,faccessat2,chmod,fchmodat,link,utimensat,flock,fsync"


@dataclass(frozen=True)
class Cost:
    """What one comparison cost, in seconds of processor time unless said otherwise."""

    trials: int
    a_trial: float
    at_the_end_a_trial: float
    """Of the last tenth of the trials."""
    summary: float
    """From the end of the last trial to the end of the command, without its pictures."""
    idle: float
    """The share of a core while trials run and none ends."""
    again: float
    """To the same table, with nothing left to do."""
    megabytes: float
    listing: float


class Pretender:
    """An engine whose trials are copies: begun at one poll, ended one by one at the next ones."""

    def __init__(self, made: list[Path], jobs: int) -> None:
        self.jobs, self.made = jobs, made
        self.waiting: dict[str, Job] = {}
        self.running: list[Job] = []
        self.seconds = self.idle_from = self.idle_seconds = 0.0
        self.moments: list[float] = []  # processor time of the parent when each trial ended
        self.idle_after, self.idle_until = -1, None
        self.ended = 0
        self._states = [(one / "run.json").read_text() for one in made]
        self._files = [
            [path for path in one.rglob("*") if path.is_file() and path.name not in OWN]
            for one in made
        ]

    def submit(self, job: Job) -> None:
        """Keep a job."""
        self.waiting[job.id] = job

    def poll(self, timeout: float) -> list[Ended]:
        """End one trial, and begin others in its place."""
        begin = time.process_time()
        if self.ended == self.idle_after and self.idle_until is None:
            self.idle_from, self.idle_until = begin, time.perf_counter() + IDLE_SECONDS
        if self.idle_until is not None and time.perf_counter() < self.idle_until:
            time.sleep(timeout)
            self.idle_seconds = time.process_time() - self.idle_from
            return []
        ended = [self._end(job) for job in self.running[:1]]
        self.moments += [begin - self.seconds - self.idle_seconds] * len(ended)
        self.running = self.running[len(ended) :]
        for job_id in list(itertools.islice(self.waiting, self.jobs - len(self.running))):
            self.running.append(self._begin(self.waiting.pop(job_id)))
        self.seconds += time.process_time() - begin
        return ended

    def _begin(self, job: Job) -> Job:
        place, directory = self._place(job), Path(job.directory)
        (directory / "checkpoints").mkdir(parents=True)
        for path in self._files[place]:
            os.link(path, directory / path.relative_to(self.made[place]))
        (directory / "lock").touch()
        state = {**json.loads(self._states[place]), "status": "running"}
        (directory / "run.json").write_text(json.dumps(state))
        return job

    def _end(self, job: Job) -> Ended:
        (Path(job.directory) / "run.json").write_text(self._states[self._place(job)])
        self.ended += 1
        return Ended(job.id)

    def _place(self, job: Job) -> int:
        return int(hashlib.sha256(job.id.encode()).hexdigest()[:8], 16) % len(self.made)

    def cancel(self, job_id: str) -> None:
        """Forget a job."""
        self.waiting.pop(job_id, None)

    def close(self) -> None:
        """Nothing is open."""


def live_table() -> CompareLiveView:
    """Return the live table of a wide terminal that nobody looks at."""
    stream = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as this process
    return CompareLiveView(Console(file=stream, force_terminal=True, width=140, height=50))


def overrides_of(shape: str, trials: int) -> tuple[list[str], list[str]]:
    """Return the overrides of a comparison of about so many trials, and what it varies."""
    if shape == "seeds":
        return ["optimizers=[sgd,adam]", "protocol.tune=false", f"protocol.seeds={trials // 2}"], []
    if shape == "search":
        keys = ["search=sobol", "search.keys=[lr,weight_decay]", "optimizers=[adamw,sgd]"]
        return [*keys, f"protocol.search_settings={trials // 2 - 15}", "protocol.seeds=5"], []
    of_arm = trials // 20 - 5
    rates = max(2, min(20, of_arm))
    grid = [f"protocol.learning_rates={rates}", f"protocol.tuning_seeds={max(1, of_arm // rates)}"]
    arms = ["clip=none,norm", "schedule=constant,cosine"]
    optimizers = "optimizers=[sgd,momentum,adam,adamw,rmsprop]"
    return [optimizers, *grid, "protocol.seeds=5", "protocol.widenings=0"], arms


def processor_seconds(action: Callable[[], object]) -> float:
    """Return the processor time that something takes."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def measure(folder: Path, shape: str, trials: int) -> Cost:
    """Run a comparison in this process, show it again and list it."""
    made = sorted((folder / "made").glob("*/trials/*"))
    plan = plan_from_json(json.loads((folder / f"{trials}.json").read_text()))
    path = folder / f"runs-{trials}" / "20260101T000000Z-compared"
    path.mkdir(parents=True)
    plan = replace(plan, info=replace(plan.info, path=str(path), name=path.name))
    directory = begin_comparison(path, {**plan.as_json(), "notes": []})
    paths, engine = Paths(runs_dir=path.parent), Pretender(made, RUNNING)
    engine.idle_after = trials // 2
    import gradcli.views.draw.comparison_figures as figures

    figures.plot_comparison = lambda *_: []  # which imports Matplotlib
    study = Study(directory, engine, "local", RUNNING, paths, live_table(), searcher_of(plan, ()))
    summary = study.run()
    end = time.process_time() - engine.seconds - engine.idle_seconds
    count, tenth = len(summary.trials), max(1, len(summary.trials) // 10)
    moments = engine.moments
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(
        trials=count,
        a_trial=(moments[-1] - moments[0]) / count,
        at_the_end_a_trial=(moments[-1] - moments[-1 - tenth]) / tenth,
        summary=end - moments[-1],
        idle=engine.idle_seconds / IDLE_SECONDS,
        again=processor_seconds(lambda: read_comparison(directory, paths)),
        megabytes=megabytes,
        listing=listed(path.parent),
    )


def listed(runs_dir: Path) -> float:
    """Return the processor time of `gradcli runs list`, as a process of its own."""
    command = [sys.executable, "-m", "gradcli", "runs", "list", "--runs-dir", str(runs_dir)]

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# The queue -----------------------------------------------------------------------------------


def queue_action(name: str, folder: Path, count: int, workers: int) -> None:
    """Do something with a queue, on which many workers are at work, so many times."""
    queue = JobQueue(folder)
    queue.lead()
    for place in range(2 * workers):
        queue.add(Job(id=f"{place:012d}", directory=str(folder), config="{}"))
    desks = [PilotDesk(folder, f"{one}") for one in range(workers if name == "muster" else 1)]
    for _ in range(count):
        if name == "trial":
            job = desks[0].claim()
            assert job is not None
            desks[0].end(job)
        elif name == "idle look":
            queue.waiting()
        elif name == "leader's look":
            queue.take_ended()
            queue.waiting()
        else:
            queue.bury_the_dead()
    os._exit(0)


def calls(name: str, count: int, workers: int) -> int:
    """Return the number of operations on files of a process that does something so many times."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        command = ["strace", "-f", "-c", "-e", f"trace={METADATA}", "-o", str(told), sys.executable]
        command += [__file__, "--queue", name, str(count), "--workers", str(workers)]
        subprocess.run([*command, "--folder", folder], check=True)
        total = next(line for line in told.read_text().splitlines() if line.endswith("total"))
        return int(total.split()[3] if len(total.split()) > 4 else total.split()[-2])


def show_queue(workers: int) -> None:
    """Print what workers and the leader ask of the file system, each time and in a second."""
    if shutil.which("strace") is None:
        print("skipped: the operations on files, without strace")
        return
    each = {
        name: (calls(name, count, workers) - calls(name, 0, workers)) / count
        for name, count in (("trial", 20), ("idle look", 20), ("leader's look", 20), ("muster", 2))
    }
    for name, number in each.items():
        print(f"{name:14} {number:7.1f} operations")
    # Trials of a minute; each worker and each running trial touches its lease every 5 s.
    rates = {
        "at work": workers / 60 * each["trial"] + 2 * workers / 5,
        "idle": workers / 1.5 * each["idle look"] + workers / 5,
        "leading": 4 * each["leader's look"] + each["muster"] / 5,
    }
    for name, rate in rates.items():
        print(f"{workers} workers, {name:8} {rate:7.0f} operations a second")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--shape", choices=["seeds", "arms", "search"], default="arms")
    parser.add_argument("--workers", type=int, default=200)
    for name, count in (("--measure", 1), ("--queue", 2)):
        parser.add_argument(name, nargs=count, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.queue:
        queue_action(given.queue[0], given.folder, int(given.queue[1]), given.workers)
    if given.measure:
        print(json.dumps(asdict(measure(given.folder, given.shape, int(given.measure[0])))))
        return 0

    print(f"{platform.machine()}, {os.cpu_count()} cores; shape {given.shape}, {RUNNING} at a time")
    with tempfile.TemporaryDirectory() as name:
        costs = [measured(Path(name), given.shape, trials) for trials in given.trials]
    show_queue(given.workers)
    return int(any(map(is_over, costs)))


def measured(folder: Path, shape: str, trials: int) -> Cost:
    """Run a comparison in another process, and print what it cost."""
    if not (folder / "made").exists():
        arms = {"optimizers": ["sgd", "adam"], "seeds": 16, "jobs": 2}
        keep = ["protocol.tune=false", "checkpoint.keep=all"]
        gradcli.compare(*TRIAL, *keep, **arms, runs_dir=folder / "made")
    overrides, vary = overrides_of(shape, trials)
    engine = LocalEngine()
    plan = engine.plan(PlanRequest([*TRIAL, *overrides], vary, RUNNING), lambda *_: None)
    engine.close()
    (folder / f"{trials}.json").write_text(json.dumps(plan))
    command = [sys.executable, __file__, "--measure", str(trials), "--shape", shape]
    done = subprocess.run(
        [*command, "--folder", folder], check=True, stdout=subprocess.PIPE, text=True
    )
    cost = Cost(**json.loads(done.stdout.splitlines()[-1]))
    print(
        f"{cost.trials:6,} trials  {1000 * cost.a_trial:5.2f} ms a trial "
        f"({1000 * cost.at_the_end_a_trial:5.2f} at the end)  {cost.summary:6.1f} s to sum up  "
        f"{100 * cost.idle:4.1f}% of a core idle  {cost.megabytes:4.0f} MB  "
        f"{cost.again:6.1f} s to the table again  {cost.listing:4.2f} s to list",
        flush=True,
    )
    shutil.rmtree(folder / f"runs-{trials}")
    return cost


def is_over(cost: Cost) -> bool:
    """Whether a comparison costs more than it may."""
    return (
        1000 * cost.a_trial > MOST_MILLISECONDS
        or cost.idle > MOST_IDLE
        or cost.megabytes > MOST_MEGABYTES
        or cost.listing > MOST_LISTING
    )


if __name__ == "__main__":
    sys.exit(main())
