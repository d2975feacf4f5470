"""What a callback says at the end: what came of the run, and how to look at it."""

from __future__ import annotations

from gradcli.notation import numbers
from gradcli.records import Finding, TrainSummary


def closing_words(summary: TrainSummary) -> str:
    """Return how many updates are on record, the findings, and the command that shows them.

    The command has a line of its own: progress bars break long lines where they end.
    """
    steps = numbers.count(summary.steps - summary.info.start_step, "update")
    said = ", ".join([steps, *map(_in_words, summary.findings)])
    return f"gradcli: {said}\ngradcli inspect-gradients {summary.path}"


def _in_words(finding: Finding) -> str:
    """Return what was found, how bad it is, and in which layer."""
    severity = "" if finding.severity == "info" else f"{finding.severity}: "
    where = f" in {finding.layer}" if finding.layer else ""
    return f"{severity}{finding.code}{where}"
