"""What a comparison's own process does while trials run: little, however many there are."""

import json
import operator
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gradcli
from gradcli.comparison import trial_store
from gradcli.engines import Ended, worker
from gradcli.records import DataInfo, EvalRecord, LayerInfo, ParameterInfo, RunInfo, StepRecords
from gradcli.runs import ComparisonDirectory, RunWriter
from gradcli.views.compare.compare_view import QuietCompareView

LAYERS = (LayerInfo("output", "Linear", 0, (ParameterInfo("output.weight", (2, 2)),)),)
INFO = RunInfo(
    run="", name="", data=DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10), model="mlp",
    model_size=4, optimizer="sgd", learning_rate=0.1, schedule="constant", clip="none",
    activation="relu", device="cpu", threads=1, batch_size=128, epochs=1, total_steps=4,
    start_step=0, layers=LAYERS,
)  # fmt: skip
SEEDS, JOBS = 8, 2
TRIALS = 2 * SEEDS


class Pretender:
    """An engine whose trials train nothing: begun at one poll, ended at the next."""

    def __init__(self, jobs=None, gpus="one", affinity=False, memory_per_trial=None):
        self.jobs, self.waiting, self.writers = 1, [], {}

    def scale(self, jobs):
        self.jobs = jobs
        return jobs

    def plan(self, request, download):
        where = {"data_dir": request.data_dir, "download": download}
        return worker.plan(request, partial(worker.load_once, **where))

    def submit(self, job):
        self.waiting.append(job)

    def poll(self, timeout):
        self.pass_time(timeout)
        ended = []
        for job in self.waiting[: self.jobs]:
            if job.id in self.writers:
                self._end(self.writers[job.id])
                ended.append(Ended(job.id))
            else:
                path = Path(job.directory)
                path.mkdir(parents=True)
                self.writers[job.id] = RunWriter(path, job.config, {})
                self.writers[job.id].begin(
                    replace(INFO, learning_rate=json.loads(job.config)["optimizer"]["lr"]), {}
                )
        self.waiting = [job for job in self.waiting if Ended(job.id) not in ended]
        return ended

    def pass_time(self, timeout):
        pass

    def _end(self, writer):
        norms = np.ones((4, 1))
        writer.write(
            StepRecords(
                np.arange(1, 5), np.ones(4), np.ones(4), np.ones(4), norms[:, 0], np.ones(4),
                norms, norms,
            )
        )  # fmt: skip
        for split in ("val", "test"):
            writer.write(EvalRecord(4, 1, split, 1.0, 0.5, 1.0, 1.0, 1.0))
        writer.set_status("finished")
        writer.close()

    def cancel(self, job_id):
        pass

    def close(self):
        pass


class Counter(QuietCompareView):
    """Counts the looks and the trials."""

    def __init__(self):
        self.looks, self.ended = [], 0

    def progress(self, progress):
        self.looks.append(progress)

    def trial(self, trial):
        self.ended += 1


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Compare with an engine that pretends, and draw no pictures."""

    def run(view, engine=Pretender):
        monkeypatch.setattr("gradcli.engines.local.LocalEngine", engine)
        monkeypatch.setattr(
            "gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: []
        )
        monkeypatch.setattr("os.fsync", lambda descriptor: None)  # a hundred would take a second
        return gradcli.compare(
            "data=mnist5k", "protocol.tune=false", optimizers=["sgd", "adam"], seeds=SEEDS,
            jobs=JOBS, runs_dir=tmp_path, view=view,
        )  # fmt: skip

    return run


def test_it_looks_only_where_a_trial_may_run(compare, monkeypatch):
    looked = []
    trial = ComparisonDirectory.trial
    monkeypatch.setattr(
        ComparisonDirectory, "trial", lambda self, name: looked.append(name) or trial(self, name)
    )
    # No pause between looks: as many as there can be.
    monkeypatch.setattr("gradcli.workflows.comparing.showing.SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr("gradcli.workflows.comparing.showing._PAUSE_PER_COST", 0)
    view = Counter()
    comparison = compare(view)
    assert comparison.summary.status == "finished"
    assert view.ended == TRIALS
    assert any(look.running for look in view.looks)
    of_ends = 5 * TRIALS  # what came of it, its curves, its result and, at the end, its records
    assert len(looked) <= JOBS * len(view.looks) + of_ends


def test_the_protocol_is_replayed_once_for_each_change(compare, monkeypatch):
    replays = []
    advance = trial_store.advance
    monkeypatch.setattr(trial_store, "advance", lambda *args: replays.append(1) or advance(*args))
    compare(Counter())
    assert len(replays) <= TRIALS + 1


def test_looking_takes_a_hundredth_of_the_time_at_most(compare, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    times = []

    class Slow(Counter):
        def progress(self, progress):
            super().progress(progress)
            times.append(clock.now)
            clock.now += 1.0

    class Timed(Pretender):
        def pass_time(self, timeout):
            clock.now += 30.0

    for module in ("study", "showing"):
        monkeypatch.setattr(
            f"gradcli.workflows.comparing.{module}.time",
            SimpleNamespace(monotonic=lambda: clock.now),
        )
    view = Slow()
    compare(view, Timed)
    between = np.diff(times[:-1])  # the last one shows the end, whatever the pause
    assert len(between) >= 2
    assert (between >= 100).all()
    assert view.looks[-1].trials_done == TRIALS


def test_a_trial_that_ends_changes_what_is_known(compare):
    comparison = compare(Counter())
    book = trial_store.TrialStore(comparison.directory)
    before, (first, *_) = book.arms(), book.states()
    assert all(map(operator.is_, book.arms(), before))
    trial = first.measuring[0]
    book.give_up(trial.id, "a test says so")
    assert list(map(operator.is_, book.arms(), before)) == [False, True]
    assert [one.status for one in book.arms()[0].measuring].count("failed") == 1
    book.read(trial.id)
    assert [one.status for one in book.arms()[0].measuring].count("finished") == SEEDS


def test_trials_that_are_known_to_have_ended_are_passed_over(compare):
    comparison = compare(Counter())
    book = trial_store.TrialStore(comparison.directory)
    everything = list(book.ended())
    assert everything == [one for arm in book.arms() for one in (*arm.tuning, *arm.measuring)]
    assert len(everything) == TRIALS
    known = {(trial.arm, trial.id) for trial in everything[1:]}
    assert list(book.ended(known)) == everything[:1]


def test_its_own_process_loads_no_torch(tmp_path):
    code = f"""
import sys, gradcli
comparison = gradcli.compare(
    "data=mnist5k", "model.hidden=[4]", "max_steps=2", "protocol.tune=false",
    optimizers=["sgd", "adam"], seeds=2, jobs=1, runs_dir={str(tmp_path)!r},
)
assert comparison.summary.status == "finished"
assert "torch" not in sys.modules
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
