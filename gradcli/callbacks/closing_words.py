"""What a callback says at the end: where the run is, and what is wrong with it."""

from __future__ import annotations

from gradcli.notation import numbers
from gradcli.records import Finding, TrainSummary


def closing_words(summary: TrainSummary) -> str:
    """Return the run, its updates, what was found, and how to look at it."""
    found = [one for one in summary.findings if one.severity != "info"]
    steps = numbers.count(summary.steps - summary.info.start_step, "update")
    said = ", ".join(map(_place, found)) or "no warnings"
    return f"gradcli: {steps}, {said}. Look: gradcli inspect-gradients {summary.path}"


def _place(finding: Finding) -> str:
    """Return what was found, and in which layer."""
    where = f" ({finding.layer})" if finding.layer else ""
    return f"{finding.severity} {finding.code}{where}"
