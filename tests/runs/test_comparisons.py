"""Directories of comparisons: their state, their trials and their row in the list."""

import json
import math

import pytest

from gradcli.errors import DamagedFileError, DamagedFileWarning, UserError
from gradcli.runs import ComparisonDirectory, RunWriter, list_comparisons, set_aside
from gradcli.system.locks import RunLock


@pytest.fixture
def comparison(make_comparison):
    return make_comparison("20260101T000000Z-compare-aaaa")


def make_trial(comparison, name):
    path = comparison.trial_path(name)
    path.mkdir(parents=True)
    RunWriter(path, "", {}).close()
    return path


def test_a_comparison_begins_with_its_plan(comparison):
    state = json.loads((comparison.path / "comparison.json").read_text())
    assert (state["schema"], state["status"]) == (2, "running")
    assert state == json.loads((comparison.path / "plan.json").read_text())


def test_what_is_added_is_on_the_disk_and_read_again(comparison):
    before = comparison.state
    comparison.update(status="finished", seconds=2.5)
    assert (comparison.status, comparison.state["seconds"]) == ("finished", 2.5)
    stored = json.loads((comparison.path / "comparison.json").read_text())
    assert stored["started"] == before["started"]
    assert stored["heartbeat"] >= before["started"]


def test_its_row_has_the_accuracy_of_the_best_arm(comparison):
    row = comparison.row()
    assert (row.run, row.name, row.data) == (comparison.name, "comparison", "mnist5k")
    assert (row.optimizer, row.epochs, row.findings) == ("sgd, adam", 3, ())
    assert math.isnan(row.test_score)
    best, other = ({"test_accuracy": {"mean": mean}} for mean in (0.97, 0.5))
    comparison.update(status="finished", result={"ranking": [best, other]})
    assert comparison.row().test_score == 0.97
    comparison.update(result={"ranking": []})
    assert math.isnan(comparison.row().test_score)


def test_its_status_is_lost_if_its_process_is_gone(comparison):
    assert comparison.status == "lost"
    with comparison.lock():
        assert comparison.status == "running"
        with pytest.raises(UserError, match="Another process is working in"):
            comparison.lock()
    comparison.update(status="interrupted")
    assert comparison.status == "interrupted"


def test_a_damaged_state_is_read_from_the_plan_with_a_warning(comparison):
    (comparison.path / "comparison.json").write_text("{")
    with pytest.warns(DamagedFileWarning, match=r"What it began with is read from plan\.json"):
        assert ComparisonDirectory(comparison.path).state["info"]["model"] == "mlp"
    (comparison.path / "plan.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"comparison\.json is not valid JSON"):
        _ = ComparisonDirectory(comparison.path).state
    assert not ComparisonDirectory(comparison.path).is_readable


def test_trials_are_those_that_have_begun_and_are_whole(comparison):
    assert comparison.trials() == [] == comparison.trial_paths()
    for name in ("two", "one", "torn"):
        make_trial(comparison, name)
    comparison.trial_path("empty").mkdir()
    (comparison.trial_path("torn") / "run.json").write_text("[]")
    assert [path.name for path in comparison.trial_paths()] == ["one", "torn", "two"]
    with pytest.warns(DamagedFileWarning, match="does not hold a JSON object"):
        assert [run.name for run in comparison.trials()] == ["one", "two"]
    assert comparison.trial("two").name == "two"
    assert comparison.trial("empty") is None
    with pytest.warns(DamagedFileWarning):
        assert comparison.trial("torn") is None


def test_a_damaged_trial_is_set_aside_under_a_name_that_is_free(comparison):
    places = []
    for _ in range(3):
        trial = make_trial(comparison, "one")
        places.append(set_aside(trial))
        assert not trial.exists()
        assert (places[-1] / "run.json").exists()
    assert places == [comparison.path / "damaged" / f"one-{number}" for number in (1, 2, 3)]


def test_a_trial_at_work_is_not_set_aside(comparison):
    trial = make_trial(comparison, "one")
    with RunLock(trial), pytest.raises(UserError, match="Another process"):
        set_aside(trial)
    assert trial.exists()


def test_pictures_have_a_folder_of_their_own(comparison):
    assert not (comparison.path / "plots").exists()
    for _ in range(2):
        assert comparison.plots == comparison.path / "plots"
        assert comparison.plots.is_dir()


def test_comparisons_are_listed_the_newest_first(make_comparison, make_run):
    names = ["20260101T000000Z-a-aaaa", "20260102T000000Z-b-bbbb"]
    for name in names:
        make_comparison(name)
    folder = make_run("20260103T000000Z-run-cccc").parent
    assert [one.name for one in list_comparisons(folder)] == names[::-1]
