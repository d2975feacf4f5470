"""A recorder is added from a folder of the user's own, to every kind of run, and may fail."""

import json
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import gradcli as gc
from gradcli.records import EvalRecord, LayerRecord, ProbeRecord, Recorder, StepRecords
from gradcli.runs import load_run
from gradcli.views.compare.compare_view import QuietCompareView

SMALL = ("data=mnist5k", "max_steps=4", "model.hidden=[4]", "batch_size=512", "device=cpu")

TRACKER = '''
"""A tracker as a user writes one: it knows gradcli only by what it is handed."""

import json
from pathlib import Path

from gradcli import Recorder


class Tracker(Recorder):
    def __init__(self, folder, fails_in=""):
        self.folder, self.fails_in = folder, fails_in

    def write(self, call, **facts):
        with open(self.file, "a") as file:
            file.write(json.dumps({"call": call, **facts}) + "\\n")
        if call == self.fails_in:
            raise ConnectionError("nobody answers")

    def begin(self, info, path, settings):
        self.file = Path(self.folder) / f"{info.run}.jsonl"
        self.write("begin", start=info.start_step, path=path, lr=settings["optimizer.lr"])

    def record(self, record):
        self.write("record", kind=type(record).__name__)

    def finish(self, summary):
        self.write("finish", status=summary.status)

    def close(self):
        self.write("close")
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module and an option of the group `recorder`, and where it writes."""
    (tmp_path / "own" / "recorder").mkdir(parents=True)
    (tmp_path / "told").mkdir()
    (tmp_path / "my_tracker.py").write_text(TRACKER)
    (tmp_path / "own" / "recorder" / "mine.yaml").write_text(
        f"_target_: my_tracker.Tracker\nfolder: {tmp_path / 'told'}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")  # for the processes of trials
    yield tmp_path
    sys.modules.pop("my_tracker", None)


def told(own, run):
    """What the tracker was handed of a run."""
    lines = (own / "told" / f"{run}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def calls(own, run):
    return [one["call"] for one in told(own, run)]


class Witness(Recorder):
    """Notes every call; fails in one of them if asked to."""

    def __init__(self, fails_in=""):
        self.calls, self.records, self.notes, self.fails_in = [], [], [], fails_in

    def _note(self, call):
        self.calls.append(call)
        if call == self.fails_in:
            raise ConnectionError("nobody answers")

    def begin(self, info, path, settings):
        self.info, self.path, self.settings = info, path, settings
        self._note("begin")

    def record(self, record):
        self.records.append(record)
        self._note("record")

    def note(self, text):
        self.notes.append(text)

    def finish(self, summary):
        self.summary = summary
        self._note("finish")

    def close(self):
        self._note("close")


# The same tracker in each kind of run --------------------------------------------------------


def test_the_command_line_names_it(gradcli, own, runs_dir):
    options = ("--config-dir", str(own / "own"), "--allow-import", "my_tracker")
    answer = gradcli("train", *SMALL, "recorders=[mine]", *options, "--quiet")
    assert answer.code == 0, answer.err
    run = load_run(next(runs_dir.iterdir()))
    first, *middle, finish, last = told(own, run.path.name)
    assert (first["call"], first["start"], first["lr"]) == ("begin", 0, 0.002)
    assert {one["kind"] for one in middle} >= {"StepRecords", "LayerRecord", "EvalRecord"}
    assert (finish["call"], finish["status"]) == ("finish", "finished")
    assert last["call"] == "close"


def test_a_resumed_run_is_recorded_by_the_recorders_of_its_config(gradcli, own, runs_dir):
    options = ("--config-dir", str(own / "own"), "--allow-import", "my_tracker", "--quiet")
    words = [word for word in SMALL if not word.startswith("max_steps")]
    assert gradcli("train", *words, "epochs=1", "recorders=[mine]", *options).code == 0
    again = ("--resume", "latest", "--allow-import", "my_tracker", "--quiet")
    assert gradcli("train", "epochs=2", *again).code == 0
    begins = [one["start"] for one in told(own, next(runs_dir.iterdir()).name) if "start" in one]
    assert begins == [0, 8]


def test_trials_in_processes_of_their_own_are_recorded(own, runs_dir):
    comparison = gc.compare(
        *SMALL,
        "recorders=[mine]",
        "protocol.tune=false",
        optimizers=["sgd", "adam"],
        seeds=1,
        jobs=1,
        config_dir=own / "own",
        allow_import=["my_tracker"],
        runs_dir=runs_dir,
    )
    assert len(comparison.summary.trials) == 2
    for trial in comparison.summary.trials:
        assert calls(own, trial.id)[0] == "begin"
        assert calls(own, trial.id)[-2:] == ["finish", "close"]


def test_python_hands_one_over(runs_dir):
    witness = Witness()
    run = gc.train(*SMALL, runs_dir=runs_dir, recorders=[witness])
    assert witness.calls[0] == "begin"
    assert witness.calls[-2:] == ["finish", "close"]
    assert set(witness.calls[1:-2]) == {"record"}
    assert repr(witness.info) == repr(run.info)  # NaN equals nothing
    assert witness.path == str(run.path)
    assert witness.settings["optimizer"] == "adam"
    assert witness.settings["model.hidden"] == [4]
    assert witness.summary.status == "finished"
    steps = np.concatenate([one.loss for one in witness.records if isinstance(one, StepRecords)])
    assert np.array_equal(steps, run.steps.loss)
    evaluations = tuple(one for one in witness.records if isinstance(one, EvalRecord))
    assert repr(evaluations) == repr(run.evals)  # NaN equals nothing
    assert any(isinstance(one, LayerRecord) for one in witness.records)


def test_probes_are_records_and_notes(runs_dir):
    witness = Witness()
    gc.train(*SMALL, "monitor.probes=[histograms]", runs_dir=runs_dir, recorders=[witness])
    assert any(isinstance(one, ProbeRecord) for one in witness.records)
    assert all(note.startswith("probes at step") for note in witness.notes)


def own_loop(runs_dir, **options):
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gc.GradientMonitor(model, optimizer, runs_dir=runs_dir, **options) as monitor:
        for _ in range(3):
            loss = model(torch.ones(2, 3)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            monitor.step(loss)
            optimizer.step()
        monitor.evaluation(accuracy=0.5)
    return gc.load_run(monitor.run)


def test_a_users_own_loop_gives_recorders_its_records(runs_dir):
    witness = Witness()
    run = own_loop(runs_dir, recorders=[witness])
    assert witness.settings["optimizer"] == "SGD"
    assert sum(len(one) for one in witness.records if isinstance(one, StepRecords)) == 3
    evaluations = tuple(one for one in witness.records if isinstance(one, EvalRecord))
    assert repr(evaluations) == repr(run.evals)  # NaN equals nothing
    assert (witness.calls[0], witness.calls[-2:]) == ("begin", ["finish", "close"])


# One that fails --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["begin", "record", "finish", "close"])
def test_one_that_fails_is_dropped_with_a_warning_and_the_run_continues(runs_dir, call):
    failing, after = Witness(fails_in=call), Witness()
    with pytest.warns(RuntimeWarning, match="The recorder Witness failed .*nobody answers"):
        run = gc.train(*SMALL, runs_dir=runs_dir, recorders=[failing, after])
    assert failing.calls.count(call) == (2 if call == "close" else 1)
    assert failing.calls[-1] == "close"
    assert after.calls[-2:] == ["finish", "close"]
    assert run.status == "finished"
    undisturbed = gc.train(*SMALL, runs_dir=runs_dir)
    assert np.array_equal(run.steps.loss, undisturbed.steps.loss)
    assert run.state["dropped_recorders"] == {"Witness": "ConnectionError('nobody answers')"}


@pytest.mark.filterwarnings("ignore:The recorder Witness:RuntimeWarning")
@pytest.mark.parametrize(
    ("failing", "dropped"),
    [
        ((True, True), {"Witness", "Witness#2"}),
        ((True, False), {"Witness"}),
        ((False, True), {"Witness#2"}),
    ],
)
def test_two_of_one_class_are_told_apart(runs_dir, failing, dropped):
    witnesses = [Witness(fails_in="record" if one else "") for one in failing]
    run = gc.train(*SMALL, runs_dir=runs_dir, recorders=witnesses)
    assert set(run.state["dropped_recorders"]) == dropped
    for witness, failed in zip(witnesses, failing, strict=True):
        assert ("finish" in witness.calls) is not failed


@pytest.mark.filterwarnings("ignore:The recorder:RuntimeWarning")
def test_one_that_fails_when_told_of_another_one_is_dropped_too(runs_dir):
    class Deaf(Witness):
        shows_notes = True

        def note(self, text):
            raise ConnectionError("nobody reads notes")

    run = gc.train(
        *SMALL, runs_dir=runs_dir, recorders=[Witness(fails_in="record"), Deaf(fails_in="record")]
    )
    assert run.status == "finished"
    assert set(run.state["dropped_recorders"]) == {"Witness", "Deaf"}


def test_the_screen_says_which_one_failed(gradcli, own, runs_dir):
    (own / "own" / "recorder" / "mine.yaml").write_text(
        f"_target_: my_tracker.Tracker\nfolder: {own / 'told'}\nfails_in: record\n"
    )
    options = ("--config-dir", str(own / "own"), "--allow-import", "my_tracker")
    answer = gradcli("train", *SMALL, "recorders=[mine]", *options, "--no-live")
    assert answer.code == 0
    assert "The recorder Tracker failed and gets no more records: ConnectionError" in answer.err


def test_a_comparison_says_once_which_one_failed(own, runs_dir, trials_in_this_process):
    notes = []

    class Notes(QuietCompareView):
        def note(self, text):
            notes.append(text)

    file = own / "own" / "recorder" / "mine.yaml"
    file.write_text(file.read_text() + "fails_in: begin\n")
    with pytest.warns(RuntimeWarning, match="The recorder Tracker failed"):
        comparison = gc.compare(
            *SMALL,
            "recorders=[mine]",
            "protocol.tune=false",
            optimizers=["sgd", "adam"],
            seeds=1,
            config_dir=own / "own",
            allow_import=["my_tracker"],
            runs_dir=runs_dir,
            view=Notes(),
        )
    assert comparison.summary.status == "finished"
    (note,) = notes
    assert note.startswith("The recorder Tracker failed in ")
    assert "ConnectionError('nobody answers')" in note


def test_a_comparison_names_both_that_failed_of_one_class(own, runs_dir, trials_in_this_process):
    notes = []

    class Notes(QuietCompareView):
        def note(self, text):
            notes.append(text)

    file = own / "own" / "recorder" / "mine.yaml"
    file.write_text(file.read_text() + "fails_in: begin\n")
    file.with_name("other.yaml").write_text(file.read_text())
    with pytest.warns(RuntimeWarning, match="The recorder Tracker(#2)? failed"):
        gc.compare(
            *SMALL,
            "recorders=[mine,other]",
            "protocol.tune=false",
            optimizers=["sgd"],
            seeds=2,
            config_dir=own / "own",
            allow_import=["my_tracker"],
            runs_dir=runs_dir,
            view=Notes(),
        )
    named = [note.partition(" failed in ")[0] for note in notes]
    assert named == ["The recorder Tracker", "The recorder Tracker#2"]


def test_in_a_users_own_loop_too(runs_dir):
    with pytest.warns(RuntimeWarning, match="The recorder Witness failed"):
        run = own_loop(runs_dir, recorders=[Witness(fails_in="record")])
    assert (run.status, len(run.steps)) == ("finished", 3)


def test_the_run_directory_may_not_fail(runs_dir, monkeypatch):
    # A mock, because an exception that this file raised would count as the user's own code's.
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("gradcli.runs.writer.RunWriter.write", full)
    witness = Witness()
    with pytest.raises(OSError, match="No space left"):
        gc.train(*SMALL, runs_dir=runs_dir, recorders=[witness])
    assert witness.calls == ["begin", "close"]
    assert load_run(next(runs_dir.iterdir())).status == "failed"


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "says", "hint"),
    [
        ("recorders=mine", "is not a list of names", "recorders=[mine]"),
        ("recorders=[mnie]", "There is no recorder 'mnie'", "recorders=[mine]"),
        ("recorder=mine", "The key is 'recorders'", "recorders=[mine]"),
    ],
)
def test_a_mistake_is_answered_with_what_to_type(own, override, says, hint):
    with pytest.raises(gc.UserError, match=says) as caught:
        gc.train(*SMALL, override, config_dir=own / "own", allow_import=["my_tracker"])
    assert caught.value.hint == hint


def test_without_a_users_own_folder_there_is_none(runs_dir):
    with pytest.raises(gc.UserError, match="There is no recorder 'mine'") as caught:
        gc.train(*SMALL, "recorders=[mine]", runs_dir=runs_dir)
    assert "--config-dir DIR" in caught.value.hint
    assert not runs_dir.exists()


def test_only_a_recorder_is_one_and_its_arguments_are_checked(own, runs_dir):
    file = own / "own" / "recorder" / "mine.yaml"
    options = {"config_dir": own / "own", "allow_import": ["my_tracker"], "runs_dir": runs_dir}
    file.write_text("_target_: torch.nn.Linear\n")
    with pytest.raises(gc.UserError, match=r"does not derive from gradcli\.Recorder"):
        gc.train(*SMALL, "recorders=[mine]", **options)
    for text, says in (
        ("a: [", "not valid YAML"),
        ("- a", "must hold keys and values"),
        ("folder: here", "recorder names no class"),
    ):
        file.write_text(text)
        with pytest.raises(gc.UserError, match=says):
            gc.train(*SMALL, "recorders=[mine]", **options)
    file.write_text(f"_target_: my_tracker.Tracker\nfoldr: {own}\n")
    with pytest.raises(gc.UserError, match="Tracker takes no 'foldr'") as caught:
        gc.train(*SMALL, "recorders=[mine]", **options)
    assert str(file) in caught.value.where


# What a config without one keeps ---------------------------------------------------------------


def test_a_run_without_recorders_has_the_config_of_runs_from_before_the_key(runs_dir):
    run = gc.train(*SMALL, runs_dir=runs_dir)
    assert "recorders" not in run.config


def test_show_config_lists_the_key(gradcli):
    assert "\nrecorders: []\n" in gradcli("train", "--show-config").out


def test_one_that_cannot_be_built_is_named_with_its_line(gradcli, own, runs_dir):
    with (own / "my_tracker.py").open("a") as file:
        file.write("\n\nclass Unreachable(Recorder):\n    def __init__(self):\n        1 / 0\n")
    (own / "own" / "recorder" / "gone.yaml").write_text("_target_: my_tracker.Unreachable\n")
    words = [*SMALL, "recorders=[gone]", "--config-dir", str(own / "own")]
    answer = gradcli("train", *words, "--allow-import", "my_tracker")
    assert answer.code == 2
    assert "Unreachable cannot be built: ZeroDivisionError: division by zero" in answer.err
    assert "my_tracker.py:" in answer.err
