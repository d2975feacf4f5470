"""A column of the comparison: one entry, which every table, line and export then has."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gradcli import compare
from gradcli.comparison import columns
from gradcli.comparison.columns import ReportedColumn, add_column
from gradcli.comparison.trial_store import TrialStore
from gradcli.errors import UserError
from gradcli.records import EvalRecord, StepRecords, ValidationRecord
from gradcli.runs import ComparisonDirectory
from gradcli.views.compare.comparison_closing import comparison_closing_screen
from gradcli.views.compare.trial_lines import ComparePlainView
from gradcli.views.json_output import comparison_json

SMALL = ("data=mnist5k", "model.hidden=[4]", "max_steps=4", "protocol.tune=false")


def largest_loss(readings):
    return np.nan if readings.steps is None else readings.steps.loss.max()


@pytest.fixture
def own_column():
    """A second user of the seam: the largest loss of a batch, the worst of the seeds."""
    shipped = columns.COLUMNS[:]
    add_column(
        ReportedColumn(
            key="largest_loss",
            of_trial=largest_loss,
            style="score",
            title="loss",
            above="largest",
            phrase="largest loss",
            of_arm=max,
        )
    )
    yield
    columns.COLUMNS[:] = shipped


def test_a_users_own_column_is_everywhere(own_column, runs_dir, trials_in_this_process, gradcli):
    stream = io.StringIO()
    comparison = compare(
        *SMALL,
        optimizers=["sgd", "adam"],
        seeds=2,
        runs_dir=runs_dir,
        view=ComparePlainView(stream),
    )
    summary = comparison.summary
    expected = {trial.id: float(comparison.run(trial).steps.loss.max()) for trial in summary.trials}
    result = json.loads(gradcli("runs", "show", "latest", "--json").out)
    assert result == json.loads(json.dumps(comparison_json(summary)))
    assert {trial["id"]: trial["largest_loss"] for trial in result["trials"]} == expected
    for arm in result["ranking"]:
        of_arm = [expected[one.id] for one in summary.trials if one.arm == arm["arm"]]
        assert arm["largest_loss"] == max(of_arm)

    file = io.StringIO()
    Console(file=file, width=200, force_terminal=True, color_system=None).print(
        comparison_closing_screen(summary)
    )
    above, title, *rows = file.getvalue().splitlines()[3:7]
    place = above.index("largest")
    assert title[place:].startswith("loss")
    shown = [row[place:].split()[0] for row in rows]
    assert shown == [f"{arm['largest_loss']:.4f}" for arm in result["ranking"]]
    for value in expected.values():
        assert f"largest loss {value:.4f}" in stream.getvalue()


@pytest.mark.parametrize("key", ["grad_norm", "seed", "lr", "arm", "test_accuracy", "rank"])
def test_a_key_that_is_taken_is_refused(own_column, key):
    with pytest.raises(UserError, match=key):
        add_column(ReportedColumn(key, largest_loss, "score"))


OWN = """
from gradcli.comparison.columns import ReportedColumn


def last_loss(readings):
    return float("nan") if readings.steps is None else readings.steps.loss[-1]


COLUMNS = [ReportedColumn("last_loss", last_loss, "score", title="loss", above="last")]
"""


def test_the_command_line_takes_them_from_a_package_that_is_allowed(
    own_column, runs_dir, trials_in_this_process, gradcli, tmp_path, monkeypatch
):
    (tmp_path / "column_lab.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, "--optimizers", "sgd,adam", "--seeds", "1", "--allow-import", "column_lab")
    try:
        compared = gradcli("compare-optimizers", *words, "--json")
        assert compared.code == 0, compared.err
        result = json.loads(compared.out)
        assert all(arm["last_loss"] > 0 for arm in result["ranking"])

        # Another process, another day: a stored comparison has it if the package is allowed again.
        columns.COLUMNS.pop()
        assert "last_loss" not in gradcli("runs", "show", "latest", "--json").out
        shown = gradcli("runs", "show", "latest", "--json", "--allow-import", "column_lab")
        assert json.loads(shown.out) == result
        exported = gradcli(
            *("runs", "export", "latest", "--what", "trials", "--allow-import", "column_lab")
        )
        assert "last_loss" in exported.out.splitlines()[0]
    finally:
        sys.modules.pop("column_lab", None)


def test_what_is_not_a_column_is_refused(own_column, gradcli, tmp_path, monkeypatch):
    (tmp_path / "column_lab.py").write_text("COLUMNS = ['last_loss']\n")
    monkeypatch.chdir(tmp_path)
    try:
        answer = gradcli("runs", "show", "--allow-import", "column_lab")
    finally:
        sys.modules.pop("column_lab", None)
    assert answer.code == 2
    assert "column_lab.COLUMNS holds 'last_loss'" in answer.message


def test_a_column_without_a_heading_is_only_exported():
    hidden = [column.key for column in columns.COLUMNS if not column.title]
    assert hidden == ["steps_per_second"]


def test_what_was_not_measured_is_nan():
    readings = columns.TrialReadings(None, (), {}, 0.97)
    found = columns.measured_of_trial(readings)
    assert list(found) == [column.key for column in columns.COLUMNS]
    timed = {"steps_to_target", "seconds_to_target"}
    assert all(np.isinf(value) if key in timed else np.isnan(value) for key, value in found.items())


# The shipped columns


def evaluation(step, split, accuracy, train_loss=np.nan, seconds_train=0.0):
    return EvalRecord(step, 1, split, 0.1, accuracy, train_loss, 9.0, seconds_train)


def steps(norms, coefficients):
    count = len(norms)
    return StepRecords(
        step=np.arange(1, count + 1),
        epoch=np.ones(count, dtype=int),
        loss=np.ones(count),
        learning_rate=np.ones(count),
        grad_norm_before_clip=np.asarray(norms, dtype=np.float32),
        clip_coefficient=np.asarray(coefficients, dtype=np.float32),
        parameter_grad_norm_before_clip=np.ones((count, 1)),
        parameter_grad_norm_after_clip=np.ones((count, 1)),
    )


def measured(*, records=None, evals=(), state=None, validations=()):
    readings = columns.TrialReadings(records, evals, state or {}, 0.9, validations=validations)
    return columns.measured_of_trial(readings)


def test_the_training_loss_is_the_last_one_known():
    evals = [
        evaluation(10, "val", 0.5, train_loss=0.7),
        evaluation(20, "val", 0.5, train_loss=0.6),
        evaluation(20, "test", 0.5),
    ]
    assert measured(evals=evals)["train_loss"] == 0.6


def test_the_target_is_one_of_validation():
    validations = [
        ValidationRecord(10, 500, 0.8, 1.0),
        ValidationRecord(20, 500, 0.9, 2.0),
        ValidationRecord(30, 500, 0.95, 3.0),
    ]
    evals = [evaluation(5, "test", 0.99, seconds_train=0.5)]
    found = measured(evals=evals, validations=validations)
    assert (found["steps_to_target"], found["seconds_to_target"]) == (20, 2.0)
    # What has diverged is no success, whatever it scored on the way.
    found = measured(evals=evals, validations=validations, state={"status": "diverged"})
    assert (found["steps_to_target"], found["seconds_to_target"]) == (np.inf, np.inf)


def test_the_norm_is_the_mean_over_steps_and_a_clipped_step_has_a_coefficient_below_one():
    found = measured(records=steps([1, 2, 6], [1.0, 0.5, 1.0]))
    assert (found["grad_norm"], found["clipped_fraction"]) == (3.0, pytest.approx(1 / 3))
    nothing = measured(records=steps([], []))
    assert np.isnan([nothing["grad_norm"], nothing["clipped_fraction"]]).all()


@pytest.mark.parametrize(
    ("state", "speed"),
    [
        ({"progress": {"steps": 30}, "seconds_train": 2.0}, 15.0),
        ({"progress": {}, "seconds_train": 2.0}, 0.0),
        ({"seconds_train": 2.0}, 0.0),
        ({"progress": {"steps": 30}, "seconds_train": 0.0}, np.nan),
        ({"progress": {"steps": 30}, "seconds_train": "nan"}, np.nan),
    ],
)
def test_the_speed_is_that_of_the_training_steps(state, speed):
    assert measured(state=state)["steps_per_second"] == pytest.approx(speed, nan_ok=True)


def test_an_arms_numbers_are_those_of_the_trials_that_count(make_result):
    def of(status, value):
        return make_result(
            status=status, measured=dict.fromkeys((one.key for one in columns.COLUMNS), value)
        )

    trials = [of("finished", 1.0), of("finished", 4.0), of("diverged", np.inf), of("failed", 90.0)]
    found = columns.measured_of_arm(trials)
    medians = {"steps_to_target", "seconds_to_target"}
    assert found == {key: 4.0 if key in medians else 2.5 for key in found}
    assert np.isnan(columns.measured_of_arm([])["grad_norm"])


def test_adding_a_column_again_changes_nothing(own_column):
    before = columns.COLUMNS[:]
    add_column(before[-1])
    assert before == columns.COLUMNS


def test_the_narrower_the_terminal_the_fewer_columns():
    shown = sorted((one for one in columns.COLUMNS if one.title), key=lambda one: one.rank)
    assert [one.key for one in shown] == [
        "steps_to_target", "grad_norm", "seconds_to_target", "train_loss", "clipped_fraction",
    ]  # fmt: skip
    ranks = [one.rank for one in shown]
    assert len(set(ranks)) == len(ranks)
    assert max(ranks) < ReportedColumn("own", largest_loss, "score").rank


# Exports


def stored_comparison(tmp_path):
    source = next((Path(__file__).parents[1] / "fixtures" / "schema-1").glob("*-comparison-*"))
    shutil.copytree(source, tmp_path / "compared")
    directory = ComparisonDirectory(tmp_path / "compared")
    return TrialStore(directory).summarise("finished", 1.0), directory


def test_a_table_of_trials_has_what_identifies_each_and_its_results(tmp_path):
    summary, _ = stored_comparison(tmp_path)
    table = columns.trials_table(summary)
    rows = list(table.rows)
    assert table.columns[:6] == ("trial", "arm", "optimizer", "lr", "seed", "stage")
    assert set(table.columns) >= {"status", "val_accuracy", "error", "grad_norm"}
    assert not {"measured", "correct", "id", "learning_rate"} & set(table.columns)
    for row, trial in zip(rows, summary.trials, strict=True):
        assert set(row) == set(table.columns)
        assert (row["trial"], row["lr"], row["status"]) == (
            trial.id,
            trial.learning_rate,
            "finished",
        )
        assert row["grad_norm"] == trial.measured["grad_norm"]


def test_a_table_of_steps_has_a_trial_that_arms_share_once(tmp_path):
    summary, directory = stored_comparison(tmp_path)
    first, second, *others = summary.trials
    shutil.rmtree(directory.trial_path(second.id))
    again = replace(first, arm="twin")
    shared = replace(summary, trials=(first, second, again, *others))
    rows = list(columns.trial_steps_table(shared, directory).rows)
    ids = [row["trial"] for row in rows]
    assert list(dict.fromkeys(ids)) == [first.id, *(one.id for one in others)]
    assert all(ids.count(one) == 32 for one in set(ids))
    assert {row["arm"] for row in rows if row["trial"] == first.id} == {first.arm}
