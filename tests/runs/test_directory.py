"""What directories of runs and comparisons have in common."""

import pytest

from gradcli.errors import DamagedFileError, UserError
from gradcli.runs import load_run
from gradcli.runs.directory import claim, newest_first
from gradcli.system.locks import is_locked

NAME = "20260101T000000Z-one-aaaa"


def test_the_paths_are_those_recorded_and_where_the_run_is(make_run):
    plain = load_run(make_run(NAME)).paths
    assert plain.runs_dir.name == "runs"
    assert (plain.data_dir, plain.config_dir, plain.allow_import) == (None, None, ())
    recorded = {"data_dir": "/d", "config_dir": "/c", "allow_import": ["lab"]}
    paths = load_run(make_run("other", **recorded)).paths
    assert (str(paths.data_dir), str(paths.config_dir)) == ("/d", "/c")
    assert paths.allow_import == ("lab",)


def test_the_runs_directory_of_a_trial_is_that_of_its_comparison(make_run):
    trial = make_run(f"{NAME}/trials/abc")
    assert load_run(trial).paths.runs_dir == trial.parents[2]


def test_a_status_is_lost_only_if_it_says_running_and_nobody_is(make_run):
    folder = make_run(NAME, "running")
    assert load_run(folder).status == "lost"
    with claim(folder, ()):
        assert load_run(folder).status == "running"
    finished = make_run("other", "finished")
    assert load_run(finished).status == "finished"


def test_claiming_sweeps_what_was_left_of_these_files(make_run):
    folder = make_run(NAME)
    left = [folder / ".run.json.abcd1234", folder / "checkpoints" / ".last.pt.abcd1234"]
    kept = folder / ".other.abcd1234"
    for path in (*left, kept):
        path.write_text("")
    claim(folder, ("run.json", "checkpoints/last.pt")).release()
    assert not any(path.exists() for path in left)
    assert kept.exists()


def test_a_folder_in_the_place_of_a_file_is_refused_and_the_lock_is_free_again(make_run):
    folder = make_run(NAME)
    (folder / "steps.bin").mkdir()
    with pytest.raises(DamagedFileError, match=r"steps\.bin is not a file"):
        claim(folder, ("run.json", "steps.bin"))
    assert not is_locked(folder)


def test_something_else_in_the_place_of_the_lock_is_refused(make_run):
    folder = make_run(NAME)
    (folder / "lock").unlink()
    (folder / "lock").mkdir()
    with pytest.raises(DamagedFileError, match="lock is not a file"):
        claim(folder, ())


def test_it_is_readable_if_its_state_file_is_whole(make_run):
    folder = make_run(NAME)
    assert load_run(folder).is_readable
    run = load_run(folder)
    (folder / "run.json").write_text("[]")
    assert run.is_readable  # it was read already
    assert not type(run)(folder).is_readable


def test_a_folder_is_listed_by_name_the_newest_first(tmp_path, monkeypatch):
    for name in ("2026b", "2026a", "2026c"):
        (tmp_path / "in" / name).mkdir(parents=True)
    assert [path.name for path in newest_first(tmp_path / "in")] == ["2026c", "2026b", "2026a"]
    assert newest_first(tmp_path / "nowhere") == []
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in newest_first(type(tmp_path)("in"))] == ["2026c", "2026b", "2026a"]


def test_a_relative_folder_of_a_working_directory_that_is_gone_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        newest_first(type(tmp_path)("runs"))
    assert newest_first(tmp_path / "nowhere") == []


def test_a_process_at_work_is_named(make_run):
    folder = make_run(NAME)
    with claim(folder, ()), pytest.raises(UserError, match="Another process is working in"):
        claim(folder, ())
