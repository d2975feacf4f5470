"""From the table of the measured findings to how sure a finding is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from gradcli.records import Finding


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a finding of one code was right in the trainings that it was made of."""

    right: int
    said: int
    """In how many trainings it was made, with a severity above `info` and on no other finding's
    account. `healthy` is a remark, and counted where it is the verdict."""


def measured_findings() -> dict[str, Tally]:
    """Return the table: the codes that were said in the measured trainings, each with its count.

    A finding is right if a fault was planted that has this code as an answer, in a layer that the
    finding names, and if the fault cost more than a point of accuracy (or cannot be meant, as a
    forgotten `zero_grad`). `healthy` is right if there was no such fault.
    """
    return {code: Tally(*counts) for code, counts in _table()["codes"].items()}


def measured_cases() -> dict[str, int]:
    """Return the mix: how many of the trainings were a `fault`, `healthy`, `weak` and `void`.

    A fault is `weak` if it costs at most a point of accuracy, and counts as healthy. A case is
    `void`, and not counted, if even its twin without the fault does not learn.
    """
    cases: dict[str, int] = _table()["cases"]
    return cases


def probability(tally: Tally) -> float:
    """Return the probability that the next such finding is right: (right + 1) / (said + 2).

    This is Laplace's rule of succession, the mean of the posterior of a share under a uniform
    prior. Unlike right / said it does not call a finding certain that was right twice out of twice.
    """
    return (tally.right + 1) / (tally.said + 2)


def certainty_of(code: str) -> float:
    """Return how sure a finding of this code is, 0 to 1; NaN if it was never said in the table."""
    tally = measured_findings().get(code)
    return math.nan if tally is None else probability(tally)


def with_certainty(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Fill in how sure each finding is; one that follows from a cause is as sure as its cause.

    Remarks were not counted, but for `healthy`, so how sure they are is not known.
    """
    for finding in findings:
        code = finding.follows_from or finding.code
        was_counted = finding.severity != "info" or code == "healthy"
        yield replace(finding, certainty=certainty_of(code) if was_counted else math.nan)


@cache
def _table() -> dict[str, Any]:
    text = (files("gradcli.diagnosis.calibration") / "measured.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
