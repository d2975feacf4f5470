"""A column of the comparison: one entry, which every table, line and export then has."""

import io
import json
import sys

import numpy as np
import pytest
from rich.console import Console

from gradcli import compare
from gradcli.comparison import columns
from gradcli.comparison.columns import ReportedColumn, add_column
from gradcli.errors import UserError
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
