"""Whole comparisons on the bundled sample: equal to `train`, to one another, and hard to kill."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gradcli
from gradcli.comparison.live import SERIES
from gradcli.comparison.plan import plan_from_json
from gradcli.comparison.statistics import summarise_scores
from gradcli.comparison.trial_store import TrialStore, winner_command
from gradcli.errors import UserError
from gradcli.runs import ComparisonDirectory
from gradcli.system.paths import Paths
from gradcli.views.compare.compare_view import QuietCompareView
from gradcli.workflows.compare import read_comparison

#: Two optimizers, three learning rates and two seeds: ten trials of a dozen steps.
SMALL = [
    "data=mnist5k",
    "model.hidden=[16]",
    "max_steps=12",
    "protocol.learning_rates=3",
    "protocol.widenings=0",
    "checkpoint.keep=last",  # their weights are compared
]
ASKED = {"optimizers": ["sgd", "adam"], "seeds": 2}
WORDS = ["compare-optimizers", "--optimizers", "sgd,adam", "--seeds", "2", *SMALL]
TRIALS = 10


class Witness(QuietCompareView):
    """Keeps all that it is shown."""

    def __init__(self):
        self.notes, self.infos, self.snapshots, self.trials, self.endings = [], [], [], [], []

    def note(self, text):
        self.notes.append(text)

    def start(self, info):
        self.infos.append(info)

    def progress(self, progress):
        self.snapshots.append(progress)

    def trial(self, trial):
        self.trials.append(trial)

    def finish(self, summary):
        self.endings.append(summary)


def table(summary):
    """All that a comparison says, but for times and places."""

    def timeless(value):
        times = {"seconds_to_target": 0.0, "steps_per_second": 0.0}
        return replace(value, measured={**value.measured, **times})

    return (
        tuple(timeless(arm) for arm in summary.ranking),
        summary.pairs,
        summary.warnings,
        summary.tuning,
        tuple(
            replace(timeless(trial), seconds=0.0, run=Path(trial.run).name)
            for trial in summary.trials
        ),
        summary.failed,
        summary.info.target_score,
        summary.target,
        summary.halving,
        tuple(
            None if trial.example_scores is None else trial.example_scores.tobytes()
            for trial in summary.trials
        ),
    )


def traces(directory):
    """When each finished trial was written: it changes if a trial runs again."""
    return {
        path.parent.name: (path.stat().st_mtime_ns, (path.parent / "steps.bin").stat().st_mtime_ns)
        for path in Path(directory).glob("trials/*/run.json")
        if json.loads(path.read_text())["status"] == "finished"
    }


def weights(run):
    return torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("comparisons")


@pytest.fixture(scope="module")
def witness():
    return Witness()


@pytest.fixture(autouse=True)
def _no_pictures(undisturbed, monkeypatch):
    """The pictures of one comparison are drawn; those of the others would take a second each."""
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])


@pytest.fixture(scope="module")
def undisturbed(runs, witness):
    return gradcli.compare(*SMALL, **ASKED, jobs=2, runs_dir=runs / "undisturbed", view=witness)


def test_it_tunes_on_one_seed_and_measures_on_fresh_ones(undisturbed):
    summary = undisturbed.summary
    assert summary.status == "finished"
    assert {arm.name for arm in undisturbed.ranking} == {"sgd", "adam"}
    for arm in undisturbed.ranking:
        assert arm.seeds == (1, 2)
        assert arm.test_score.count == 2
        tuned = [cell for cell in summary.tuning if cell.arm == arm.name]
        (chosen,) = [cell for cell in tuned if cell.chosen]
        assert len(tuned) == 3
        assert chosen.val_score == max(cell.val_score for cell in tuned)
        assert chosen.learning_rate == arm.learning_rate
        assert arm.selection.selected_score == chosen.val_score
    assert len(summary.trials) == TRIALS
    assert {trial.seed for trial in summary.trials if trial.stage == "tuning"} == {0}


def test_its_numbers_are_those_of_the_runs(undisturbed):
    for trial in undisturbed.summary.trials:
        run = undisturbed.run(trial)
        val, test = (
            [one.score for one in run.evals if one.split == split] for split in ("val", "test")
        )
        assert trial.val_score == val[-1]
        if trial.stage == "measuring":
            assert trial.test_score == test[-1]
        else:
            assert trial.test_score != trial.test_score
        assert trial.steps == run.info.total_steps == undisturbed.summary.info.steps == 12
        assert trial.measured["grad_norm"] == pytest.approx(
            run.steps.grad_norm_before_clip.mean(), rel=1e-6
        )
        assert len(run.steps) == 12


def test_trials_record_which_test_examples_are_right(undisturbed):
    measuring = [one for one in undisturbed.summary.trials if one.stage == "measuring"]
    for trial in measuring:
        run = undisturbed.run(trial)
        assert len(trial.example_scores) == run.info.data.test == 500
        assert trial.example_scores.mean() == pytest.approx(trial.test_score)
        assert [bool(one.example_scores) for one in run.evals] == [
            one.split == "test" for one in run.evals
        ]
    assert {one.example_scores is None for one in undisturbed.summary.trials} == {True, False}
    (pair,) = undisturbed.pairs
    assert (pair.tested_on, pair.examples) == ("seeds-and-examples", 500)


def test_trials_that_did_not_record_it_are_tested_over_seeds_alone(undisturbed, tmp_path):
    """As those of older versions; the comparison still reads, and says what it rests on."""
    copy = shutil.copytree(undisturbed.path, tmp_path / "older-compare-0000")
    for probes in copy.glob("trials/*/probes.jsonl"):
        lines = probes.read_text().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["kind"] != "correct"]
        assert len(kept) < len(lines) or not (probes.parent / "evals.jsonl").read_text()
        probes.write_text("".join(kept))
        (probes.parent / "checksums.bin").unlink()
    summary = read_comparison(ComparisonDirectory(copy), Paths(runs_dir=tmp_path))
    (pair,) = summary.pairs
    (known,) = undisturbed.pairs
    assert (pair.tested_on, pair.examples, pair.difference) == ("seeds", 0, known.difference)
    cautions = [one.code for one in summary.warnings]
    assert ("seeds-only" in cautions) == (pair.verdict != "tie")


def test_the_tuning_sets_the_target(undisturbed):
    summary = undisturbed.summary
    early = []
    for trial in summary.trials:
        run = undisturbed.run(trial)
        assert run.validations == ()  # a trial of so few steps ends before one is due
        (chosen,) = {cell.learning_rate for cell in summary.tuning
                     if cell.chosen and cell.arm == trial.arm}  # fmt: skip
        if trial.stage == "tuning" and trial.learning_rate == chosen:
            early.append(trial.val_score)  # there is one evaluation, at the end
    assert summary.target.origin == "tuning"
    assert summary.info.target_score == pytest.approx(min(early), abs=0.001)
    assert summary.info.target_score <= min(early)
    for trial in summary.trials:
        if trial.stage == "measuring":
            run = undisturbed.run(trial)
            reached = run.evals[0].score >= summary.info.target_score
            assert trial.measured["steps_to_target"] == (12 if reached else np.inf)


def test_all_arms_of_a_seed_begin_alike(undisturbed):
    first = {
        (trial.arm, trial.seed): undisturbed.run(trial).steps.loss[0]
        for trial in undisturbed.summary.trials
    }
    assert first["sgd", 1] == first["adam", 1]
    assert first["sgd", 2] == first["adam", 2] != first["sgd", 1]


def test_the_view_is_shown_everything(undisturbed, witness):
    assert [info.already_done for info in witness.infos] == [0]
    assert {trial.id for trial in witness.trials} == {one.id for one in undisturbed.summary.trials}
    assert len(witness.trials) == TRIALS
    assert witness.endings == [undisturbed.summary]
    last = witness.snapshots[-1]
    assert (last.trials_done, last.trials_total, last.running) == (TRIALS, TRIALS, ())
    assert last.seconds_left == 0
    for arm in last.arms:
        assert arm.stage == "done"
        assert [cell.status for cell in arm.grid] == ["finished"] * 3
        assert 0 < len(arm.losses) == len(arm.grad_norms) <= SERIES


def test_the_winners_command_trains_to_the_same_bits(undisturbed, runs, tmp_path):
    winner = undisturbed.ranking[0]
    words = shlex.split(undisturbed.summary.winner_command)
    assert words[:4] == ["gradcli", "train", "--runs-dir", str(runs / "undisturbed")]
    run = gradcli.train(*words[4:], runs_dir=tmp_path)
    trial = next(
        trial
        for trial in undisturbed.summary.trials
        if trial.arm == winner.name and trial.seed == winner.seeds[0]
    )
    ours, theirs = weights(undisturbed.run(trial)), weights(run)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert run.evals[-1].score == trial.test_score


def test_a_comparison_that_only_diverged_has_no_best_but_a_command_that_works(runs, gradcli):
    words = (*SMALL, "protocol.tune=false", "optimizer.lr=1e30", "--runs-dir", str(runs / "lost"))
    asked = ("--optimizers", "sgd,adam", "--seeds", "1", "--vary", "model.hidden=[4],[4,4]")
    lost = gradcli("compare-optimizers", *words, *asked, "-j", "1", "-q")
    assert lost.code == 4
    assert "failed  " in lost.out
    assert "result      none: every trial diverged." in lost.out
    assert not any(line.startswith("best") for line in lost.out.splitlines())
    assert "gradcli train" not in lost.out
    assert "did best" not in lost.out
    (command,) = (line for line in lost.out.splitlines() if "gradcli compare-optimizers" in line)
    again = shlex.split(command)[1:]
    assert again[again.index("--lrs") + 1] == "0.1,0.01,0.001"
    found = json.loads(gradcli(*again, "-j", "1", "--json", "-q").out)
    assert {arm["arm"] for arm in found["ranking"]} == {
        f"{optimizer} model.hidden={hidden}"
        for optimizer in ("sgd", "adam")
        for hidden in ("[4]", "[4,4]")
    }
    assert found["winner_command"].startswith("gradcli train")


def test_an_arm_without_a_score_is_not_the_best(undisturbed):
    plan = plan_from_json(undisturbed.directory.state)
    none = summarise_scores(np.array([]))
    first = undisturbed.summary.ranking[0]
    assert winner_command(plan, first).startswith("gradcli train")
    assert winner_command(plan, replace(first, test_score=none, val_score=none)) == ""


def test_the_same_call_again_runs_nothing(undisturbed, runs):
    before = traces(undisturbed.path)
    view = Witness()
    again = gradcli.compare(*SMALL, **ASKED, jobs=1, runs_dir=runs / "undisturbed", view=view)
    assert again.path == undisturbed.path
    assert table(again.summary) == table(undisturbed.summary)
    assert traces(undisturbed.path) == before
    assert "already finished; nothing was run" in view.notes[0]


def test_the_plan_is_read_back_as_it_was_written(undisturbed):
    state = undisturbed.directory.state
    plan = plan_from_json(state)
    assert plan.request_id == state["request"]
    assert json.loads(json.dumps(plan.as_json())) == {name: state[name] for name in plan.as_json()}


def test_shown_again_its_commands_have_the_paths_that_it_was_run_with(undisturbed, gradcli):
    shown = json.loads(gradcli("runs", "show", str(undisturbed.path), "--json").out)
    assert shown["winner_command"] == undisturbed.summary.winner_command


def test_it_is_one_entry_in_the_list_of_runs(undisturbed, runs, gradcli):
    place = ["--runs-dir", str(runs / "undisturbed")]
    (row,) = json.loads(gradcli("runs", "list", "--json", *place).out)["runs"]
    assert row["run"] == undisturbed.path.name
    assert row["status"] == "finished"
    shown = json.loads(gradcli("runs", "show", "latest", "--json", *place).out)
    assert shown["ranking"][0]["arm"] == undisturbed.ranking[0].name
    assert len(shown["trials"]) == TRIALS
    one = json.loads(gradcli("runs", "show", shown["trials"][0]["run"], "--json").out)
    assert one["val_accuracy"] == shown["trials"][0]["val_accuracy"]


def test_a_killed_worker_changes_nothing_with_one_job_or_more(undisturbed, runs):
    """One job at a time, and the first trial that is seen to run is killed."""

    class Killer(Witness):
        killed = None

        def progress(self, progress):
            super().progress(progress)
            if progress.running and self.killed is None:
                path = Path(self.infos[0].path, "trials", progress.running[0].id, "run.json")
                self.killed = json.loads(path.read_text())["pid"]
                os.kill(self.killed, signal.SIGKILL)

    view = Killer()
    comparison = gradcli.compare(*SMALL, **ASKED, jobs=1, runs_dir=runs / "worker", view=view)
    assert table(comparison.summary) == table(undisturbed.summary)
    assert len(view.trials) == TRIALS


def start(runs_dir, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "gradcli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRADCLI_RUNS": str(runs_dir)},
    )


def wait_for_trials(process, runs_dir, count):
    """Wait until this many trials are finished; return the comparison's directory."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for directory in Path(runs_dir).glob("*-compare-*"):
            if len(traces(directory)) >= count:
                return directory
        time.sleep(0.005)
    raise AssertionError(f"no {count} trials: {process.communicate()}")


def test_a_killed_comparison_continues_where_it_stopped(undisturbed, runs):
    process = start(runs / "killed", *WORDS, "-j", "2", "-q")
    directory = wait_for_trials(process, runs / "killed", 2)
    process.kill()
    process.communicate()
    before = traces(directory)
    view = Witness()
    rest = gradcli.compare(*SMALL, **ASKED, jobs=2, runs_dir=runs / "killed", view=view)
    assert rest.path == directory
    after = traces(directory)
    assert {trial: after[trial] for trial in before} == before
    assert view.infos[0].already_done >= 2
    assert len(view.trials) == TRIALS - view.infos[0].already_done
    assert table(rest.summary) == table(undisturbed.summary)


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(undisturbed, runs):
    process = start(runs / "interrupted", *WORDS, "-j", "1", "--json")
    directory = wait_for_trials(process, runs / "interrupted", 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    answer = json.loads(out)
    assert answer["status"] == "interrupted"
    before = traces(directory)
    assert len(before) >= 3
    words = shlex.split(answer["resume_command"])
    assert words == ["gradcli", "compare-optimizers", "--resume", str(directory)]
    rest = gradcli.compare(resume=directory, jobs=1, runs_dir=runs / "interrupted")
    assert {trial: traces(directory)[trial] for trial in before} == before
    assert table(rest.summary) == table(undisturbed.summary)


#: What a trial leaves behind while it runs, in this order.
TRACES_OF_A_TRIAL = ("lock", "config.yaml", "run.json", "layers.json", "steps.bin", "last.pt")


class InterruptAtMoments(QuietCompareView):
    """Sends Ctrl-C to this process when a new file of the given name appears in a trial.

    A thread watches the directory, from before the first trial begins: the interrupt falls into
    whatever the comparison is doing then.
    """

    def __init__(self, name):
        self._name = name
        self._over = threading.Event()
        self._thread = None
        self.path = None

    def start(self, info):
        self.path = Path(info.path)
        self._thread = threading.Thread(target=self._watch, args=(self._files(),))
        self._thread.start()

    def close(self):
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _files(self):
        return set(self.path.glob(f"trials/**/{self._name}"))

    def _watch(self, before):
        while not self._over.wait(0.002):
            if self._files() - before:
                os.kill(os.getpid(), signal.SIGINT)
                return


def test_interrupted_at_random_moments_it_ends_as_if_it_had_not_been(undisturbed, runs):
    """The moments are those at which a trial's files appear, so that no round is without one."""
    place = runs / "moments"
    moments = random.Random(3).sample(TRACES_OF_A_TRIAL, 4)
    interrupted = []
    for moment in moments:
        view = InterruptAtMoments(moment)
        try:
            gradcli.compare(*SMALL, **ASKED, jobs=1, runs_dir=place, view=view)
        except KeyboardInterrupt:
            interrupted.append(moment)
        status = ComparisonDirectory(view.path).status
        assert status == ("interrupted" if moment in interrupted else "finished")
    assert len(interrupted) >= len(moments) - 1
    rest = gradcli.compare(*SMALL, **ASKED, jobs=1, runs_dir=place)
    assert [path.name for path in place.iterdir()] == [rest.path.name]
    assert table(rest.summary) == table(undisturbed.summary)


def test_halving_stops_some_trials_and_changes_none(undisturbed, runs):
    comparison = gradcli.compare(
        *SMALL, "protocol.halving=true", **ASKED, jobs=1, runs_dir=runs / "halving"
    )
    halving = comparison.summary.halving
    assert (halving.stopped, halving.trials) == (4, 6)  # of 3 learning rates, 2 and then 1 go on
    assert halving.steps_spent == 2 * (3 + 6)
    assert halving.steps_spent + halving.steps_saved == 4 * 12
    known = {trial.id: trial for trial in undisturbed.summary.trials}
    finished = [trial for trial in comparison.summary.trials if trial.status == "finished"]
    for trial in finished:
        if trial.id in known:
            assert trial.val_score == known[trial.id].val_score
            ours = weights(comparison.run(trial))
            whole = weights(undisturbed.run(known[trial.id]))
            assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert any(trial.id in known and trial.stage == "tuning" for trial in finished)


def test_equal_arms_tie_and_a_crippled_one_loses(runs):
    comparison = gradcli.compare(
        "data=mnist5k",
        "model.hidden=[16]",
        "max_steps=40",
        "protocol.tune=false",
        optimizers=["adam", "adam"],
        vary=["optimizer.lr=0.005,1e-6"],
        seeds=3,
        jobs=1,
        runs_dir=runs / "equal",
    )
    good, crippled = "adam optimizer.lr=0.005", "adam optimizer.lr=1e-06"
    verdicts = {frozenset((pair.a, pair.b)): pair for pair in comparison.pairs}
    for name in (good, crippled):
        pair = verdicts[frozenset((name, f"{name}#2"))]
        assert (pair.verdict, pair.difference, pair.p_adjusted) == ("tie", 0.0, 1.0)
    lost = verdicts[frozenset((good, crippled))]
    assert (lost.a, lost.verdict) == (good, "a")
    assert len({trial.id for trial in comparison.summary.trials}) == 6  # of 12: equal ones are one
    by_name = {arm.name: arm for arm in comparison.ranking}
    assert by_name[good].test_score == by_name[f"{good}#2"].test_score
    assert by_name[good].selection is None
    assert comparison.summary.tuning == ()


CRASHES = """
import os, torch

class Crashes(torch.optim.SGD):
    def step(self, closure=None):
        os._exit(7)

class Refuses(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("no")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Optimizers of the user's own: one ends its process, the other cannot work in a loop."""
    (tmp_path / "mine.py").write_text(CRASHES)
    (tmp_path / "configs" / "optimizer").mkdir(parents=True)
    for name in ("Crashes", "Refuses"):
        path = tmp_path / "configs" / "optimizer" / f"{name.lower()}.yaml"
        path.write_text(f"_target_: mine.{name}\nlr: 0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return {"config_dir": tmp_path / "configs", "allow_import": ["mine"]}


def test_what_crashes_each_time_has_failed_and_harms_no_other(own, runs, undisturbed):
    view = Witness()
    comparison = gradcli.compare(
        *SMALL,
        "protocol.tune=false",
        optimizers=["sgd", "crashes"],
        seeds=1,
        jobs=1,
        runs_dir=runs / "crashes",
        view=view,
        **own,
    )
    summary = comparison.summary
    assert summary.status == "failed"
    assert summary.failed == 1
    sgd, crashes = comparison.ranking
    assert (sgd.test_score.count, sgd.missing) == (1, 0)
    assert (crashes.test_score.count, crashes.missing) == (0, 1)
    (failed,) = [trial for trial in summary.trials if trial.status == "failed"]
    assert "ended with 7" in failed.error
    assert sum(note.startswith("retrying crashes") for note in view.notes) == 4
    assert summary.resume_command.endswith(str(comparison.path))
    read_again = TrialStore(comparison.directory, comparison.directory.state["problems"])
    assert [arm.missing for arm in read_again.summarise("failed", 0.0).ranking] == [0, 1]


def test_what_cannot_be_trained_is_the_users_mistake(own, runs):
    with pytest.raises(UserError, match="refuses cannot be trained"):
        gradcli.compare(
            *SMALL,
            "protocol.tune=false",
            optimizers=["refuses"],
            jobs=1,
            runs_dir=runs / "refuses",
            **own,
        )
