"""What docs/data.md says the shipped problems reach, and one of them reached."""

import re
from pathlib import Path

import pytest
import references
import scipy.stats

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `gradcli train (data=.*?)` \| .*? \| ([\d.]+) to ([\d.]+) \|", PAGE, re.M)


def test_the_page_and_the_benchmark_state_the_same():
    stated = [(words, float(low), float(high)) for words, low, high in ROWS]
    assert stated == [(one.words, one.low, one.high) for one in references.REFERENCES]


def test_the_interval_is_that_of_one_more_normal_score():
    scores = [0.91, 0.93, 0.92, 0.95, 0.9]
    low, high = references.interval(scores)
    # Five numbers and another one: their difference, studentised, has 4 degrees of freedom.
    assert (low + high) / 2 == pytest.approx(sum(scores) / 5)
    studentised = (high - sum(scores) / 5) / (scipy.stats.tstd(scores) * (6 / 5) ** 0.5)
    assert scipy.stats.t.cdf(studentised, 4) == pytest.approx(0.995, abs=1e-6)


@pytest.mark.parametrize("words", ["data=mnist5k", "data=mnist1d model=logreg epochs=30"])
def test_a_quick_problem_reaches_its_reference(words):
    (reference,) = (one for one in references.REFERENCES if one.words == words)
    assert references.score(words, seed=100) in reference


def test_a_score_outside_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(references, "REFERENCES", (references.Reference("data=x", 0.5, 0.6),))
    monkeypatch.setattr("sys.argv", ["references.py", "--seeds", "1"])
    monkeypatch.setattr(references, "score", lambda words, seed: 0.55)
    assert references.main() == 0
    monkeypatch.setattr(references, "score", lambda words, seed: float("nan"))
    assert references.main() == 1
    assert "OUTSIDE" in capsys.readouterr().out
