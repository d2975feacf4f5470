"""A metric without a value is not passed over in silence, and does not hide later scores."""

import math
from types import SimpleNamespace

import pytest

import gradcli
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import ACCURACY, EvalRecord
from gradcli.workflows import recorded_training

MINE = """
import torch
from torch import nn
import gradcli

x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))


def unknown(outputs, targets):
    return torch.tensor(torch.nan)


def Net():
    return nn.Linear(3, 1)


mine = ("mine", unknown, "minimize")
nan = gradcli.Problem(model=Net, train=(x, x[:, :1]), loss="mse", metric=mine)
known = gradcli.Problem(model=Net, train=(x, x[:, :1]), loss="mse", metric="mae")
"""


@pytest.mark.parametrize(("problem", "notes"), [("nan", 1), ("known", 0)])
def test_a_run_says_that_its_metric_never_had_a_value(tmp_path, problem, notes):
    (tmp_path / "mine.py").write_text(MINE)
    words = (f"problem={tmp_path / 'mine.py'}:{problem}", "epochs=2", "device=cpu")
    summary = summarise_run(gradcli.train(*words, runs_dir=tmp_path / "runs"))
    assert math.isnan(summary.val_score) == bool(notes)
    assert not summary.steps_are_damaged
    assert len(summary.notes) == notes
    for note in summary.notes:
        assert note.startswith("mine was not a number (NaN) at any of 2 evaluations on validation")


def test_a_score_is_the_best_after_one_that_was_nan(monkeypatch):
    records = [
        EvalRecord(step, step, "val", 0.1, score, 0.1, 1.0, 1.0)
        for step, score in enumerate([math.nan, 0.5, 0.4, 0.6])
    ]
    best = []
    for count, record in enumerate(records, 1):
        run = SimpleNamespace(evals=records[:count])
        monkeypatch.setattr(recorded_training, "load_run", lambda _, run=run: run)
        writer = SimpleNamespace(directory=None)
        best.append(recorded_training._is_best(record, writer, ACCURACY))
    assert best == [False, True, False, True]
