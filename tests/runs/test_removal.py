"""Removing runs: all of one, nothing else, never under a process's hands."""

import io
import os
import re
from dataclasses import asdict

import pytest

from gradcli.errors import OperatingSystemError, UserError
from gradcli.records import DataInfo
from gradcli.runs import (
    Run,
    RunWriter,
    begin_comparison,
    create_run_directory,
    list_any,
    load_run,
    removal,
)
from gradcli.system.locks import RunLock

DATA = asdict(DataInfo("mnist5k", 4000, 500, 500, "abc", (1, 28, 28), 10))
COMPARISON = {"info": {"arms": [], "data": DATA, "model": "mlp", "epochs": 1}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def make_run(home, name):
    writer = RunWriter(create_run_directory(home, name), "seed: 0\n", {"argv": []})
    (writer.directory / "plots").mkdir()
    (writer.directory / "plots" / "loss.png").write_bytes(bytes(1000))
    writer.set_status("finished")
    writer.close()
    return writer.directory


def make_comparison(home):
    path = create_run_directory(home, "compare")
    begin_comparison(path, COMPARISON).update(status="finished")
    trial = path / "trials" / "abc"
    trial.mkdir(parents=True)
    RunWriter(trial, "seed: 0\n", {"argv": []}).close()
    return path


def names(home):
    return sorted(one.name for one in list_any(home))


def test_a_run_goes_and_others_stay(home, gradcli):
    one, other, comparison = make_run(home, "one"), make_run(home, "other"), make_comparison(home)
    answer = gradcli("runs", "rm", one.name, str(one), "--yes")  # the same one twice
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("removed") == 1
    assert not one.exists()
    assert names(home) == sorted([other.name, comparison.name])
    assert gradcli("runs", "rm", comparison.name, other.name, "-y").code == 0
    assert list(home.iterdir()) == []


def test_without_a_terminal_it_is_an_error_and_nothing_is_removed(home, gradcli):
    run = make_run(home, "one")
    answer = gradcli("runs", "rm", "latest")
    assert (answer.code, answer.out) == (2, "")
    assert "stdin is not a terminal" in answer.err
    assert f"try: gradcli runs rm --yes {run}" in answer.err
    assert run.exists()


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 0), ("\n", 0), ("", 130)])
def test_it_asks_first(home, gradcli, monkeypatch, typed, code):
    run = make_run(home, "one")
    terminal = io.StringIO(typed)
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    answer = gradcli("runs", "rm", "one")
    assert answer.code == code
    assert re.search(rf"{re.escape(str(run))}  finished, [1-9] kB", answer.err.replace("\n", ""))
    assert run.exists() == (typed != "y")
    assert ("removed" in answer.out) == (typed == "y")


def test_one_that_is_not_there_keeps_the_others(home, gradcli):
    run = make_run(home, "one")
    assert gradcli("runs", "rm", run.name, "nope", "--yes").code == 2
    assert run.exists()


@pytest.mark.parametrize("at_work", ["", "trials/abc"])
def test_what_is_at_work_stays(home, at_work):
    path = make_comparison(home)
    lock = RunLock(path / at_work)
    (found,) = list_any(home)
    with pytest.raises(UserError, match="A process is working"):
        removal.remove(found)
    assert (path / "trials" / "abc" / "run.json").exists()
    lock.release()
    removal.remove(found)
    assert not path.exists()


@pytest.mark.parametrize("entries", range(4))
def test_an_interrupted_removal_can_be_made_again(home, monkeypatch, entries):
    run = make_run(home, "one")
    gone = []

    def interrupted(path, delete=removal._delete):
        if len(gone) == entries:
            raise KeyboardInterrupt
        gone.append(path.name)
        delete(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(removal, "_delete", interrupted)
        removal.remove(list_any(home)[0])
    assert len(gone) == entries and names(home) == [run.name]
    assert (run / "lock").exists()
    removal.remove(list_any(home)[0])
    assert not run.exists()


def test_what_makes_a_run_goes_after_all_else_and_then_its_lock(home, monkeypatch):
    run = make_run(home, "one")
    gone, delete = [], removal._delete

    def noted(path):
        gone.append((path.name, (run / "lock").exists()))
        delete(path)

    monkeypatch.setattr(removal, "_delete", noted)
    removal.remove(list_any(home)[0])
    assert len(gone) > 3 and gone[-1] == ("run.json", True)
    assert not run.exists()


@pytest.mark.parametrize("command", ["rm", "show", "diff"])
def test_an_empty_name_is_refused(home, gradcli, monkeypatch, command):
    run = make_run(home, "one")
    monkeypatch.chdir(run)
    answer = gradcli("runs", command, "")
    assert answer.code == 2
    assert "The run name is empty" in answer.message
    assert (run / "run.json").exists()


def test_with_yes_only_full_names_are_removed(home, gradcli):
    run = make_run(home, "one")
    answer = gradcli("runs", "rm", "one", "--yes")
    assert (answer.code, answer.out) == (2, "")
    assert run.name in answer.err and run.exists()
    assert gradcli("runs", "rm", "latest", "--yes").code == 0
    assert not run.exists()


def test_a_trial_of_a_comparison_at_work_stays(home):
    path = make_comparison(home)
    trial = load_run(path / "trials" / "abc")
    with RunLock(path), pytest.raises(UserError, match="A process is working"):
        removal.remove(trial)
    removal.remove(trial)
    assert path.exists() and not trial.path.exists()


def test_a_trial_goes_with_its_comparison(home, gradcli):
    path = make_comparison(home)
    answer = gradcli("runs", "rm", str(path / "trials" / "abc"), str(path), "--yes")
    assert (answer.code, answer.err) == (0, "")
    assert not path.exists()


def test_links_are_removed_and_not_what_they_lead_to(home, tmp_path):
    run = make_run(home, "one")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    (run / "link").symlink_to(tmp_path / "kept")
    removal.remove(list_any(home)[0])
    assert (tmp_path / "kept" / "file").read_text() == "mine"


def test_the_size_is_that_of_the_files(home):
    run = make_run(home, "one")
    files = [path for path in run.rglob("*") if path.is_file()]
    assert (
        removal.size_bytes(list_any(home)[0])
        == sum(len(path.read_bytes()) for path in files)
        > 1000
    )


def test_a_link_to_a_run_goes_even_while_the_run_is_at_work(home, tmp_path):
    run = make_run(home, "one")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(run)
    found = Run(link)
    assert removal.size_bytes(found) == 0
    assert removal.own_path(found) == link
    with RunLock(run):
        removal.refuse_if_at_work(found)
        removal.remove(found)
    assert not link.is_symlink()
    assert (run / "run.json").exists()


def test_only_a_trial_waits_for_the_process_of_its_comparison(home):
    """A run in the runs directory does not, even if a process holds the lock of that."""
    run = make_run(home, "one")
    with RunLock(home):
        removal.remove(load_run(run))
    assert not run.exists()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_lock_that_is_no_file_does_not_lead_elsewhere(home, tmp_path, kind):
    run = make_run(home, "one")
    (run / "lock").unlink()
    if kind == "link":
        (run / "lock").symlink_to(tmp_path / "made")
    else:
        os.mkfifo(run / "lock")
    removal.remove(load_run(run))
    assert not run.exists()
    assert not (tmp_path / "made").exists()


def test_what_the_system_refuses_is_named(home, monkeypatch):
    run = make_run(home, "one")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(removal, "_delete", refuse)
    with pytest.raises(
        OperatingSystemError, match=r"cannot be deleted: Permission denied\."
    ) as error:
        removal.remove(load_run(run))
    assert error.value.problem.startswith(str(run) + "/")
    assert error.value.where == str(run)
