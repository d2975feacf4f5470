"""A finding on the screen: how sure it is."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console, Group

from gradcli.diagnosis.calibration import certainty_of, measured_findings
from gradcli.records import Finding
from gradcli.views.findings import certainty_phrase, finding_lines

HEALTHY = Finding("healthy", "info", None, {}, "rule", "All is well.", None)
SURE = replace(HEALTHY, certainty=certainty_of("healthy"))


def drawn(finding: Finding, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=False)
    console.print(Group(*finding_lines(finding, "diagnosis")), crop=False)
    return " ".join(file.getvalue().split())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_says_how_sure_it_is_and_how_that_was_measured(width):
    tally = measured_findings()["healthy"]
    share = round(100 * (tally.right + 1) / (tally.said + 2))
    said = f"certainty {share}%: right in {tally.right:,} of {tally.said:,} benchmark trainings"
    assert said in drawn(SURE, width)


def test_it_says_nothing_of_what_was_not_measured_and_once_of_cause_and_symptom():
    assert "certainty" not in drawn(HEALTHY)
    assert "certainty" not in drawn(replace(SURE, follows_from="lr-too-high"))
    assert "certainty" not in drawn(replace(SURE, code="undetermined", certainty=math.nan))


def test_one_training_is_not_several(monkeypatch):
    table = {"healthy": replace(measured_findings()["healthy"], right=1, said=1)}
    monkeypatch.setattr("gradcli.views.findings.measured_findings", lambda: table)
    said = "certainty 67%: right in 1 of 1 benchmark training"
    assert certainty_phrase(replace(HEALTHY, certainty=2 / 3)) == said
