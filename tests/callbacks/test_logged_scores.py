import math
import warnings

import pytest

from gradcli.callbacks.logged_scores import LoggedScores


class Monitor:
    def __init__(self):
        self.evaluations = []

    def evaluation(self, **given):
        self.evaluations.append(given)


@pytest.fixture
def monitor():
    return Monitor()


def test_without_a_metric_the_score_is_the_loss(monitor):
    scores = LoggedScores("val_loss", None)
    scores.record(monitor, {"val_loss": 0.5, "other": 1})
    assert monitor.evaluations == [{"loss": 0.5, "score": 0.5}]
    assert scores.metric_or_loss == ("val_loss", "minimize")


def test_what_is_not_logged_is_not_recorded(monitor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LoggedScores("val_loss", None).record(monitor, {"train_loss": 0.5})
    assert monitor.evaluations == []


def test_a_metric_without_a_loss(monitor):
    LoggedScores("val_loss", ("f1", "maximize")).record(monitor, {"f1": 0.25})
    [given] = monitor.evaluations
    assert given["score"] == 0.25
    assert math.isnan(given["loss"])


@pytest.mark.parametrize(
    ("logged", "told"),
    [({"val_f1": 1.0}, "what is: val_f1"), ({}, "nothing else is"), ({"x": 1}, "what is: x")],
)
def test_a_metric_that_is_missing_is_told_once(monitor, logged, told):
    scores = LoggedScores("val_loss", ("val_f2", "maximize"))
    with pytest.warns(RuntimeWarning, match=f"'val_f2' is not logged.*{told}"):
        scores.record(monitor, logged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores.record(monitor, logged)
    assert monitor.evaluations == []
