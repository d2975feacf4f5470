"""`diagnose`: applies the rules, and puts causes before what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradcli.diagnosis.calibration import with_certainty
from gradcli.diagnosis.conclusions import conclusion
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.rules import EXPLAINED_BY, RULES
from gradcli.records import Finding

_SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the rules found, and which of them could be applied."""

    findings: tuple[Finding, ...]
    """Errors first; `healthy` if nothing is wrong and something was tested."""
    tested: tuple[str, ...]
    """The codes of the rules that were applied."""
    not_tested: dict[str, str]
    """The codes of the others, each with what it would take to apply them."""


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what the rules find, errors first; `healthy` only if that was tested."""
    return examine(evidence).findings


def examine(evidence: Evidence) -> Diagnosis:
    """Apply every rule that can be applied."""
    findings: list[Finding] = []
    tested: list[str] = []
    not_tested: dict[str, str] = {}
    for rule in RULES:
        missing = rule.missing(evidence)
        if missing:
            not_tested.update(dict.fromkeys(rule.codes, missing))
            continue
        tested += rule.codes
        explained = {finding.code for finding in findings if finding.severity != "info"}
        if not explained.intersection(rule.unless):
            findings += rule.find(evidence)
    if all(finding.severity == "info" for finding in findings):
        findings += conclusion(evidence, tested)
    if evidence.info.is_own_loop:  # it has no config, and so no override
        findings = [replace(finding, override=None) for finding in findings]
    ranked = _ranked(findings)
    # How sure a finding is was measured on cross-entropy, and on loops of the user's own.
    if evidence.info.loss in ("cross_entropy", ""):
        ranked = list(with_certainty(ranked))
    return Diagnosis(tuple(ranked), tuple(tested), not_tested)


def _ranked(findings: list[Finding]) -> list[Finding]:
    """Order the findings: causes first, by severity; each followed by what follows from it."""
    serious = {finding.code for finding in findings if finding.severity != "info"}
    remarks = {finding.code for finding in findings}
    explained = []
    for finding in findings:
        # A remark may follow from another remark, but nothing serious does.
        causes = remarks if finding.severity == "info" else serious
        cause = next((code for code in EXPLAINED_BY.get(finding.code, ()) if code in causes), None)
        explained.append(finding if cause is None else _beneath(finding, cause))

    def rank(finding: Finding) -> tuple[bool, int]:
        return finding.follows_from is not None, _SEVERITIES.index(finding.severity)

    return sorted(explained, key=rank)


def _beneath(finding: Finding, cause: str) -> Finding:
    """Return a finding as what follows from `cause`, whose advice is the one to take."""
    return replace(finding, follows_from=cause, override=None, mend="")
