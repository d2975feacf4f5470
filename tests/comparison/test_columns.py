"""A column of the comparison: one entry, which every table, line and export then has."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from gradcli import compare
from gradcli.comparison import columns
from gradcli.comparison.columns import ReportedColumn, add_column
from gradcli.views.compare.comparison_closing import comparison_closing_screen
from gradcli.views.compare.trial_lines import ComparePlainView
from gradcli.views.json_output import comparison_json

SMALL = ("data=mnist5k", "model.hidden=[4]", "max_steps=4", "protocol.tune=false")


def largest_loss(readings):
    return np.nan if readings.steps is None else readings.steps.loss.max()


@pytest.fixture
def own_column(monkeypatch):
    """A second user of the seam: the largest loss of a batch, the worst of the seeds."""
    monkeypatch.setattr(columns, "COLUMNS", columns.COLUMNS[:])
    monkeypatch.setattr("gradcli.views.compare.column_cells.COLUMNS", columns.COLUMNS)
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
    with pytest.raises(ValueError, match=key):
        add_column(ReportedColumn(key, largest_loss, "score"))


def test_a_column_without_a_heading_is_only_exported():
    hidden = [column.key for column in columns.COLUMNS if not column.title]
    assert hidden == ["steps_per_second"]


def test_what_was_not_measured_is_nan():
    readings = columns.TrialReadings(None, (), {}, 0.97)
    found = columns.measured_of_trial(readings)
    assert list(found) == [column.key for column in columns.COLUMNS]
    timed = {"steps_to_target", "seconds_to_target"}
    assert all(np.isinf(value) if key in timed else np.isnan(value) for key, value in found.items())
