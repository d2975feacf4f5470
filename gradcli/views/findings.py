"""How a finding of the diagnosis is written, in the same words on every screen."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType

from gradcli.diagnosis.calibration import measured_findings
from gradcli.notation import numbers
from gradcli.records import Finding
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import TITLE
from gradcli.views.words import Text

SEVERITIES = ("error", "warning", "info")
SEVERITY_STYLES = {"error": "red", "warning": "yellow", "info": ""}


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings: causes before what follows from them, the most severe first."""

    def rank(finding: Finding) -> tuple[bool, int]:
        return finding.follows_from is not None, SEVERITIES.index(finding.severity)

    return sorted(findings, key=rank)


def verdict_style(verdict: str, findings: Iterable[Finding]) -> str:
    """Return the style of a verdict: that of the most severe finding, or green if healthy."""
    if verdict == "healthy":
        return "bold green"
    worst = by_severity(findings)[:1]
    return f"bold {SEVERITY_STYLES[worst[0].severity]}" if worst else "bold"


def finding_lines(finding: Finding, label: str, *, rule: bool = False) -> Iterator[RenderableType]:
    """Lay out a finding: what it is, its evidence, and what to try.

    Args:
        finding: what to lay out.
        label: in the margin.
        rule: whether to add the rule that found it, with its threshold.
    """
    place = f" in {finding.layer}" if finding.layer else ""
    severity = "" if finding.severity == "info" else f"{finding.severity}: "
    style = f"bold {SEVERITY_STYLES[finding.severity]}"
    cause = f", from {finding.follows_from}" if finding.follows_from else ""
    head = (f"{severity}{finding.code}{place}{cause}.", style)
    yield Labelled(label, Text.assemble(head, f" {finding.message}"))
    evidence = ", ".join(
        f"{name.replace('_', ' ')} {numbers.norm(value) if isinstance(value, float) else value}"
        for name, value in finding.evidence.items()
    )
    if evidence:
        yield Labelled("", Text(evidence, TITLE))
    if rule:
        yield Labelled("", Text(f"the rule: {finding.threshold}", TITLE))
    sure = certainty_phrase(finding)
    if sure:
        yield Labelled("", Text(sure, TITLE))
    if finding.override is not None:
        yield from whole_lines("", [f"try  {finding.override}"])
    elif finding.mend:
        yield Labelled("", Text(f"try  {finding.mend}"))


def certainty_phrase(finding: Finding) -> str:
    """Say how sure a finding is, and how that was measured.

    Empty if it was not measured, and for what follows from a cause, which is as sure as its cause.
    """
    measured = measured_findings().get(finding.code)
    if finding.follows_from or measured is None or math.isnan(finding.certainty):
        return ""
    times = numbers.count(measured.said, "benchmark training")
    return f"certainty {finding.certainty:.0%}: right in {measured.right:,} of {times}"


def with_override(arguments: Sequence[str], override: str) -> list[str]:
    """Append an override to the arguments, and remove those for the same keys.

    If it chooses another option of a group, the keys of the old option are removed, too:
    `init=kaiming` takes no `init.std`.
    """
    added = shlex.split(override)
    replaced = {word.partition("=")[0] for word in added}

    def stays(word: str) -> bool:
        key = word.partition("=")[0]
        return key not in replaced and key.partition(".")[0] not in replaced

    return [word for word in arguments if stays(word)] + added
