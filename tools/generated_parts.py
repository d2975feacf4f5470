"""The parts of a document that come from the code: sources of examples, and facts on findings.

A fenced block whose first line names a file, as ```python not_cleared.py, holds this file of
`docs/examples/`. Between a comment as `<!-- facts lr-too-high: UPDATE_JUMP -->` and `<!-- end -->`
stands how sure the finding is, and the limits with their measured errors, reasons and sources;
between `<!-- mix -->`, or `<!-- judged -->`, and `<!-- end -->` stands what these were measured on.
`readme.py` fills them in.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gradcli.diagnosis import limits
from gradcli.diagnosis.calibration import measured_cases, measured_findings, probability
from gradcli.notation import numbers

_ROOT = Path(__file__).resolve().parent.parent
_EXAMPLES = _ROOT / "docs" / "examples"
_LIMIT_ERRORS = _ROOT / "benchmarks" / "diagnosis_corpus" / "limit_errors.json"
#: Of a limit's value.
FACTORS = ("0.5", "1", "2")
_SOURCE = re.compile(r"^```(?P<kind>python|yaml) (?P<name>\S+)\n.*?^```$", re.M | re.S)
_FACTS = re.compile(
    r"^(?P<begin><!-- facts (?P<code>[\w-]+):(?P<limits>[ A-Z_]*)-->\n).*?^<!-- end -->$",
    re.M | re.S,
)
_JUDGED = re.compile(r"^<!-- judged -->\n.*?^<!-- end -->$", re.M | re.S)
_MIX = re.compile(r"^<!-- mix -->\n.*?^<!-- end -->$", re.M | re.S)


def filled(document: str) -> str:
    """Return the document with all of its generated parts, except the output of commands."""
    document = _SOURCE.sub(
        lambda found: f"```{found['kind']} {found['name']}\n{_source(found['name'])}```", document
    )
    document = _FACTS.sub(
        lambda found: (
            f"{found['begin']}{facts(found['code'], found['limits'].split())}<!-- end -->"
        ),
        document,
    )
    document = _JUDGED.sub(lambda _: f"<!-- judged -->\n{judged()}<!-- end -->", document)
    return _MIX.sub(lambda _: f"<!-- mix -->\n{mix()}<!-- end -->", document)


def _source(name: str) -> str:
    return (_EXAMPLES / name).read_text(encoding="utf-8")


def facts(code: str, names: list[str]) -> str:
    """Return how sure a finding is, and the limits that its rule applies, as Markdown."""
    tally = measured_findings().get(code)
    sure = (
        "not measured"
        if tally is None
        else f"{probability(tally):.0%}, right in {tally.right:,} of "
        f"{numbers.count(tally.said, 'benchmark training')}"
    )
    text = f"**Certainty:** {sure}.\n"
    if not names:
        return text
    rows = [getattr(limits, name) for name in names]
    text += (
        "\n| limit | value | wrong at 1/2, 1, 2 times | reason | source |\n"
        "| --- | ---: | :---: | --- | --- |\n"
    )
    return text + "".join(
        f"| `{name}` | {limit} | {errors_around(name)} | {limit.reason} | {limit.source} |\n"
        for name, limit in zip(names, rows, strict=True)
    )


def errors_around(name: str) -> str:
    """Return how many trainings are judged wrongly at half of a limit, at it, and at twice it."""
    errors = limit_errors()["limits"][name]
    return ", ".join(f"{missed}+{alarms}" for missed, alarms in map(errors.get, FACTORS))


def limit_errors() -> dict[str, Any]:
    """Return what the benchmark of the diagnosis has counted around each limit.

    Of each limit, by half, once and twice its value: how many faults are missed, and how many
    alarms there are.
    """
    table: dict[str, Any] = json.loads(_LIMIT_ERRORS.read_text(encoding="utf-8"))
    return table


def judged() -> str:
    """Return what the limits were judged on, in a sentence."""
    table = limit_errors()
    trainings = numbers.count(table["trainings"], "training")
    return (
        f"The limits were judged on {trainings} of the part for tuning, {table['faults']} of them "
        "with a fault.\n"
    )


def mix() -> str:
    """Return what the certainties were measured on, in a sentence."""
    cases = measured_cases()
    counted = sum(count for name, count in cases.items() if name != "void")
    return (
        f"The table as it is was measured on {numbers.count(counted, 'training')}: "
        f"{cases['fault']} with a fault that matters, {cases['healthy']} sound, and "
        f"{cases['weak']} with a fault too weak to matter.\n"
    )
