"""How a trial of an advice is shown while it runs."""

import io
import math

import pytest
from rich.console import Console

from gradcli.inspection.advice_trial import TrialScore
from gradcli.views import line_progress
from gradcli.views.inspect.probe_progress import ProbeProgress
from gradcli.views.inspect.trial_progress import TrialProgress

REACHED = TrialScore(120, 480, 0.875, 0.41)
DIVERGED = TrialScore(11, 480, math.nan, math.nan, diverged_at=12)


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)


def run(progress):
    with progress:
        for label, score in (("as it was", DIVERGED), ("with the advice", REACHED)):
            progress.begin(label, 120)
            progress.step(60, 1.5)
            progress.end(score)


def test_in_a_pipe_each_training_ends_with_a_line():
    stream = io.StringIO()
    run(TrialProgress(stream=stream))
    assert stream.getvalue() == (
        "training 1 of 2, as it was: diverged at step 12\n"
        "training 2 of 2, with the advice: 120 steps, validation score 0.8750, loss 0.4100\n"
    )


def test_on_a_terminal_one_line_is_kept_up_to_date_and_cleared(monkeypatch):
    monkeypatch.setattr(line_progress, "SECONDS_BETWEEN_DRAWS", 0.0)
    console = terminal()
    drawn = []
    monkeypatch.setattr(
        "rich.status.Status.update", lambda self, line: drawn.append(str(line)), raising=True
    )
    run(TrialProgress(console))
    assert drawn == [
        "training 1 of 2, as it was: step 60 of 120, loss 1.5000",
        "training 2 of 2, with the advice: 120 steps",
        "training 2 of 2, with the advice: step 60 of 120, loss 1.5000",
    ]
    assert console.file.getvalue().endswith("\x1b[1A\x1b[2K")  # up, and the line erased


def test_the_line_of_the_probes_gives_way(monkeypatch):
    console = terminal()
    probes = ProbeProgress(console)
    progress = TrialProgress(console, after=probes)
    with probes, progress:
        probes("noise", 1, 1)
        progress.begin("as it was", 10)  # rich refuses a second live line
    assert "as it was" in console.file.getvalue()


@pytest.mark.parametrize("score", [REACHED, DIVERGED])
def test_quiet_shows_nothing(capsys, score):
    progress = TrialProgress()
    assert not progress.has_begun
    progress.begin("as it was", 10)
    progress.step(5, 1.0)
    progress.end(score)
    assert progress.has_begun
    assert capsys.readouterr() == ("", "")
