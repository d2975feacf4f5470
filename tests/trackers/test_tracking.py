"""A tracker is told each step of a run once: live, resumed, afterwards; and it may fail."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gradcli as package
from gradcli.runs import find_any, load_run
from gradcli.trackers import Tracker, TrackingRecorder, tracking

SMALL = ("data=mnist5k", "model.hidden=[8]", "batch_size=200", "epochs=2", "device=cpu")
ENDS = 'RuntimeError("the disk of the tracker is full")'


class Listing(Tracker):
    """Keeps what it is told, and fails where it is told to."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.calls, self.told, self.pictures = [], [], []

    def begin(self, run, folder):
        self.run, self.folder = run, folder
        self.calls.append("begin")
        self.told = []  # an earlier copy of the run is replaced

    def scalars(self, step, values):
        if self.fails_at is not None and step >= self.fails_at:
            raise RuntimeError("the disk of the tracker is full")
        self.told.append((step, dict(values)))
        self.calls.append("scalars")

    def flush(self):
        self.calls.append("flush")

    def picture(self, name, step, png):
        self.pictures.append((name, step, png))

    def finish(self, summary, findings):
        self.calls.append("finish")
        self.summary, self.findings = summary, findings

    def close(self):
        self.calls.append("close")


class Stopping(package.Recorder):
    """Ends the process, as far as a test can: nothing is saved any more."""

    def __init__(self, at):
        self.at = at

    def record(self, record):
        if hasattr(record, "clip_coefficient") and len(record) and record.step[-1] >= self.at:
            raise KeyboardInterrupt


def afterwards(run, **options):
    """What a tracker is told of a run on disk."""
    tracker = Listing()
    recorder = TrackingRecorder("mine", tracker, folder=run.path, **options)
    recorder.begin(run.info, str(run.path), run.state["settings"])
    recorder.close()
    return tracker


@pytest.mark.parametrize(
    "words", [(), ("monitor.every_step=3", "monitor.every=2"), ("monitor.every_step=0",)]
)
def test_a_run_is_told_live_as_it_is_afterwards(words, runs_dir, monkeypatch):
    tracker = Listing()
    recorder = TrackingRecorder("mine", tracker, layers=True)
    run = package.train(*SMALL, *words, runs_dir=runs_dir, recorders=[recorder])
    assert tracker.told == afterwards(run, layers=True).told
    monkeypatch.setattr(tracking, "_ROWS_AT_ONCE", 3)
    assert tracker.told == afterwards(run, layers=True).told
    steps = [step for step, _ in tracker.told]
    assert steps == sorted(steps)
    logged = [(step, values["loss"]) for step, values in tracker.told if "loss" in values]
    columns = run.columns()
    assert logged == list(zip(columns["step"].tolist(), columns["loss"].tolist(), strict=True))
    evaluated = [
        (step, name)
        for step, values in tracker.told
        for name in values
        if name in ("val_loss", "test_loss")
    ]
    assert evaluated == [(20, "val_loss"), (40, "val_loss"), (40, "test_loss")]


def test_what_it_is_told_of_the_run(runs_dir):
    tracker = Listing()
    recorders = [TrackingRecorder("mine", tracker)]
    run = package.train(*SMALL, "optimizer.lr=0.03", runs_dir=runs_dir, recorders=recorders)
    assert tracker.folder == run.path / "trackers" / "mine"
    assert tracker.folder.is_dir()
    assert tracker.run.settings["optimizer.lr"] == 0.03
    assert (tracker.run.name, tracker.run.group) == (run.name, "")
    assert tracker.run.title == tracker.run.identity == run.name
    assert tracker.calls[-2:] == ["finish", "close"]
    assert tracker.calls[-3] == "flush"
    assert tracker.summary.status == "finished"
    assert tracker.summary.findings
    assert all(f"**{one.code}**" in tracker.findings for one in tracker.summary.findings)


def test_a_run_that_was_stopped_at_once_and_resumed_has_each_step_once(runs_dir):
    first = Listing()
    recorders = [TrackingRecorder("mine", first), Stopping(at=30)]
    with pytest.raises(KeyboardInterrupt):
        package.train(*SMALL, runs_dir=runs_dir, recorders=recorders)
    assert max(step for step, _ in first.told) >= 30  # beyond the checkpoint at step 20
    (directory,) = runs_dir.iterdir()
    again = Listing()
    run = package.train(
        resume=str(directory), runs_dir=runs_dir, recorders=[TrackingRecorder("mine", again)]
    )
    assert run.status == "finished"
    assert [step for step, values in again.told if "loss" in values] == list(range(1, 41))
    assert again.told == afterwards(run).told


@pytest.mark.parametrize("fails_at", [1, 25])
def test_a_tracker_that_fails_leaves_the_run_as_it_is(fails_at, runs_dir):
    weights, losses = [], []
    for tracker in (None, Listing(fails_at)):
        recorders = [] if tracker is None else [TrackingRecorder("mine", tracker)]
        if tracker is None:
            run = package.train(*SMALL, "name=a", runs_dir=runs_dir, recorders=recorders)
        else:
            with pytest.warns(RuntimeWarning, match="The recorder mine failed"):
                run = package.train(*SMALL, "name=a", runs_dir=runs_dir, recorders=recorders)
            assert run.state["dropped_recorders"].keys() == {"mine"}
            assert tracker.calls[-1] == "close"
            assert "finish" not in tracker.calls
        assert run.status == "finished"
        state = torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)
        weights.append({name: value.numpy().tobytes() for name, value in state["model"].items()})
        losses.append(run.columns()["loss"])
    assert weights[0] == weights[1]
    assert np.array_equal(*losses)


OWN = f"""
from gradcli import Tracker

class Mine(Tracker):
    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def begin(self, run, folder):
        self.file = folder / "told.txt"
        self.file.write_text(run.title + "\\n")

    def scalars(self, step, values):
        if step == self.fails_at:
            raise {ENDS}
        with self.file.open("a") as file:
            print(step, *values, file=file)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The options with which a command knows a tracker of the user's own, `mine`."""
    (tmp_path / "own" / "tracker").mkdir(parents=True)
    (tmp_path / "my_own_tracker.py").write_text(OWN)
    (tmp_path / "own" / "tracker" / "mine.yaml").write_text("_target_: my_own_tracker.Mine\n")
    monkeypatch.chdir(tmp_path)
    yield ("--config-dir", "own", "--allow-import", "my_own_tracker")
    sys.modules.pop("my_own_tracker", None)


def test_a_config_names_trackers_and_a_resumed_run_has_them_again(own, gradcli, runs_dir):
    words = [*SMALL, "max_steps=3", "track=[mine]", "track_layers=true", "--quiet"]
    assert gradcli("train", *words, *own).code == 0
    (directory,) = runs_dir.iterdir()
    run = load_run(directory)
    lines = (directory / "trackers" / "mine" / "told.txt").read_text().splitlines()
    assert lines[0] == run.name
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert "update_ratio/output" in lines[1].split()
    assert "track" in run.config and "track_layers: true" in run.config
    settings = {key for key in run.state["settings"] if key.startswith("track")}
    assert settings == {"track.mine", "track_layers"}


def test_a_config_without_trackers_is_that_of_earlier_runs(runs_dir):
    run = package.train(*SMALL, "max_steps=1", runs_dir=runs_dir)
    assert "track" not in run.config
    assert not (run.path / "trackers").exists()


def test_an_export_says_in_a_panel_what_a_tracker_raised(own, gradcli, runs_dir, tmp_path):
    (tmp_path / "own" / "tracker" / "mine.yaml").write_text(
        "_target_: my_own_tracker.Mine\nfails_at: 2\n"
    )
    run = package.train(*SMALL, "max_steps=3", runs_dir=runs_dir)
    answer = gradcli("runs", "export", run.name, "--format", "mine", "-o", "out", *own)
    assert answer.code == 2
    assert "mine failed" in answer.err
    assert "the disk of the tracker is full" in answer.err


def test_each_trial_of_a_comparison_is_exported_into_its_own_folder(
    own, gradcli, runs_dir, trials_in_this_process
):
    words = [*SMALL, "max_steps=2", "epochs=1", "protocol.tune=false", "name=both"]
    package.compare(*words, optimizers=["sgd", "adam"], seeds=1, runs_dir=runs_dir)
    comparison = find_any("both", runs_dir)
    answer = gradcli("runs", "export", "both", "--format", "mine", "-o", "out", *own)
    assert answer.code == 0, answer.err
    titles = set()
    for run in comparison.trials():
        (told,) = Path("out").glob(f"*{run.name[:6]}/told.txt")
        title, *lines = told.read_text().splitlines()
        assert told.parent.name == title.replace(" ", "-")
        titles.add(title.rpartition(" ")[0])
        assert [line.split()[0] for line in lines[:2]] == ["1", "2"]
    assert titles == {"sgd lr=0.5 seed=0", "adam lr=0.002 seed=0"}
