"""What a folder of runs holds, looked at time and again."""

import shutil

import pytest

from gradcli.runs import Labels, RunWriter, list_rows, write_labels
from gradcli.runs.watching import folder_watch
from gradcli.runs.watching.folder_watch import FolderWatch
from gradcli.runs.watching.looking import look_at


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


def rows(watch):
    return [facts.row for facts in watch.known]


def test_it_says_what_the_list_of_runs_says(folder, make_run, make_comparison):
    make_run("20260101T000000Z-a-1111", progress={"epochs": 3})
    make_run("20260102T000000Z-b-2222", status="running")
    make_comparison("20260103T000000Z-c-3333")
    (folder / "of-another-kind").mkdir()
    watch = FolderWatch(folder)
    assert watch.look()
    assert repr(rows(watch)) == repr(list_rows(folder)[0])  # NaN is no score of either
    assert [row.status for row in rows(watch)] == ["lost", "lost", "finished"]
    assert not watch.look()


def test_it_sees_what_comes_changes_and_goes(folder, make_run):
    watch = FolderWatch(folder)
    assert not watch.look()  # there is no such folder yet
    one = make_run("20260101T000000Z-a-1111")
    assert watch.look()
    two = make_run("20260102T000000Z-b-2222")
    assert watch.look()
    assert [row.run for row in rows(watch)] == [two.name, one.name]
    write_labels(one, Labels(("kept",), ""))
    assert watch.look()
    assert rows(watch)[1].tags == ("kept",)
    shutil.rmtree(two)
    assert watch.look()
    assert [row.run for row in rows(watch)] == [one.name]


def test_it_sees_that_a_run_is_at_work_ends_and_is_lost(folder, run_info):
    path = folder / "20260101T000000Z-a-1111"
    path.mkdir(parents=True)
    writer = RunWriter(path, "", {})
    writer.begin(run_info, {})
    watch = FolderWatch(folder)
    watch.look()
    assert [row.status for row in rows(watch)] == ["running"]
    writer.close()  # without a word on how it ended
    assert watch.look()
    assert [row.status for row in rows(watch)] == ["lost"]
    assert not watch.look()
    writer = RunWriter(path, "", {}, look_at(path).state)
    writer.begin(run_info, {})
    watch.look([path.name])
    assert [row.status for row in rows(watch)] == ["running"]
    writer.set_status("finished")
    writer.close()
    watch.look()
    assert [row.status for row in rows(watch)] == ["finished"]


def test_what_cannot_be_read_is_said_until_it_can_be(folder, make_run):
    path = make_run("20260101T000000Z-a-1111")
    whole = (path / "run.json").read_bytes()
    watch = FolderWatch(folder)
    watch.look()
    (path / "run.json").write_bytes(b"{")
    assert watch.look([path.name])
    assert rows(watch) == []
    assert "run.json" in watch.refused[path.name].problem
    assert not watch.look([path.name])
    (path / "run.json").write_bytes(whole)
    assert watch.look([path.name])
    assert len(rows(watch)) == 1
    assert watch.refused == {}


def test_of_many_it_looks_at_few_each_time_and_at_all_in_turn(folder, make_run, monkeypatch):
    for number in range(50):
        make_run(f"20260101T0000{number:02}Z-a-1111")
    watch = FolderWatch(folder)
    watch.look()
    looked = []
    usual = FolderWatch._look_at
    monkeypatch.setattr(
        FolderWatch, "_look_at", lambda self, name: looked.append(name) or usual(self, name)
    )
    names = [row.run for row in rows(watch)]
    watch.look(names[:3])
    assert len(looked) <= 3 + folder_watch._IN_TURN
    for _ in range(3):
        watch.look(names[:3])
    assert set(looked) == set(names)
