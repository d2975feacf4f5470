"""Pruning: what is removed is what was announced, and nothing that is at work or still needed."""

import io
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import gradcli as package
from gradcli.errors import UserError
from gradcli.runs import (
    Pruning,
    Run,
    age_seconds,
    conditions,
    list_any,
    load_run,
    plan_pruning,
    prune,
)
from gradcli.runs.checkpoints import save_checkpoint
from gradcli.system.locks import RunLock

DAY = 86_400


@pytest.fixture
def runs_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def contents(folder):
    """Every file below a folder, with its size."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in Path(folder).rglob("*")
        if not path.is_dir()
    }


def with_checkpoints(folder, *names, size=1000):
    """Give a run checkpoints of these names."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in names:
        save_checkpoint(folder, name, {"log_bytes": {}, "filling": "x" * size})
    return folder


def dated(folder, days):
    """Let a run have recorded its last so many days ago."""
    files = [folder / name for name in ("run.json", "comparison.json")]
    path = next(path for path in files if path.exists())
    last = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    path.write_text(json.dumps({**json.loads(path.read_text()), "heartbeat": last}))
    return folder


@pytest.fixture
def a_comparison(make_comparison, make_run):
    """Return a function that makes a comparison with trials that have checkpoints."""

    def make(name, status, trials=("finished", "diverged", "interrupted")):
        comparison = make_comparison(name)
        comparison.update(status=status)
        comparison.lock().release()
        for state in trials:
            run = make_run(f"{name}-{state}", state)
            place = comparison.path / "trials" / state
            place.parent.mkdir(exist_ok=True)
            with_checkpoints(run.rename(place), "last.pt", "previous.pt")
        return comparison.path

    return make


def planned(runs_dir, **asked):
    return plan_pruning(runs_dir, Pruning(**asked))


def names(plan):
    return {one.row.run for one in plan.chosen}


# What is chosen


@pytest.mark.parametrize(
    ("text", "seconds"), [("12h", 12 * 3600), ("30d", 30 * DAY), ("8w", 56 * DAY), ("0d", 0)]
)
def test_an_age(text, seconds):
    assert age_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "30m", "d", "-3d", "1.5d", "3 d", "30days", "٣d"])
def test_what_is_no_age_is_refused_with_one(text):
    with pytest.raises(UserError, match="is no age") as error:
        age_seconds(text)
    assert age_seconds(error.value.hint.partition(" ")[2]) > 0


def test_the_age_counts_from_what_was_recorded_last(runs_dir, make_run, a_comparison):
    dated(make_run("old"), 31)
    dated(make_run("young"), 29)
    for trial in dated(a_comparison("ancient", "finished"), 400).glob("trials/*"):
        dated(trial, 399)
    dated(a_comparison("with-young-trials", "running"), 400)
    assert names(planned(runs_dir, older_than=30 * DAY)) == {"old", "ancient"}
    assert names(planned(runs_dir, older_than=10**30)) == set()


def test_all_that_is_given_must_hold(runs_dir, make_run):
    for name, status, days in (("a", "running", 40), ("b", "running", 1), ("c", "finished", 40)):
        dated(make_run(name, status), days)
    assert names(planned(runs_dir, lost=True)) == {"a", "b"}
    assert names(planned(runs_dir, lost=True, older_than=30 * DAY)) == {"a"}
    assert names(planned(runs_dir, where=conditions(["status=finished"]))) == {"c"}
    assert names(planned(runs_dir, where=conditions(["status=finished"]), lost=True)) == set()


def test_the_checkpoints_of_what_may_go_on_stay(runs_dir, make_run, a_comparison):
    for status in ("finished", "diverged", "interrupted", "running", "failed"):
        with_checkpoints(make_run(status, status), "last.pt", "best.pt", "fault.pt")
    make_run("without")
    for status in ("finished", "failed", "interrupted", "running"):
        a_comparison(f"comparison-{status}", status)
    before = contents(runs_dir)
    plan = planned(runs_dir, checkpoints=True)
    assert names(plan) == {"finished", "diverged", "comparison-finished", "comparison-failed"}
    assert set(plan.resumable) == {
        *("interrupted", "running", "failed"),
        *("comparison-interrupted", "comparison-running"),
    }
    assert all(map(prune, plan.chosen))
    gone = before.keys() - contents(runs_dir).keys()
    of_trials = [f"comparison-finished/trials/{one}" for one in ("finished", "diverged")]
    of_trials += [f"comparison-failed/trials/{one}" for one in ("finished", "diverged")]
    of_trials += ["comparison-finished/trials/interrupted"]  # halving has stopped it
    assert gone == {
        *(f"{run}/checkpoints/last.pt" for run in ("finished", "diverged", *of_trials)),
        *(f"{run}/checkpoints/best.pt" for run in ("finished", "diverged")),
        *(f"{run}/checkpoints/previous.pt" for run in of_trials),
    }
    assert plan.summary().size_bytes == sum(before[path] for path in gone)
    assert planned(runs_dir, checkpoints=True).chosen == ()


# What is removed


@pytest.mark.parametrize("checkpoints", [True, False])
def test_what_goes_is_what_was_announced(runs_dir, make_run, a_comparison, checkpoints):
    with_checkpoints(dated(make_run("one"), 50), "last.pt", size=5000)
    with_checkpoints(dated(make_run("young"), 1), "last.pt")
    for trial in dated(a_comparison("compared", "finished"), 50).glob("trials/*"):
        dated(trial, 50)
    before = contents(runs_dir)
    plan = planned(runs_dir, older_than=30 * DAY, checkpoints=checkpoints)
    assert contents(runs_dir).keys() - before.keys() <= {
        f"{one}/lock" for one in ("one", "young", "compared")
    }
    assert names(plan) == {"one", "compared"}
    for one in plan.chosen:
        now = contents(runs_dir)
        assert prune(one)
        gone = now.keys() - contents(runs_dir).keys()
        assert {Path(path).parts[0] for path in gone} == {one.row.run}
        assert sum(now[path] for path in gone) == one.size_bytes
        assert (runs_dir / one.row.run).exists() is checkpoints
    assert (runs_dir / "young" / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("place", ["one", "compared", "compared/trials/finished"])
def test_nothing_at_work_is_chosen_or_removed(runs_dir, make_run, a_comparison, place, checkpoints):
    with_checkpoints(make_run("one"), "last.pt")
    a_comparison("compared", "finished")
    announced = planned(runs_dir, older_than=-1, checkpoints=checkpoints)
    assert names(announced) == {"one", "compared"}
    lock = RunLock(runs_dir / place)  # begun after it was announced
    before = contents(runs_dir)
    at_work = Path(place).parts[0]
    assert planned(runs_dir, older_than=-1, checkpoints=checkpoints).at_work == (at_work,)
    outcome = {one.row.run: prune(one) for one in announced.chosen}
    assert outcome == {one: one != at_work for one in ("one", "compared")}
    assert {path: size for path, size in before.items() if path.startswith(at_work)} == {
        path: size for path, size in contents(runs_dir).items() if path.startswith(at_work)
    }
    lock.release()


@pytest.mark.parametrize("checkpoints", [True, False])
def test_what_has_changed_since_it_was_announced_stays(runs_dir, make_run, checkpoints):
    run = with_checkpoints(make_run("one"), "last.pt")
    (announced,) = planned(runs_dir, older_than=-1, checkpoints=checkpoints).chosen
    with_checkpoints(run, "best.pt")
    before = contents(run)
    assert prune(announced) is False
    assert contents(run) == before
    assert announced.as_row(removed=False).outcome == "left"


def test_links_lead_to_nothing_that_is_removed(runs_dir, make_run, tmp_path):
    elsewhere = with_checkpoints(make_run("one"), "last.pt").rename(tmp_path / "elsewhere")
    (runs_dir / "link").symlink_to(elsewhere)
    inner = make_run("inner")
    shutil.rmtree(inner / "checkpoints")
    (inner / "checkpoints").symlink_to(elsewhere / "checkpoints")
    before = contents(elsewhere)
    plan = planned(runs_dir, checkpoints=True)
    assert plan.chosen == ()
    assert [str(inner / "checkpoints") in error.problem for error in plan.refused] == [True]
    for one in planned(runs_dir, older_than=-1).chosen:
        prune(one)
    assert contents(elsewhere) == before
    assert (runs_dir / "link").is_symlink()


def test_an_interrupted_removal_leaves_the_last_checkpoint_or_none(runs_dir, make_run, monkeypatch):
    run = with_checkpoints(make_run("one"), "best.pt", "last.pt", "previous.pt")
    delete, deleted = Path.unlink, []

    def killed(path, missing_ok=False):
        if path.parent.name == "checkpoints":
            if len(deleted) == 2:
                raise KeyboardInterrupt
            deleted.append(path.name)
        delete(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed)
        prune(planned(runs_dir, checkpoints=True).chosen[0])
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.pt"]
    (again,) = planned(runs_dir, checkpoints=True).chosen
    assert prune(again)
    assert not (run / "checkpoints").exists()


def test_one_that_is_damaged_is_named_and_stays(runs_dir, make_run, gradcli):
    (make_run("broken") / "run.json").write_text("{")
    make_run("whole")
    answer = gradcli("runs", "prune", "--where", "status=finished", "--yes")
    assert answer.code == 0
    assert "broken" in answer.err
    assert [path.name for path in runs_dir.iterdir()] == ["broken"]


# The command


def test_the_table_of_a_comparison_is_the_same_afterwards(
    runs_dir, gradcli, trials_in_this_process
):
    small = ["data=mnist5k", "model.hidden=[8]", "batch_size=1000", "epochs=1"]
    package.compare(*small, optimizers=["sgd", "adam"], seeds=2, jobs=1, runs_dir=runs_dir)
    run = package.train(*small, runs_dir=runs_dir)

    def shown():
        comparison = gradcli("runs", "show", "compare", "--json")
        without = json.loads(comparison.out)
        kept = without.pop("kept_trial")
        lines = gradcli("runs", "show", "compare").out.splitlines()
        table = [line for line in lines if not line.startswith("weights")]
        return kept, without, table, gradcli("runs", "list").out

    kept, *before = shown()
    assert kept is not None
    answer = gradcli("runs", "prune", "--checkpoints", "--yes")
    assert answer.code == 0
    assert answer.out.count("removed the checkpoints of") == 2
    gone, *after = shown()
    assert gone is None
    assert after == before
    assert list(runs_dir.rglob("*.pt")) == []
    answer = gradcli("train", "--resume", str(run.path), "epochs=5")
    assert answer.code == 2
    assert "checkpoint" in answer.message


@pytest.fixture
def two(make_run):
    """A finished run with a checkpoint, and a lost one."""
    with_checkpoints(make_run("kept", "finished"), "last.pt")
    make_run("gone", "running")


def test_the_json_says_what_was_done(runs_dir, two, gradcli):
    size = sum(contents(runs_dir / "gone").values())
    dry = json.loads(gradcli("runs", "prune", "--lost", "--dry-run", "--json").out)
    assert (dry["size_bytes"], dry["freed_bytes"]) == (size, 0)
    assert [(one["run"], one["outcome"]) for one in dry["runs"]] == [("gone", "announced")]
    done = json.loads(gradcli("runs", "prune", "--lost", "--yes", "--json").out)
    assert (done["size_bytes"], done["freed_bytes"]) == (size, size)
    assert [(one["run"], one["outcome"]) for one in done["runs"]] == [("gone", "removed")]
    assert [found.name for found in list_any(runs_dir)] == ["kept"]


def test_a_dry_run_shows_and_removes_nothing(runs_dir, two, gradcli):
    before = contents(runs_dir)
    answer = gradcli("runs", "prune", "--lost", "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert "gone" in answer.out and "in all" in answer.out and "kept" not in answer.out
    assert contents(runs_dir) == before


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 0), ("\n", 0), ("", 130)])
def test_it_shows_what_it_frees_and_asks(runs_dir, two, gradcli, monkeypatch, typed, code):
    terminal = io.StringIO(typed)
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    answer = gradcli("runs", "prune", "--lost")
    assert answer.code == code
    assert answer.err.index("in all") < answer.err.index("Remove for good?")
    assert (runs_dir / "gone").exists() == (typed != "y")
    assert ("freed" in answer.out) == (typed == "y")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Nothing says what may be removed"),
        (("--older-than", "30"), "'30' is no age"),
        (("--lost", "--checkpoints"), "needs its checkpoint"),
        (("--where", "nope=1", "--yes"), "No run has a key 'nope'"),
        (("--where", "optimizer", "--yes"), "'optimizer' is no condition"),
        (("--lost",), "stdin is not a terminal"),
    ],
)
def test_a_mistake_is_one_panel_with_what_to_type(runs_dir, two, gradcli, words, said):
    before = contents(runs_dir)
    answer = gradcli("runs", "prune", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.message
    assert answer.err.count("try:") == 1
    assert contents(runs_dir) == before


def test_the_command_that_it_proposes_for_scripts_works(runs_dir, two, gradcli):
    answer = gradcli("runs", "prune", "--lost", "--where", "kind=run status=lost")
    command = answer.message.partition("try: ")[2]
    assert command == "gradcli runs prune --where 'kind=run status=lost' --lost --yes"
    assert gradcli("runs", "prune", "--where", "kind=run status=lost", "--lost", "--yes").code == 0
    assert [found.name for found in list_any(runs_dir)] == ["kept"]


def test_a_run_that_trains_is_left_alone(runs_dir, gradcli):
    words = ["data=mnist5k", "model.hidden=[8]", "epochs=1000", "checkpoint.seconds=0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradcli", "train", *words, "--quiet"],
        env={**os.environ, "GRADCLI_RUNS": str(runs_dir)},
    )
    try:
        while not list(runs_dir.glob("*/checkpoints/last.pt")):
            assert process.poll() is None
        for words in (("--checkpoints",), ("--older-than", "0h"), ("--where", "kind=run")):
            answer = gradcli("runs", "prune", *words, "--yes")
            assert answer.code == 0
            assert "nothing to remove" in answer.err
            assert "a process works on it" in answer.message
    finally:
        process.terminate()
        process.wait()
    (run,) = list_any(runs_dir)
    assert isinstance(run, Run) and load_run(run.path).has_checkpoint
